"""TODO-DOC."""

import json
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from jobqueue.ledger.queues import DEFAULT
from jobqueue.ledger.states import State

ERROR = "application/vnd.jobqueue.error+json"  # the media type of a failed job's result: what Huey keeps of an error


class FenceRefused(Exception):
    """The token is no longer the job's: another claim, or an end, came first. Nothing was written."""


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """A row to be. Times are seconds since the epoch (`_at`) or from now on the database's clock (`_in`)."""

    id: str
    task: str
    message: bytes
    queue: str = DEFAULT
    priority: float = 0
    owner: str | None = None
    run_at: float | None = None
    run_in: float | None = None
    expires_at: float | None = None
    expires_in: float | None = None
    retries: int = 0
    retry_delay: float = 0
    follower: str | None = None
    chord_index: int | None = None
    pending: int = 0
    follows: str | None = None
    chord_size: int | None = None
    # For a unique job: what is submitted is a handle, and this the run that it has unless there is one.
    handle: str | None = None
    unique_key: str | None = None
    cache_for: float | None = None  # seconds for which a success is as good as a new run


@dataclass(frozen=True, kw_only=True)
class ClaimRequest:
    """What a worker asks for, and under which token.

    queues: those that it serves; None for all that there are. lately: those that it was given jobs of, the last one last: at
    equal priority others come first.
    """

    tasks: Sequence[str]
    token: str
    consumer: str
    worker: str
    lease_s: float
    queues: Sequence[str] | None = None
    lately: Sequence[str] = ()

    @property
    def where(self) -> dict[str, Any]:
        queues = None if self.queues is None else list(self.queues)
        return {"tasks": list(self.tasks), "queues": queues, "lately": list(self.lately)}

    @property
    def claimant(self) -> dict[str, Any]:
        return {"consumer": self.consumer, "worker": self.worker, "host": socket.gethostname(), "lease": self.lease_s}


@dataclass(frozen=True, kw_only=True)
class Retry:
    """The attempt failed and another is due: `delay` or `at` says when, `retries` and `retry_delay` what is left."""

    delay: float = 0
    at: float | None = None
    retries: int
    retry_delay: float


@dataclass(frozen=True, kw_only=True)
class NewVersion:
    """What a job makes of a dataset."""

    name: str
    keep: int  # versions, with this one
    as_of: float | None  # seconds since the epoch; None for the database's time when it is saved
    rows: int | None
    size: int  # bytes of the body
    digest: str
    media_type: str
    body: bytes


@dataclass(kw_only=True)
class Outcome:
    """How an attempt ended, and all that is committed with it."""

    state: State = State.SUCCEEDED
    error: str = ""
    result: tuple[str, bytes] | None = None
    retry: Retry | None = None
    progress: tuple[float, float, str] | None = None
    log: str | None = None
    submitted: list[NewJob] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    version: NewVersion | None = None


def error_result(error: str, job_id: str, traceback: str = "", retries: int = 0) -> tuple[str, bytes]:
    """What is kept of an error as a job's result: the metadata of Huey's TaskException."""
    return ERROR, json.dumps({"error": error, "retries": retries, "traceback": traceback, "task_id": job_id}).encode()
