"""TODO-DOC."""

from typing import Any

import dash_mantine_components as dmc
from dash import html
from dash.development.base_component import Component

from jobqueue.dash.status_text import Glance, sentence, time_left
from jobqueue.jobs.job import Job
from jobqueue.ledger.states import State as JobState

COLOURS = {
    JobState.WAITING: "gray",
    JobState.SCHEDULED: "yellow",
    JobState.QUEUED: "gray",
    JobState.RUNNING: "blue",
    JobState.SUCCEEDED: "green",
    JobState.FAILED: "red",
    JobState.CANCELLED: "gray",
}

BREAKING = {"overflowWrap": "anywhere"}  # what others wrote may have no spaces


def status(job: Job, since: Glance | None, title: str, buttons: list[Component], ahead: int | None = None) -> Component:
    """A job in words, with a bar while it runs, and the buttons that make sense now; `ahead` of it are so many others."""
    parts: list[Component] = [
        dmc.Group(
            [
                dmc.Badge(job.state.value, color=COLOURS[job.state], variant="light", mt=2),
                dmc.Text(sentence(job, ahead, since), flex=1, miw=200, style=BREAKING, **{"aria-live": "polite"}),
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
        parts.append(dmc.Alert(job.hint, color="orange"))
    if job.traceback and job.state is JobState.FAILED:
        behind = html.Summary("What is behind it", style={"cursor": "pointer"})
        parts.append(html.Details([behind, dmc.Code(job.traceback, block=True, mt="xs")]))
    return dmc.Stack(parts, gap="xs")


def as_text(value: Any) -> Component:
    return dmc.Text(str(value), size="lg", mt="md", style=BREAKING)


def no_such_job(job_id: str) -> Component:
    """For an address that names a job which is not there."""
    words = f"There is no job {job_id}. The address may be cut short, or it is of another installation."
    return dmc.Alert(words, title="No such job", color="orange", style=BREAKING)


def out_of_touch() -> Component:
    words = "Jobs that run go on. This page looks again by itself."
    return dmc.Alert(words, title="The database does not answer", color="red")


def try_again() -> Component:
    """For beside the button of a submit that raised QueueUnavailable."""
    return dmc.Alert("The queue does not answer just now. Try again in a moment.", title="Not started", color="red")
