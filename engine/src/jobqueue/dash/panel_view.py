"""The components of a JobPanel: a job's state in words, its progress and its errors."""

from typing import Any

import dash_mantine_components as dmc
from dash import html
from dash.development.base_component import Component

from jobqueue.dash.error_text import is_of_app
from jobqueue.dash.formatting import size
from jobqueue.dash.status_text import Glance, sentence, time_left
from jobqueue.jobs.job import Job
from jobqueue.ledger.states import State as JobState
from jobqueue.tasks.submission import ArgumentsTooLarge

COLOURS = {
    JobState.WAITING: "gray",
    JobState.SCHEDULED: "yellow",
    JobState.QUEUED: "gray",
    JobState.RUNNING: "blue",
    JobState.SUCCEEDED: "green",
    JobState.FAILED: "red",
    JobState.CANCELLED: "gray",
}

BREAKING = {"overflowWrap": "anywhere"}  # users' texts may have no spaces


def status(
    job: Job,
    since: Glance | None,
    title: str,
    buttons: list[Component],
    ahead: int | None = None,
    *,
    operator: bool = False,
) -> Component:
    """Return a job's state in words, with a bar while it runs, and its buttons.

    :param since: the page's first glance at the running attempt.
    :param ahead: number of jobs before it in the queue.
    :param operator: as for `sentence`.
    """
    parts: list[Component] = [
        dmc.Group(
            [
                dmc.Badge(job.state.value, color=COLOURS[job.state], variant="light", mt=2),
                dmc.Text(
                    sentence(job, ahead, since, operator=operator),
                    flex=1,
                    miw=200,
                    style=BREAKING,
                    **{"aria-live": "polite"},
                ),
                *buttons,
            ],
            align="flex-start",
        )
    ]
    if title:
        parts.insert(0, dmc.Text(title, fw=600, style=BREAKING))
    if job.state is JobState.RUNNING:
        share = 100 * job.done / job.total if job.done is not None and job.total else 0
        parts.append(dmc.Progress(value=share, animated=True, size="lg", **{"aria-label": "Progress"}))
        left = time_left(job, since)
        parts.append(dmc.Text(" · ".join(filter(None, [job.note, left])), size="sm", c="dimmed", style=BREAKING))
    if job.hint:
        parts.append(dmc.Alert(job.hint if operator else _interrupted(job), color="orange"))
    if job.traceback and job.state is JobState.FAILED and (operator or is_of_app(job.error)):
        details = html.Summary("Details", style={"cursor": "pointer"})
        parts.append(html.Details([details, dmc.Code(job.traceback, block=True, mt="xs", tabIndex=0)]))
    return dmc.Stack(parts, gap="xs")


def _interrupted(job: Job) -> str:
    return (
        f"This job was interrupted {job.returns} times, and starts from the beginning each time. If this goes on, tell the "
        "administrator of this app."
    )


def as_text(value: Any) -> Component:
    """Return a result as text."""
    return dmc.Text(str(value), size="lg", mt="md", style=BREAKING)


def no_such_job(job_id: str) -> Component:
    """Return a note for an address with the id of an unknown job."""
    words = f"Job {job_id} was not found. The link may be incomplete, or the job has been deleted."
    return dmc.Alert(words, title="No such job", color="orange", style=BREAKING)


def out_of_touch() -> Component:
    """Return a note for a page that refreshes itself and cannot reach the database."""
    words = "Running jobs are not affected. This page retries automatically."
    return dmc.Alert(words, title="The database does not answer", color="red")


def too_large(error: ArgumentsTooLarge) -> str:
    """Return what a user reads about a job whose arguments are too large, with both sizes."""
    taken, limit = size(error.size), size(error.limit)
    if taken == limit:
        taken, limit = f"{error.size:,} bytes", f"{error.limit:,} bytes"
    return f"This takes {taken} of data, more than the limit of {limit}. Choose less data and try again."


def not_started(words: str = "The queue does not answer. Try again in a moment.") -> Component:
    """Return an error for a job that was not submitted."""
    return dmc.Alert(words, title="Not started", color="red", mb="md")
