"""An attempt at a job: the claimed row, Huey's report of how it went, and the outcome to write."""

import contextlib
from contextvars import ContextVar
from typing import Any, NamedTuple

from huey import signals
from huey.api import Task
from huey.exceptions import TaskException, TaskTimeout

from jobqueue import codec, logs
from jobqueue.database.database import Row
from jobqueue.execution.current_job import ClaimedJob
from jobqueue.files.file import naming
from jobqueue.ledger.records import NewJob, NewVersion, Outcome, Retry, error_result
from jobqueue.ledger.states import State
from jobqueue.ledger.submitting import request_of
from jobqueue.text import WITHIN, formatted, said, shown, type_name

# The signals with which Huey reports how an attempt went.
REPORTS = frozenset(
    {
        signals.SIGNAL_REVOKED,
        signals.SIGNAL_EXPIRED,
        signals.SIGNAL_CANCELED,
        signals.SIGNAL_COMPLETE,
        signals.SIGNAL_ERROR,
        signals.SIGNAL_TIMEOUT,
        signals.SIGNAL_LOCKED,
        signals.SIGNAL_RATE_LIMITED,
        signals.SIGNAL_INTERRUPTED,
    }
)


class TaskExited(Exception):
    """Failure of a task that raised SystemExit, KeyboardInterrupt or asyncio's CancelledError. Its worker continues."""


class Description(NamedTuple):
    """An exception as text. Its own code runs when it is described, and never again."""

    sentence: str  # for people: its message, after its type unless the message explains itself
    error: str  # as Huey stores it: its repr
    traceback: str

    def metadata(self, task: Task) -> dict[str, Any]:
        """Return Huey's metadata of a task's error."""
        return {"error": self.error, "retries": task.retries, "traceback": self.traceback, "task_id": task.id}


def describe(exception: BaseException) -> Description:
    """Describe an exception. Only an interrupt of the running job is raised."""
    kind = type(exception)
    sentence = said(exception, WITHIN).strip()
    if not issubclass(kind, codec.ResultNotEncodable | TaskExited | TaskTimeout):
        sentence = f"{type_name(exception)}: {sentence}" if sentence else f"{type_name(exception)}, without a message."
    if issubclass(kind, TaskException):  # raised by the `get` of another job
        error = shown(exception, convert=lambda raised: raised.metadata.get("error") or repr(raised))
    else:
        error = shown(exception)
    return Description(sentence, error, formatted(exception))


class Attempt:
    """One attempt: the claimed row, and Huey's report so far. `now`: the database's time at the claim."""

    def __init__(self, row: Row, token: str, job: ClaimedJob) -> None:
        self.id: str = row["id"]
        self.name: str = row["task"]  # the task's full name
        self.queue: str = row["queue"]
        self.request: str | None = request_of(row["first_event"])
        self.is_followed = row["follower"] is not None
        self.is_fired = row["due_at"] is not None  # by a schedule
        # A follower takes this job's value. A schedule's next run is no such follower: it only waits for the end.
        self.value_is_wanted = self.is_followed and not self.is_fired
        self.task: Task | None = None
        self.token = token
        self.job = job
        self.now: float = row["now"]
        self.revoked = bool(row["revoked"])
        self.started = False  # the task's own code was entered
        self.ending = False  # the task has returned: later writes belong to the end
        self.signal: str | None = None  # the last signal of REPORTS
        self.claim_lost = False  # the task was interrupted, as its claim is gone
        self.exception: BaseException | None = None
        self.raised: BaseException | None = None  # the exception that Huey got in its place
        self.description: Description | None = None  # of the exception
        self.failure: dict[str, Any] | None = None  # Huey's metadata of the error
        self.retry: Retry | None = None
        self.value: tuple[str, bytes] | None = None
        self.files: list[str] = []  # the ids of the files in the value
        self.version: NewVersion | None = None  # the dataset version that this job made
        self.submitted: list[NewJob] = []
        self.deleted: list[str] = []

    def bound(self) -> contextlib.AbstractContextManager[None]:
        """Add the job to the lines that the block logs."""
        return logs.bound(job=self.id, task=self.name, attempt=self.job.attempt, queue=self.queue, request=self.request)

    def keep(self, value: Any) -> None:
        """Encode the task's value, to be saved with the end. Raises ResultNotEncodable."""
        with naming() as files:
            self.value = codec.encode(value, self.job.max_result)
        self.files = sorted(files)

    def handles(self, task: Any) -> bool:
        """Return whether a task is this job's error handler, set with `.error(...)`."""
        on_error = getattr(self.task, "on_error", None)
        return isinstance(task, Task) and on_error is not None and task.id == on_error.id

    def free(self) -> None:
        """Free the objects of the task. What is written of them is text or bytes by now."""
        if self.raised is not None:
            BaseException.with_traceback(self.raised, None)  # frames of the traceback refer to the exception
        self.raised = self.exception = None
        if self.task is not None:
            self.task.args, self.task.kwargs = (), {}

    def outcome(self) -> Outcome | None:
        """Return the outcome to write, or None when the attempt was interrupted."""
        outcome = Outcome(submitted=self.submitted, deleted=self.deleted, progress=self.job.unwritten)
        if self.failure is not None:
            outcome.result = error_result(job_id=self.id, **kept(self.failure, self.job.max_result))
        if self.description is not None:
            outcome.error = self.description.sentence
        if self.retry is not None:
            outcome.retry = self.retry
        elif self.signal == signals.SIGNAL_COMPLETE:
            outcome.result = self.value
            outcome.version = self.version
            outcome.files = self.files
        elif self.signal == signals.SIGNAL_REVOKED:
            outcome.state, outcome.error = State.CANCELLED, "Revoked before it ran."
        elif self.signal == signals.SIGNAL_EXPIRED:
            outcome.state, outcome.error = State.FAILED, "Expired: no worker was free in time."
        elif self.signal == signals.SIGNAL_CANCELED:
            outcome.state, outcome.error = State.CANCELLED, outcome.error or "Cancelled before it ran."
        elif self.failure is not None:
            outcome.state = State.FAILED
        else:
            return None
        return outcome


current_attempt: ContextVar[Attempt | None] = ContextVar("attempt", default=None)


def ending_attempt() -> Attempt | None:
    """Return the attempt of the calling code if its task has returned, else None."""
    attempt = current_attempt.get()
    return attempt if attempt is not None and attempt.ending else None


def kept(metadata: dict[str, Any], max_bytes: float) -> dict[str, Any]:
    """Return the arguments of `error_result` for an error's metadata.

    An overridden `build_error_result` may add to Huey's metadata. The codec keeps what it adds, or says why it cannot.
    """
    usual = {"error": "", "traceback": "", "retries": 0}
    given = {key: metadata[key] for key in usual.keys() & metadata.keys() if type(metadata[key]) is type(usual[key])}
    more = {key: _kept(value, max_bytes) for key, value in metadata.items() if key not in given and key != "task_id"}
    return usual | given | {"more": codec.encode(more)[1] if more else b""}


def _kept(value: Any, max_bytes: float) -> Any:
    try:
        codec.encode(value, max_bytes)
    except Exception as error:  # of the value's own code, too
        return f"Not kept: {said(error, WITHIN)}"
    return value
