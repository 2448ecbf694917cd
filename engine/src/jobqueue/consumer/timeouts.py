"""Interrupt a running task that timed out or lost its claim. This code runs in signal handlers of the worker process."""

import logging
import sys
import time
from collections.abc import Callable
from types import FrameType

from huey.exceptions import TaskTimeout

from jobqueue import interrupts
from jobqueue.database.database import DatabaseUnavailable
from jobqueue.execution.coroutines import in_event_loop
from jobqueue.execution.current_job import ClaimedJob, current_job
from jobqueue.ledger.ledger import Ledger

logger = logging.getLogger("jobqueue.consumer")

# Seconds from a timeout until a worker that still runs the job is killed. By then it was interrupted twice.
TIMEOUT_GRACE = interrupts.AGAIN + 2.0


def on_alarm(signum: int, frame: FrameType | None) -> None:
    """Interrupt the current job, which has timed out.

    Python drops exceptions that a destructor raises. Inside one, the interrupt waits for the next line outside of it.
    """
    outside = inner = frame
    while inner is not None:
        if inner.f_code.co_name == "__del__":
            outside = inner.f_back
        inner = inner.f_back
    if outside is frame or outside is None:
        interrupts.request(current_job().token, timeout_error)
    else:
        at_next_line(outside, lambda: interrupts.request(current_job().token, timeout_error))


def at_next_line(frame: FrameType, do: Callable[[], None]) -> None:
    """Call `do` when the frame reaches its next line or returns. An exception from it is raised there."""
    before = sys.gettrace()

    def arrived(*_: object) -> None:
        frame.f_trace = None
        sys.settrace(before)
        do()

    frame.f_trace = arrived
    sys.settrace(lambda *_: None)  # trace this frame only, not the frames that it calls


def timeout_error() -> TaskTimeout | interrupts.OutOfTime | None:
    """Return the exception for a job that timed out, or None if the alarm belongs to an earlier job.

    The first exception is a TaskTimeout, which a task may catch to clean up. Some tasks continue after any Exception, so
    later ones are an OutOfTime, which `except Exception` does not catch. In an event loop the first one is an OutOfTime too: the
    loop goes on after any other exception of a callback, and cancels its coroutines after this one.
    """
    job = current_job()
    if not isinstance(job, ClaimedJob) or job.deadline is None or time.monotonic() < job.deadline:
        return None
    if job.interrupted_at is None:
        job.interrupted_at = time.monotonic()
        if not in_event_loop():
            return job.timed_out()
    return interrupts.OutOfTime(str(job.timed_out()))


def claim_lost_error(ledger: Ledger) -> interrupts.ClaimLost | None:
    """Return the exception for a job whose claim was lost, or None if this worker still holds it."""
    job = current_job()
    try:
        if isinstance(job, ClaimedJob) and not ledger.attempts.still_held(job.id, job.token):
            return interrupts.ClaimLost(f"This worker no longer holds job {job.id}.")
    except DatabaseUnavailable as error:
        logger.warning("Cannot check whether this worker still holds job %s: %s", job.id, error)
    return None
