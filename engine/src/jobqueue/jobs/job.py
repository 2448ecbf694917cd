"""TODO-DOC."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from jobqueue.database.database import Row
from jobqueue.ledger.states import State

RETURNS = 5  # times that a job is given back without a saved step before that is worth a hint


class JobNotFound(LookupError):
    """No job has this id."""


class Unreadable(ValueError):
    """The job's message does not verify, or names what this code does not know."""


class Progress(NamedTuple):
    done: float
    total: float
    note: str


@dataclass(frozen=True, kw_only=True)
class Job:
    """One look at a job. Times are aware, in UTC; None for what has not happened."""

    id: str
    task: str  # as Huey registers it: "app.jobs.analysis.analyse"
    queue: str
    state: State
    owner: str | None
    priority: float
    attempt: int
    losses: int  # attempts that died with their worker
    returns: int  # attempts given back when a consumer stopped
    created_at: datetime
    run_at: datetime | None
    claimed_at: datetime | None
    ended_at: datetime | None
    worker: str | None
    done: float | None
    total: float | None
    note: str
    error: str  # a sentence for people; "" where nothing went wrong
    traceback: str  # what is behind the error; only in a look at one job
    due_at: datetime | None  # the moment for which a schedule fired; None for a job that was submitted
    made_up: bool  # it fired later, as no consumer ran at that moment
    has_steps: bool | None  # whether it has saved any; None in a list of jobs
    _arguments: Callable[[], tuple[tuple[Any, ...], dict[str, Any]]] = field(repr=False, compare=False)

    @property
    def name(self) -> str:
        """The task's short name."""
        return self.task.rpartition(".")[2]

    @property
    def args(self) -> tuple[Any, ...]:
        """What was asked. Raises Unreadable."""
        return self._arguments()[0]

    @property
    def kwargs(self) -> dict[str, Any]:
        """What was asked, by keyword. Raises Unreadable."""
        return self._arguments()[1]

    @property
    def hint(self) -> str:
        """What would help a job that does not get on; "" where nothing would, or is needed."""
        if self.state.ended or self.returns < RETURNS or self.has_steps is not False:
            return ""
        return (
            f"Given back {self.returns} times, as its worker was stopped before it had ended, and each time it begins from "
            "the start: it takes longer than workers may go on. Save what it has done with job.step(...), or raise "
            "WORKER_GRACE."
        )

    @property
    def progress(self) -> Progress | None:
        return None if self.done is None or self.total is None else Progress(self.done, self.total, self.note)

    @classmethod
    def from_row(cls, row: Row, arguments: Callable[[], tuple[tuple[Any, ...], dict[str, Any]]]) -> "Job":
        names = (
            *(
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
            ),
        )
        fields: dict[str, Any] = {name: row[name] for name in names}
        for name in ("created_at", "run_at", "claimed_at", "ended_at", "due_at"):
            fields[name] = None if row[name] is None else datetime.fromtimestamp(row[name], UTC)
        return cls(
            state=State(row["state"]),
            error=row["error"],
            made_up=bool(row["made_up"]),
            has_steps=None if row["has_steps"] is None else bool(row["has_steps"]),
            traceback=json.loads(row["failure"])["traceback"] if row["failure"] else "",
            _arguments=arguments,
            **fields,
        )
