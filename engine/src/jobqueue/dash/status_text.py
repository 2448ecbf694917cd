"""A job in words: its state, how far it is, how long it may still take."""

from dataclasses import dataclass
from datetime import UTC, datetime

from jobqueue.dash.formatting import in_words
from jobqueue.jobs.job import Job
from jobqueue.ledger.states import State

AHEAD_AT_MOST = 1000  # jobs before one in the queue that are counted
LONG_QUEUED = 10  # seconds in the queue after which it is worth asking whether a worker runs


@dataclass(frozen=True)
class Glance:
    """How far an attempt was when a page first looked at it; from then on the page knows how fast it is."""

    attempt: int
    at: float  # seconds since the epoch
    done: float


def glance(job: Job, earlier: Glance | None = None) -> Glance | None:
    """The first look at the attempt that runs, once it has got somewhere; `earlier` is what the page has kept."""
    if job.state is not State.RUNNING or not job.done:
        return None
    if earlier is not None and earlier.attempt == job.attempt:
        return earlier
    return Glance(job.attempt, datetime.now(UTC).timestamp(), job.done)


def sentence(job: Job, ahead: int | None = None, since: Glance | None = None) -> str:
    """What the state means for whoever waits; `ahead` of a queued job are so many others, AHEAD_AT_MOST or more.

    `since` is the page's first look at the attempt that runs.
    """
    now = datetime.now(UTC)
    match job.state:
        case State.WAITING:
            return "Waits for another job to end."
        case State.SCHEDULED:
            starts = f"in {in_words((job.run_at - now).total_seconds())}" if job.run_at and job.run_at > now else "now"
            if job.attempt:
                return f"Attempt {job.attempt} failed, and the next starts {starts}: {job.error}"
            return f"Starts {starts}."
        case State.QUEUED:
            if job.attempt:
                again = f"In the queue again{_behind(ahead)}, for attempt {job.attempt + 1}{_why_again(job)}."
                return again + _where_it_goes_on(job)
            waited = (now - (job.run_at or job.created_at)).total_seconds()
            if waited < LONG_QUEUED:
                return f"In the queue{_behind(ahead)}."
            return (
                f"In the queue for {in_words(waited)}{_behind(ahead)}: all workers are busy, or none runs "
                "(see: python -m app doctor)."
            )
        case State.RUNNING:
            if job.attempt <= 1:
                return "Running."
            has_moved = since is None or job.done != since.done
            return f"Running, attempt {job.attempt}{_why_again(job)}.{_where_it_goes_on(job, has_moved)}"
        case State.SUCCEEDED:
            took = (job.ended_at - job.claimed_at).total_seconds() if job.ended_at and job.claimed_at else 0
            return f"Done in {in_words(took)}."
        case State.FAILED:
            return f"Failed: {job.error}"
        case State.CANCELLED:
            return job.error or "Cancelled."


def time_left(job: Job, since: Glance | None = None) -> str:
    """In words, from how fast the attempt has been; "" where that cannot be told yet."""
    if job.done is None or job.total is None or job.claimed_at is None:
        return ""
    if since is None or job.done <= since.done:
        if job.attempt > 1:  # it began with steps that were done already
            return ""
        since = Glance(1, job.claimed_at.timestamp(), 0)
    if job.done <= since.done:
        return ""
    seconds = (datetime.now(UTC).timestamp() - since.at) / (job.done - since.done) * (job.total - job.done)
    return f"about {in_words(seconds)} left"


def _behind(ahead: int | None) -> str:
    if ahead is None:
        return ""
    if ahead == 0:
        return ", the next"
    if ahead >= AHEAD_AT_MOST:
        return f", behind {AHEAD_AT_MOST:,} others or more"
    return f", behind {ahead} other{'s' if ahead > 1 else ''}"


def _why_again(job: Job) -> str:
    if job.losses:
        return ": the worker was lost"
    if job.returns:
        return ": the worker was stopped before it had ended"
    return ": the one before failed" if job.error else ""


def _where_it_goes_on(job: Job, has_moved: bool = False) -> str:
    """An attempt after another begins with the steps that are kept; what progress says is theirs until it moves."""
    if not job.has_steps:
        return "" if job.has_steps is None else " It begins from the start."
    if job.total is None:
        return " The steps that it has finished are kept."
    return f" It goes on after {job.done:g} of {job.total:g}." if job.done and not has_moved else ""
