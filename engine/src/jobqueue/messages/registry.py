"""A task registry that accepts error handlers and follow-up tasks which this process's code does not have.

A job's message contains the complete messages of the tasks that follow it. During a deploy the consumer that runs the job may
lack the code of such a task. It then submits that task's message unchanged, for a consumer that has the code.
"""

from typing import Any

from huey.api import Task
from huey.registry import Message, Registry


class TaskElsewhere(Task):
    """A task whose code is not in this process. It can be submitted, but not run."""

    message: Message


class DurableRegistry(Registry):
    """Huey's registry, with TaskElsewhere for unknown tasks that follow a known one.

    `replaces`: whether each task takes the place of an earlier one of its name, as a notebook's cell may run again.
    """

    replaces = False

    def register(self, task_class: type[Task]) -> bool:
        """Register a task. A task of `__main__` always takes the place of an earlier one.

        :raises ValueError: if another module has registered this name already.
        """
        earlier = self._registry.get(self.task_to_string(task_class))
        if earlier is not None and (self.replaces or task_class.__module__ == "__main__"):
            self.unregister(earlier)
        return bool(super().register(task_class))

    def create_task(self, message: Message) -> Task:
        """Return the task of a message.

        :raises HueyException: if the task itself, rather than one that follows it, is unknown.
        """
        task = super().create_task(message._replace(on_complete=None, on_error=None))
        task.on_complete = self._create_any_task(message.on_complete)
        task.on_error = self._create_any_task(message.on_error)
        return task

    def create_message(self, task: Task) -> Any:
        """Return the message of a task."""
        if not isinstance(task, TaskElsewhere):
            return super().create_message(task)
        after = None if task.on_complete is None else self.create_message(task.on_complete)
        return task.message._replace(id=task.id, args=task.args, kwargs=task.kwargs, on_complete=after)

    def _create_any_task(self, message: Message | None) -> Task | None:
        """Return the task of a message, or a TaskElsewhere if its code is not in this process."""
        if message is None:
            return None
        if message.name in self._registry:
            return self.create_task(message)
        module, _, name = message.name.rpartition(".")
        kind = type(name, (TaskElsewhere,), {"__module__": module, "message": message})
        task: Task = kind(
            message.args,
            message.kwargs,
            id=message.id,
            eta=message.eta,
            retries=message.retries,
            retry_delay=message.retry_delay,
            priority=message.priority,
            expires=message.expires,
        )
        task.on_complete = self._create_any_task(message.on_complete)
        return task
