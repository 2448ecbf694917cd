"""An attempt at a job: what was claimed, what Huey says of how it went, and what that amounts to."""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from huey import signals
from huey.api import Task
from huey.exceptions import TaskTimeout

from jobqueue import codec
from jobqueue.context import ClaimedJob
from jobqueue.database import Row, storable
from jobqueue.ledger import Asking, NewJob, NewVersion, Outcome, Retry, State, error_result

# Signals that tell how an attempt went.
TELLING = frozenset(
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
    """The task called sys.exit(), or let asyncio's CancelledError out: it failed, and its worker goes on."""


class Claim:
    """One attempt: what was claimed, and what Huey has said of it so far."""

    def __init__(self, row: Row, token: str, job: ClaimedJob) -> None:
        self.id: str = row["id"]
        self.queue: str = row["queue"]
        self.is_followed = row["follower"] is not None
        # Who follows takes this one's value, but for a schedule's next fire, which only waits.
        self.value_is_wanted = self.is_followed and row["due_at"] is None
        self.task: Task | None = None
        self.token = token
        self.job = job
        self.now: float = row["now"]
        self.revoked = bool(row["revoked"])
        self.started = False  # the task's own code has been entered
        self.ending = False  # it has returned: what is written from now on belongs to the end
        self.signal: str | None = None  # the last that tells how it went
        self.exception: BaseException | None = None
        self.failure: dict[str, Any] | None = None  # Huey's metadata of the error
        self.retry: Retry | None = None
        self.value: tuple[str, bytes] | None = None
        self.version: NewVersion | None = None  # of the dataset that this job refreshes
        self.submitted: list[NewJob] = []
        self.deleted: list[str] = []
        # Set by a worker that may go on: what it asks for as this attempt ends. None if it is to stop then.
        self.ask_next: Callable[[], Asking | None] = lambda: None
        self.next: tuple[Row, str] | None = None  # what it was given then, and the token
        self.unsure = False  # it asked, and was not answered

    def handles(self, task: Any) -> bool:
        """Whether a task is what this job's `.error(...)` named."""
        on_error = getattr(self.task, "on_error", None)
        return isinstance(task, Task) and on_error is not None and task.id == on_error.id

    def outcome(self) -> Outcome | None:
        """What to write; None when the attempt was interrupted."""
        outcome = Outcome(submitted=self.submitted, deleted=self.deleted, progress=self.job.unwritten)
        if self.failure is not None:
            outcome.result = error_result(
                self.failure["error"], self.id, self.failure["traceback"], self.failure["retries"]
            )
        if self.exception is not None:
            outcome.error = sentence(self.exception)
        if self.retry is not None:
            outcome.retry = self.retry
        elif self.signal == signals.SIGNAL_COMPLETE:
            outcome.result = self.value
            outcome.version = self.version
        elif self.signal == signals.SIGNAL_REVOKED:
            outcome.state, outcome.error = State.CANCELLED, "Revoked before it ran."
        elif self.signal == signals.SIGNAL_EXPIRED:
            outcome.state, outcome.error = State.FAILED, "Expired: no worker was free before its time was over."
        elif self.signal == signals.SIGNAL_CANCELED:
            outcome.state, outcome.error = State.CANCELLED, outcome.error or "Cancelled before it ran."
        elif self.failure is not None:
            outcome.state = State.FAILED
        else:
            return None
        return outcome


working_on: ContextVar[Claim | None] = ContextVar("claim", default=None)


def ending_claim() -> Claim | None:
    """The claim that this code works for, if its task has returned."""
    claim = working_on.get()
    return claim if claim is not None and claim.ending else None


def sentence(exception: BaseException) -> str:
    """What went wrong, for a person: the exception's own words, with its name where they do not say enough."""
    text = storable(str(exception)).strip()
    if isinstance(exception, codec.ResultNotEncodable | TaskExited | TaskTimeout):
        return text
    name = type(exception).__name__
    return f"{name}: {text}" if text else f"{name}, without a message."
