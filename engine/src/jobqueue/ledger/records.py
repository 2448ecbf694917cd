"""Values that callers pass to the ledger: new jobs, claim requests, and the outcome of an attempt."""

import base64
import json
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobqueue import text
from jobqueue.ledger.queues import DEFAULT
from jobqueue.ledger.states import State

ERROR = "application/vnd.jobqueue.error+json"  # the media type of a failed job's result
MORE = "more"  # the key of its further metadata

Notify = Callable[[Sequence[str]], object]  # called with the queue of each job that may be ready to run


class FenceRefused(Exception):
    """The token no longer holds the job, because the attempt ended or another claim came first. Nothing was written."""

    @classmethod
    def of(cls, job_id: str, token: str) -> "FenceRefused":
        """Return the error of a write to this job under this token."""
        return cls(f"Job {job_id} is no longer held under token {token}: it ended, or another worker claimed it.")


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """A job to insert. Times are seconds since the epoch (`_at`), or seconds from now on the database's clock (`_in`)."""

    id: str
    task: str  # full name
    message: bytes  # signed
    queue: str = DEFAULT
    priority: float = 0
    owner: str | None = None
    run_at: float | None = None
    run_in: float | None = None
    expires_at: float | None = None
    expires_in: float | None = None
    retries: int = 0
    retry_delay: float = 0  # seconds
    request: str | None = None  # the id of the request that submits it, for logs
    # Dependencies.
    follower: str | None = None  # the id of the job that waits for this one
    chord_index: int | None = None  # the place among the members of a chord
    pending: int = 0  # the number of jobs that this one waits for
    follows: str | None = None  # the id of the job before it in a pipeline, whose result it gets
    chord_size: int | None = None  # members of the chord whose callback this is
    # A unique job is submitted as a handle. It shares the open run with the key, or this job becomes its run.
    handle: str | None = None  # the id of the handle
    unique_key: str | None = None
    cache_for: float | None = None  # seconds for which a successful run is shared instead of running again
    files: Sequence[str] = ()  # the ids of the files in its arguments


@dataclass(frozen=True, kw_only=True)
class ClaimRequest:
    """A worker's request for its next job."""

    tasks: Sequence[str]  # the tasks in the worker's code
    token: str  # a new random token, under which the worker will hold the job
    consumer: str
    worker: str
    lease_s: float  # seconds until the lease runs out unless it is renewed
    queues: Sequence[str] | None = None  # the queues that the worker serves; None for every queue
    lately: Sequence[
        str
    ] = ()  # the queues of its recent jobs, the latest last; at equal priority the other queues come first

    @property
    def where(self) -> dict[str, Any]:
        """Return the SQL parameters that select a job."""
        queues = None if self.queues is None else list(self.queues)
        return {"tasks": list(self.tasks), "queues": queues, "lately": list(self.lately)}

    @property
    def claimant(self) -> dict[str, Any]:
        """Return the SQL parameters that describe the claim, except its token."""
        return {"consumer": self.consumer, "worker": self.worker, "host": socket.gethostname(), "lease": self.lease_s}


@dataclass(frozen=True, kw_only=True)
class Retry:
    """An automatic retry after a failed attempt."""

    delay: float = 0  # seconds from now until the next attempt; ignored if there is `at`
    at: float | None = None  # when the next attempt is due, in seconds since the epoch
    retries: int  # retries that are left after this one
    retry_delay: float  # seconds before the one after this


@dataclass(frozen=True, kw_only=True)
class NewVersion:
    """A new version of a dataset, saved with the end of the job that made it."""

    name: str
    keep: int  # versions to keep, including this one
    as_of: float | None  # seconds since the epoch; None for the time of saving
    rows: int | None
    size: int  # bytes of the body
    digest: str
    media_type: str
    body: bytes


@dataclass(kw_only=True)
class Outcome:
    """The outcome of an attempt, with everything that is committed together with its end."""

    state: State = State.SUCCEEDED  # ignored if there is a `retry`
    error: str = ""
    result: tuple[str, bytes] | None = None  # media type and body
    retry: Retry | None = None
    progress: tuple[float, float, str] | None = None  # done, total, note
    log: str | None = None  # everything that the job logged, as lines of JSON
    submitted: list[NewJob] = field(default_factory=list)  # jobs that the attempt submitted at its end
    deleted: list[str] = field(default_factory=list)  # Huey's entries to delete, such as revocations
    version: NewVersion | None = None
    files: Sequence[str] = ()  # the ids of the files in its result


def error_result(
    error: str, job_id: str, traceback: str = "", retries: int = 0, more: bytes = b""
) -> tuple[str, bytes]:
    """Return an error as a job's result: media type, and the metadata of Huey's TaskException as JSON.

    :param more: further metadata, a dict that the codec has encoded.
    """
    error, traceback = text.cut(error, text.ERROR), text.cut_start(traceback, text.TRACEBACK)
    metadata = {"error": error, "retries": retries, "traceback": traceback, "task_id": job_id}
    if more:
        metadata[MORE] = base64.b64encode(more).decode()
    return ERROR, json.dumps(metadata).encode()
