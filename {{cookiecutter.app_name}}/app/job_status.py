"""How a job is shown on a page: its state in words, how far it is, how long it may still take, and what went wrong."""

from dataclasses import dataclass
from datetime import UTC, datetime

import dash_mantine_components as dmc
from dash import html
from dash.development.base_component import Component

from jobqueue import Job, State

COLOURS = {
    State.WAITING: "gray",
    State.SCHEDULED: "yellow",
    State.QUEUED: "gray",
    State.RUNNING: "blue",
    State.SUCCEEDED: "green",
    State.FAILED: "red",
    State.CANCELLED: "gray",
}
BREAKING = {"overflowWrap": "anywhere"}  # what others wrote may have no spaces
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


def job_status(job: Job, since: Glance | None = None) -> Component:
    """A job in words, with a bar while it runs; `since` is for the time left, which else is told of first attempts only."""
    running = job.state is State.RUNNING
    parts: list[Component] = [
        dmc.Group(
            [
                dmc.Badge(job.state.value, color=COLOURS[job.state], variant="light", mt=2),
                dmc.Text(sentence(job), flex=1, miw=200, style=BREAKING),
            ],
            align="flex-start",
        )
    ]
    if running:
        share = 100 * job.done / job.total if job.done is not None and job.total else 0
        parts.append(dmc.Progress(value=share, animated=True, size="lg", **{"aria-label": "Progress"}))
        left = time_left(job, since)
        parts.append(dmc.Text(" · ".join(filter(None, [job.note, left])), size="sm", c="dimmed", style=BREAKING))
    if job.hint:
        parts.append(dmc.Alert(job.hint, color="orange"))
    if job.traceback and job.state is State.FAILED:
        parts.append(
            html.Details(
                [
                    html.Summary("What is behind it", style={"cursor": "pointer"}),
                    dmc.Code(job.traceback, block=True, mt="xs"),
                ]
            )
        )
    return dmc.Stack(parts, gap="xs")


def no_such_job(job_id: str) -> Component:
    """For an address that names a job which is not there."""
    return dmc.Alert(
        f"There is no job {job_id}. The address may be cut short, or it is of another installation.",
        title="No such job",
        color="orange",
    )


def try_again() -> Component:
    """For beside the button of a submit that raised QueueUnavailable."""
    return dmc.Alert("The queue does not answer just now. Try again in a moment.", title="Not started", color="red")


def sentence(job: Job) -> str:
    """What the state means for whoever waits."""
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
                return f"In the queue again, for attempt {job.attempt + 1}{_why_again(job)}."
            waited = (now - (job.run_at or job.created_at)).total_seconds()
            if waited < LONG_QUEUED:
                return "In the queue."
            return (
                f"In the queue for {in_words(waited)}: all workers are busy, or none runs (see: python -m app doctor)."
            )
        case State.RUNNING:
            return "Running." if job.attempt <= 1 else f"Running, attempt {job.attempt}{_why_again(job)}."
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


def in_words(seconds: float) -> str:
    """4 s, 3 min, 1 h 20 min."""
    seconds = max(1, round(seconds))
    if seconds < 90:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def _why_again(job: Job) -> str:
    if job.losses:
        return ": the worker was lost"
    if job.returns:
        return ": the worker was stopped before it had ended"
    return ": the one before failed" if job.error else ""
