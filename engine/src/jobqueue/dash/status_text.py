"""A job in words: its state, how far it is, and how long it may still take."""

from dataclasses import dataclass
from datetime import UTC, datetime

from jobqueue.dash.error_text import for_users
from jobqueue.dash.formatting import plural, whole_span
from jobqueue.jobs.job import Job
from jobqueue.ledger.states import State

AHEAD_AT_MOST = 1000  # jobs before one in the queue that are counted
LONG_QUEUED = 10  # seconds in the queue after which the page says for how long


@dataclass(frozen=True)
class Glance:
    """How far an attempt was when a page first saw it. The page measures the attempt's speed from there."""

    attempt: int
    at: float  # seconds since the epoch
    done: float


def glance(job: Job, earlier: Glance | None = None) -> Glance | None:
    """Return the first glance at the running attempt, once it has made progress.

    :param earlier: the glance that the page has kept.
    """
    if job.state is not State.RUNNING or not job.done:
        return None
    if earlier is not None and earlier.attempt == job.attempt:
        return earlier
    return Glance(job.attempt, datetime.now(UTC).timestamp(), job.done)


def sentence(job: Job, ahead: int | None = None, since: Glance | None = None, *, operator: bool = False) -> str:
    """Return what a job's state means for a person who waits for it.

    :param ahead: number of jobs before a queued one, at most AHEAD_AT_MOST.
    :param since: the page's first glance at the running attempt.
    :param operator: whether the person operates the app, and reads errors of the queue with their remedies.
    """
    now = datetime.now(UTC)
    error = job.error if operator else for_users(job.error)
    match job.state:
        case State.WAITING:
            return "Waiting for another job to end."
        case State.SCHEDULED:
            starts = (
                f"in {whole_span((job.run_at - now).total_seconds())}" if job.run_at and job.run_at > now else "now"
            )
            if job.attempt:
                return f"Attempt {job.attempt} failed. The next starts {starts}: {error}"
            return f"Starts {starts}."
        case State.QUEUED:
            if job.attempt:
                again = f"In the queue again{_behind(ahead)}, for attempt {job.attempt + 1}{_why_again(job)}."
                return again + _where_it_continues(job)
            waited = (now - (job.run_at or job.created_at)).total_seconds()
            if waited < LONG_QUEUED:
                return f"In the queue{_behind(ahead)}."
            return f"Waiting to start for {whole_span(waited)}{_behind(ahead)}."
        case State.RUNNING:
            if job.attempt <= 1:
                return "Running."
            has_moved = since is None or job.done != since.done
            return f"Running, attempt {job.attempt}{_why_again(job)}.{_where_it_continues(job, has_moved)}"
        case State.SUCCEEDED:
            took = (job.ended_at - job.claimed_at).total_seconds() if job.ended_at and job.claimed_at else 0
            return f"Done in {whole_span(took)}."
        case State.FAILED:
            return f"Failed: {error}"
        case State.CANCELLED:
            return error or "Cancelled."


def time_left(job: Job, since: Glance | None = None) -> str:
    """Return the time left, estimated from the attempt's speed so far, or "" if it cannot be estimated yet."""
    if job.done is None or job.total is None or job.claimed_at is None:
        return ""
    if since is None or job.done <= since.done:
        if job.attempt > 1:  # it began with steps that an earlier attempt saved
            return ""
        since = Glance(1, job.claimed_at.timestamp(), 0)
    if job.done <= since.done:
        return ""
    seconds = (datetime.now(UTC).timestamp() - since.at) / (job.done - since.done) * (job.total - job.done)
    return f"about {whole_span(seconds)} left"


def _behind(ahead: int | None) -> str:
    if ahead is None:
        return ""
    if ahead == 0:
        return ", next in line"
    if ahead >= AHEAD_AT_MOST:
        return f", behind {AHEAD_AT_MOST:,} other jobs or more"
    return f", behind {plural(ahead, 'other job')}"


def _why_again(job: Job) -> str:
    if job.losses or job.returns:
        return ": the last attempt was interrupted"
    return ": the last attempt failed" if job.error else ""


def _where_it_continues(job: Job, has_moved: bool = False) -> str:
    """Return where the new attempt continues.

    It begins with the saved steps. Until it has passed them, the progress is that of the attempt before.
    """
    if not job.has_steps:
        return "" if job.has_steps is None else " It starts from the beginning."
    if job.total is None:
        return " Finished steps are kept."
    return f" It continues after {job.done:g} of {job.total:g}." if job.done and not has_moved else ""
