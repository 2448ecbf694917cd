"""Options of a submit beside Huey's own: owner, queue, delay, and sharing of one run."""

from dataclasses import dataclass, fields
from datetime import timedelta

from huey.api import Task

from jobqueue.database.database import Row
from jobqueue.ledger.queues import DEFAULT
from jobqueue.ledger.unique import key_of, own_key


@dataclass(frozen=True, kw_only=True)
class SubmitOptions:
    """Options of one task object.

    They are attributes of the task, as Huey's options are: those of `@huey.task(...)` are on its class, those of one submit on
    the object. The object's come first.

    :param owner: the user that the job belongs to.
    :param queue: the queue in which it waits.
    :param unique: True to share a run with equal submissions, a text to share it with submissions of the same text.
    :param cache_for: seconds for which an earlier result is used instead of a new run. It makes the task unique.
    :param run_in: delay in seconds, counted by the ledger's clock.
    :param unique_key: the stored key of a job that this task repeats or replaces.
    """

    owner: str | None = None
    queue: str = DEFAULT
    unique: bool | str | None = None
    cache_for: float | timedelta | None = None
    run_in: float | None = None
    unique_key: str | None = None

    @classmethod
    def of(cls, task: Task) -> "SubmitOptions":
        """Return the options of a task."""
        given = {field.name: getattr(task, field.name, None) for field in fields(cls)}
        return cls(**{name: value for name, value in given.items() if value is not None})

    @classmethod
    def of_job(cls, row: Row, *, owner: str | None, run_in: float | None = None) -> "SubmitOptions":
        """Return the options with which to submit a job's task again. `row`: the job's row."""
        key = row["unique_key"]
        return cls(owner=owner, queue=row["queue"], unique=key is not None, unique_key=key, run_in=run_in)

    def set_on(self, task: Task) -> None:
        """Give a task these options in place of its own."""
        vars(task).update(vars(self))

    @property
    def is_unique(self) -> bool:
        """True if equal submissions share one run."""
        return self.unique is not False and (self.unique is not None or self.cache_for is not None)

    def key(self, task: Task, name: str) -> str | None:
        """Return the key that equal submissions of a task share, or None if it is not unique. `name`: its full name."""
        if not self.is_unique:
            return None
        if self.unique_key is not None:
            return self.unique_key
        if isinstance(self.unique, str):
            return own_key(name, self.unique)
        return key_of(name, getattr(task, "function", None), task.args, task.kwargs)
