"""What a submit returns: a job's handle, and a look at the job."""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from huey.api import Result, Task
from huey.constants import EmptyData
from huey.exceptions import ResultTimeout
from huey.utils import Error, normalize_time

from jobqueue import codec
from jobqueue.database import Row
from jobqueue.ledger import ERROR, State
from jobqueue.task import seconds

if TYPE_CHECKING:
    from jobqueue.history import Event
    from jobqueue.huey import DurableHuey
    from jobqueue.logs import LogLine


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


class JobHandle(Result):
    """Huey's Result, and what the ledger knows besides."""

    huey: "DurableHuey"
    _result: Any

    def __init__(self, huey: "DurableHuey", task: Task) -> None:
        super().__init__(huey, task)

    def __repr__(self) -> str:
        return f"<JobHandle {self.id}>"

    def look(self) -> Job:
        """Raises JobNotFound."""
        return self.huey.look(self.id)

    def history(self) -> "list[Event]":
        """What happened to the job, oldest first. Raises JobNotFound."""
        return self.huey.history(self.id)

    def log(self) -> "list[LogLine]":
        """The last lines that the job logged, oldest first. Raises JobNotFound."""
        return self.huey.log(self.id)

    @property
    def state(self) -> State:
        """Raises JobNotFound."""
        return self.look().state

    @property
    def progress(self) -> Progress | None:
        """Raises JobNotFound."""
        return self.look().progress

    @property
    def result(self) -> Any:
        """What the job returned; None as long as it has not ended.

        Raises huey.exceptions.TaskException if it failed.
        """
        return self.get()

    def cancel(self) -> bool:
        """End the job wherever it is; False if it had ended.

        A unique job goes on for others who have asked for the same, and is cancelled for this handle alone.
        """
        return self.huey.ledger.cancel(self.id, "Cancelled.")

    def retry(self) -> bool:
        """Put a failed or cancelled job back in the queue; False if it is neither.

        What it saved under step names is kept. A unique job may run again for others by now: then this handle has a part in
        that again.
        """
        self.reset()
        return self.huey.put_back(self.id)

    def reschedule(
        self,
        eta: datetime | None = None,
        delay: float | timedelta | None = None,
        expires: Any = None,
        priority: float | None = None,
        preserve_pipeline: bool = True,
    ) -> Any:
        """Run it at another time: this job is cancelled, and another takes its place before what follows.

        Raises JobNotFound.
        """
        new = self.huey.task_of(self.id) if type(self.task) is Task else copy.copy(self.task)
        old = self.huey._row(self.id)
        new.owner, new.queue, new.unique_key = old["owner"], old["queue"], old["unique_key"]
        new.unique, new.cache_for = new.unique_key is not None, None
        new.submitted = False
        new.id = new.create_id()
        new.revoke_id = f"r:{new.id}"
        new.eta = None if eta is None and delay is None else normalize_time(eta, delay, self.huey.utc)
        new.run_in = None if delay is None else seconds(delay)
        new.priority = new.priority if priority is None else priority
        new.expires = new.expires if expires is None else expires
        if not preserve_pipeline:
            new.on_complete = new.on_error = None
        return self.huey.reschedule(self.task, new, preserve_pipeline)

    def is_ready(self) -> bool:
        return self._get() is not EmptyData

    def _get(self, preserve: bool = False) -> Any:
        """Reading leaves the result where it is, whatever `preserve` says."""
        if self._result is EmptyData:
            row = self.huey.ledger.result(self.id)
            if row is not None and (row["body"] is not None or row["state"] == State.SUCCEEDED):
                value = value_of(row)
                if isinstance(value, Error):
                    value.metadata["task_id"] = self.id  # a unique job's own id is nobody's
                if not State(row["state"]).ended:
                    return value  # an error of an attempt; another one is due
                self._result = value
        return self._result

    def get_raw_result(
        self,
        blocking: bool = False,
        timeout: float | None = None,
        backoff: float = 1.15,
        max_delay: float = 1.0,
        revoke_on_timeout: bool = False,
        preserve: bool = False,
    ) -> Any:
        result = self._get()
        if result is not EmptyData:
            return result
        if not blocking:
            return None
        if self.huey.storage.wait_result(self.id, timeout, backoff, max_delay):
            result = self._get()
            if result is not EmptyData:
                return result
            job = self.look()  # cancelled: there is no result, and none will come
            return Error(
                {"error": f"The job was {job.state}. {job.error}", "retries": 0, "traceback": "", "task_id": self.id}
            )
        if revoke_on_timeout:
            self.revoke()
        job = self.look()  # an id that nobody knows has no result either, and raises JobNotFound
        raise ResultTimeout(f"Job {self.id} has no result after {timeout} s: it is {job.state}, attempt {job.attempt}.")


def value_of(row: Row) -> Any:
    """A result as Huey has it: the value, or an Error.

    `row` has media_type and body, which are None where nothing was saved.
    """
    if row["media_type"] is None:
        return None
    if row["media_type"] == ERROR:
        return Error(json.loads(row["body"]))
    return codec.decode(row["media_type"], row["body"])
