"""Huey's registry of tasks, in which what a job names beside its own task may be of other code.

A job's message holds its handler of errors whole. During a deploy the consumer that runs the job may lack the handler's
code: then it hands the handler on as it is, to a consumer that has it.
"""

from typing import Any

from huey.api import Task
from huey.registry import Message, Registry


class TaskElsewhere(Task):
    """A task that this code does not have: it can be submitted, not run."""

    message: Message


class DurableRegistry(Registry):
    def create_task(self, message: Message) -> Task:
        """Raises HueyException if the task itself is not known."""
        task = super().create_task(message._replace(on_complete=None, on_error=None))
        task.on_complete = self._of_any_code(message.on_complete)
        task.on_error = self._of_any_code(message.on_error)
        return task

    def create_message(self, task: Task) -> Any:
        if not isinstance(task, TaskElsewhere):
            return super().create_message(task)
        after = None if task.on_complete is None else self.create_message(task.on_complete)
        return task.message._replace(id=task.id, args=task.args, kwargs=task.kwargs, on_complete=after)

    def _of_any_code(self, message: Message | None) -> Task | None:
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
        task.on_complete = self._of_any_code(message.on_complete)
        return task
