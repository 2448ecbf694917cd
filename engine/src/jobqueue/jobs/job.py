"""A job as the ledger has it at one moment."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from jobqueue.database.database import Row
from jobqueue.database.times import utc
from jobqueue.ledger.states import State

RELEASES = 5  # releases of a job without a saved step from which it gets a hint


COLUMNS = (
    "id",
    "task",
    "queue",
    "owner",
    "priority",
    "attempt",
    "losses",
    "returns",
    "worker",
    "done",
    "total",
    "note",
)
TIMES = ("created_at", "run_at", "claimed_at", "ended_at", "due_at")


class JobNotFound(LookupError):
    """An id that no job has."""


class Unreadable(ValueError):
    """A job whose message does not verify, or needs code that this process does not have."""


class Progress(NamedTuple):
    """Progress that a job reported: `done` of `total` in the job's own unit, and a note for people."""

    done: float
    total: float
    note: str


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job at the moment when it was read. Times are aware, in UTC. A value is None if it has not happened yet.

    Example::

        job = huey.get_job(job_id)
        if job.state is State.FAILED:
            print(job.name, job.args, job.error)
    """

    id: str
    task: str  # the task's full name, such as "app.jobs.analysis.analyse"
    queue: str
    state: State
    owner: str | None  # the user that it belongs to
    priority: float
    attempt: int  # number of the current or last attempt; 0 before the first
    losses: int  # attempts whose worker died
    returns: int  # attempts that were released because their consumer stopped
    created_at: datetime
    run_at: datetime | None  # the earliest start of a scheduled job
    claimed_at: datetime | None
    ended_at: datetime | None
    worker: str | None
    done: float | None  # the progress, as reported
    total: float | None
    note: str
    error: str  # a sentence for people; "" if nothing went wrong
    traceback: str  # of the error; "" in a list of jobs
    due_at: datetime | None  # the due moment of a schedule's job; None for a job that was submitted
    made_up: bool  # whether a schedule fired it late, because no consumer ran at the due moment
    has_steps: bool | None  # whether it has saved a step; None in a list of jobs
    _arguments: Callable[[], tuple[tuple[Any, ...], dict[str, Any]]] = field(repr=False, compare=False)

    @property
    def name(self) -> str:
        """The task's short name."""
        return self.task.rpartition(".")[2]

    @property
    def args(self) -> tuple[Any, ...]:
        """The positional arguments, read from the ledger each time. Raises Unreadable, JobNotFound, DatabaseUnavailable."""
        return self._arguments()[0]

    @property
    def kwargs(self) -> dict[str, Any]:
        """The keyword arguments, as `args`."""
        return self._arguments()[1]

    @property
    def hint(self) -> str:
        """Advice for a job that makes no progress, or "" if it needs none."""
        if self.state.ended or self.returns < RELEASES or self.has_steps is not False:
            return ""
        return (
            f"This job was interrupted {self.returns} times, because its worker was stopped before the job had ended. Each "
            "time it starts from the beginning. Save partial results with job.step(...), or raise WORKER_GRACE so that "
            "workers get more time."
        )

    @property
    def progress(self) -> Progress | None:
        """The progress that the job reported last, or None if it reported none."""
        return None if self.done is None or self.total is None else Progress(self.done, self.total, self.note)

    @classmethod
    def from_row(cls, row: Row, arguments: Callable[[], tuple[tuple[Any, ...], dict[str, Any]]]) -> "Job":
        """Return the job of a row. `arguments` reads its message when somebody asks for the arguments."""
        fields: dict[str, Any] = {name: row[name] for name in COLUMNS}
        fields |= {name: utc(row[name]) for name in TIMES}
        return cls(
            state=State(row["state"]),
            error=row["error"],
            made_up=bool(row["made_up"]),
            has_steps=None if row["has_steps"] is None else bool(row["has_steps"]),
            traceback=json.loads(row["failure"])["traceback"] if row["failure"] else "",
            _arguments=arguments,
            **fields,
        )
