"""Tasks: Huey's, with options for each submit, and delays that the ledger's clock counts."""

import functools
import inspect
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from huey.api import ResultGroup, Task, TaskWrapper, group

from jobqueue.execution.coroutines import finished
from jobqueue.ledger.limits import check_limit
from jobqueue.ledger.queues import named
from jobqueue.tasks.checks import LONGEST_NAME, OF_SUBMIT, check_names, check_options, in_calendar, seconds, text


class DurableTaskWrapper(TaskWrapper):
    """A function with `@huey.task(...)`, which may be `async def`. Beside Huey's options it takes those of `using`, and `concurrency`.

    Example::

        @huey.task(queue="heavy", concurrency=2)
        def analyse(tickers): ...

    :param queue: the queue in which its jobs wait, unless a submit names another.
    :param concurrency: the number of its jobs that may run at once, across all consumers.
    :param max_arguments: the most bytes of a job's arguments, in place of the queue's limit. Arguments that take more than
        the queue's limit are stored compressed.

    Raises TypeError for an option that does not exist. Raises ValueError for one that no submit could use, such as
    `retries="3"`, for an invalid name of the task or the queue, and for a concurrency or max_arguments below 1.
    """

    def __init__(self, huey: Any, func: Any, **options: Any) -> None:
        check_names(f"The task {options.get('name') or func.__name__}", options)
        if "queue" in options:
            named(options["queue"])
        concurrency = check_limit("concurrency", options.get("concurrency"))
        check_limit("max_arguments", options.get("max_arguments"))
        super().__init__(huey, func, **options)
        try:
            check_options(self.task_class())
            name = text("name", huey.messages.name_of(self.task_class), LONGEST_NAME)
        except ValueError:
            self.unregister()
            raise
        huey.limits.of_task.pop(name, None)  # a notebook may define a task again
        if concurrency is not None:
            huey.limits.of_task[name] = concurrency

    def s(self, *args: Any, **kwargs: Any) -> Task:
        delay = kwargs.pop("delay", None)
        if delay is None:
            with in_calendar("eta", kwargs.get("eta")):
                return super().s(*args, **kwargs)
        run_in = seconds("delay", delay)
        task = super().s(*args, delay=run_in, **kwargs)
        task.run_in = run_in
        return task

    def schedule(
        self,
        args: Any = None,
        kwargs: dict[str, Any] | None = None,
        eta: datetime | None = None,
        delay: float | timedelta | None = None,
        **options: Any,
    ) -> Any:
        """Submit for later. Either time may also be the first argument, as in Huey.

        :param eta: a datetime.
        :param delay: seconds, or a timedelta.

        Raises ValueError without a time, and TypeError for an option that does not exist.
        """
        return self.huey.enqueue(self._scheduled(args, kwargs, eta, delay, options))

    def _scheduled(self, args: Any, kwargs: Any, eta: Any, delay: Any, options: dict[str, Any]) -> Task:
        if eta is None and delay is None:
            if isinstance(args, datetime):
                eta = args
            elif isinstance(args, int | float | timedelta):
                delay = args
            else:
                raise ValueError("schedule() missing required eta= or delay=")
            args = None
        if kwargs is not None and not isinstance(kwargs, dict):
            raise ValueError("schedule() kwargs argument must be a dict.")
        check_names("schedule()", options, OF_SUBMIT)
        when = {"eta": eta} if delay is None else {"delay": delay}
        task = self.s(**when)
        for name, value in options.items():
            if value is not None:
                setattr(task, name, value)
        task.args, task.kwargs = tuple(args or ()), kwargs or {}
        task.revoke_id = f"r:{task.id}"
        return task

    def create_task(self, func: Callable[..., Any], *args: Any, **settings: Any) -> type[Task]:
        """Return the class of a function's tasks. Each coroutine runs in an event loop of its own."""

        @functools.wraps(func)
        def run(*given: Any, **named: Any) -> Any:
            return finished(func(*given, **named))

        runs = run if inspect.iscoroutinefunction(func) else func  # Huey refuses coroutine functions
        task_class: type[Task] = super().create_task(runs, *args, **settings)
        task_class.function = staticmethod(func)
        return task_class

    def using(
        self,
        *,
        owner: str | None = None,
        queue: str | None = None,
        unique: bool | str | None = None,
        cache_for: float | timedelta | None = None,
    ) -> "Using":
        """Return the task with options for a submit.

        Example::

            handle = analyse.using(owner="ann", queue="heavy")(tickers)

        :param owner: the user that the job belongs to.
        :param queue: the queue in which it waits.
        :param unique: True to share the run of a submission with the same arguments that has not ended. A text to share it
            with submissions of the same text instead. False not to share it.
        :param cache_for: seconds for which a successful result is used instead of a new run. It makes the task unique.

        Raises ValueError for an invalid queue name.
        """
        if queue is not None:
            named(queue)
        options = {"owner": owner, "queue": queue, "unique": unique, "cache_for": cache_for}
        return Using(self, {name: value for name, value in options.items() if value is not None})


class Using:
    """A task with the options of a submit."""

    def __init__(self, task: DurableTaskWrapper, options: dict[str, Any]) -> None:
        self._task = task
        self._options = options

    def s(self, *args: Any, **kwargs: Any) -> Task:
        return self._with_options(self._task.s(*args, **kwargs))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._task.huey.enqueue(self.s(*args, **kwargs))

    def schedule(self, args: Any = None, kwargs: Any = None, eta: Any = None, delay: Any = None, **options: Any) -> Any:
        return self._task.huey.enqueue(self._with_options(self._task._scheduled(args, kwargs, eta, delay, options)))

    def map(self, items: Iterable[Any]) -> ResultGroup:
        return self._task.huey.enqueue(group([self._with_options(task) for task in self._task._apply(items)]))

    def _with_options(self, task: Task) -> Task:
        vars(task).update(self._options)
        return task
