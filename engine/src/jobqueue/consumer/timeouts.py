"""Interrupt a running task: its timeout is over, or its claim is gone. Runs in the worker process, in signal handlers."""

import logging
import sys
import time
from collections.abc import Callable
from types import FrameType

from huey.exceptions import TaskTimeout

from jobqueue import interrupts
from jobqueue.database.database import DatabaseUnavailable
from jobqueue.execution.current_job import ClaimedJob, current_job
from jobqueue.ledger.ledger import Ledger

logger = logging.getLogger("jobqueue.consumer")

# Seconds after a timeout in which a worker must let go of its job, before it is killed. It has been interrupted twice by then.
TIMEOUT_GRACE = interrupts.AGAIN + 2.0


def on_alarm(signum: int, frame: FrameType | None) -> None:
    """Interrupt the current job, whose time is over.

    Python drops exceptions raised in a destructor, so there the interrupt waits for the line after it.
    """
    outside = inner = frame
    while inner is not None:
        if inner.f_code.co_name == "__del__":
            outside = inner.f_back
        inner = inner.f_back
    if outside is frame or outside is None:
        interrupts.request(current_job().token, time_is_over)
    else:
        at_next_line(outside, lambda: interrupts.request(current_job().token, time_is_over))


def at_next_line(frame: FrameType, do: Callable[[], None]) -> None:
    """Call `do` when the frame reaches its next line or returns. An exception from it is raised there."""
    before = sys.gettrace()

    def arrived(*_: object) -> None:
        frame.f_trace = None
        sys.settrace(before)
        do()

    frame.f_trace = arrived
    sys.settrace(lambda *_: None)  # not in the frames that it calls


def time_is_over() -> TaskTimeout | interrupts.OutOfTime | None:
    """Return the exception for a job whose time is over, or None if the alarm belongs to an earlier job.

    A task may catch the first one to clean up. Some tasks go on after any Exception, so the next ones are harder to catch.
    """
    job = current_job()
    if not isinstance(job, ClaimedJob) or job.deadline is None or time.monotonic() < job.deadline:
        return None
    if job.interrupted_at is None:
        job.interrupted_at = time.monotonic()
        return job.timed_out()
    return interrupts.OutOfTime(str(job.timed_out()))


def lost(ledger: Ledger) -> interrupts.ClaimLost | None:
    """Return the exception for a job whose claim no longer holds, or None if it holds."""
    job = current_job()
    try:
        if isinstance(job, ClaimedJob) and not ledger.attempts.still_held(job.id, job.token):
            return interrupts.ClaimLost(f"Job {job.id} is no longer this worker's.")
    except DatabaseUnavailable as error:
        logger.warning("Whether job %s is still this worker's cannot be seen: %s", job.id, error)
    return None
