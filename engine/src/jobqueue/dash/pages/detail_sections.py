"""The sections of a job's page: facts, events, arguments, steps and log."""

import dash_mantine_components as dmc
from dash import html
from dash.development.base_component import Component

from jobqueue.dash.access import Access
from jobqueue.dash.error_text import ASK, for_users, is_of_app
from jobqueue.dash.formatting import size, span
from jobqueue.dash.pages import text
from jobqueue.dash.pages.text import happened, spoken, table
from jobqueue.dash.panel_view import BREAKING, COLOURS
from jobqueue.database.database import Row
from jobqueue.execution.job_log import LogLine
from jobqueue.jobs.history import Event
from jobqueue.jobs.job import Job, Unreadable
from jobqueue.ledger.states import State as JobState
from jobqueue.text import TITLE, brief, said

EVENTS = 100  # newest events shown
STEPS = 100

UNLUCKY = {
    "retried": "orange",
    "given back": "orange",
    "lost": "red",
    "unknown": "red",
    "abandoned": "gray",
    "cancelled": "gray",
}  # colours of events; others are blue

# Details of events for those who operate the app.
CAUSES = {
    "lost": "Its worker died.",
    "given back": "Its worker was stopped.",
    "unknown": "No worker has this task.",
}

SCROLLED = {"maxHeight": 400, "overflow": "auto"}  # a long part with others below it


def facts(job: Job, access: Access) -> Component:
    """Return a job's times, attempts and place."""
    operator, moment = access.sees_all, access.moment
    waited = ran = None
    if job.claimed_at is not None and job.attempt == 1:
        waited = (job.claimed_at - max(job.run_at or job.created_at, job.created_at)).total_seconds()
    if job.claimed_at is not None and job.ended_at is not None:
        ran = (job.ended_at - job.claimed_at).total_seconds()
    values = {
        "Id": job.id,
        "Task": job.task,
        "Queue": job.queue,
        "Owner": job.owner or "",
        "Priority": f"{job.priority:g}",
        "Attempt": str(job.attempt) if job.attempt else "",
        "Workers lost": str(job.losses) if job.losses and operator else "",
        "Released": str(job.returns) if job.returns and operator else "",
        "Interruptions": str(job.losses + job.returns) if job.losses + job.returns and not operator else "",
        "Submitted": moment(job.created_at),
        "Due": moment(job.due_at) + (", run late" if job.made_up else ""),
        "Starts": moment(job.run_at) if job.state is JobState.SCHEDULED else "",
        "Started": moment(job.claimed_at),
        "Ended": moment(job.ended_at),
        "Waited": span(waited),
        "Ran": span(ran),
        "Worker": (job.worker or "") if operator else "",
    }
    shown: dict[str, Component | str] = {name: value for name, value in values.items() if value}
    return text.facts(shown, cols={"base": 2, "sm": 3, "lg": 4})


def timeline(events: list[Event], access: Access) -> Component:
    """Return a job's events, oldest first."""
    items = [_event(event, before, access) for before, event in zip([None, *events], events, strict=False)]
    left_out = len(items) - EVENTS
    parts: list[Component] = [
        dmc.Timeline(items[-EVENTS:], bulletSize=18, lineWidth=2),
    ]
    if left_out > 0:
        parts.insert(0, dmc.Text(f"{left_out} earlier events are not shown.", size="sm", c="dimmed"))
    return dmc.Stack(parts)


def _event(event: Event, before: Event | None, access: Access) -> Component:
    operator = access.sees_all
    colour = COLOURS[event.state] if event.state else UNLUCKY.get(event.name, "blue")
    after = "" if before is None else f", {span((event.at - before.at).total_seconds())} later"
    by = f", by {event.worker} on {event.host}" if operator else ""
    where = f"Attempt {event.attempt}{by}. " if event.name == "claimed" else ""
    at = f"{where}{access.moment(event.at)}{after}"
    inside: list[Component] = [dmc.Text(at, size="sm", c="dimmed", style=BREAKING)]
    if operator:
        error = event.error or CAUSES.get(event.name, "")
    else:
        error = "" if event.name in CAUSES else for_users(event.error)
    if error:
        inside.append(dmc.Text(error, size="sm", style=BREAKING))
    if event.traceback and (operator or is_of_app(event.error)):
        summary = html.Summary(f"Traceback of attempt {event.attempt}", style={"cursor": "pointer"})
        inside.append(html.Details([summary, _code(event.traceback)]))
    dot = html.Div(
        style={"width": 10, "height": 10, "borderRadius": 5, "background": f"var(--mantine-color-{colour}-6)"}
    )
    return dmc.TimelineItem(inside, title=happened(event), bullet=dot)


def arguments(job: Job, access: Access) -> Component:
    """Return the arguments of a job's task."""
    try:
        given = [*((str(n), value) for n, value in enumerate(job.args, start=1)), *job.kwargs.items()]
    except Unreadable as error:
        return dmc.Alert(unreadable(error, access), color="orange", style=BREAKING)
    if not given:
        return dmc.Text("None.", c="dimmed")
    cells = [[said(name, TITLE), dmc.Code(brief(value))] for name, value in given]
    return table(["Argument", "Value"], cells, "Arguments")


def unreadable(error: Unreadable, access: Access) -> str:
    """Return why a job's arguments cannot be read."""
    return str(error) if access.sees_all else f"The arguments of this job cannot be read. {ASK}"


def steps(rows: list[Row], access: Access) -> Component:
    """Return the saved steps of a job."""
    if not rows:
        more = " A task saves its steps with job.step(...). A saved step does not run again after a crash."
        return dmc.Text("None." + (more if access.sees_all else ""), c="dimmed")
    cells = [[row["name"], access.moment(row["saved_at"]), size(row["bytes"])] for row in rows]
    return html.Div(table(["Step", "Saved", "Size"], cells, "Steps"), tabIndex=0, style=SCROLLED)


def log(lines: list[LogLine], access: Access) -> Component:
    """Return the last lines that a job logged."""
    if not lines:
        more = " Messages that the task logs with the logging module appear here."
        return dmc.Text("Nothing was logged." + (more if access.sees_all else ""), c="dimmed")
    several = lines[-1].attempt > 1
    shown = "\n".join(
        f"{access.moment(line.at)} {f'[{line.attempt}] ' if several else ''}{line.level:<7} {line.text}"
        for line in lines
    )
    return html.Div(_code(shown), role="log", **spoken(label=f"The last {len(lines)} lines"))


def _code(text: str) -> Component:
    """Return lines in a box that scrolls. The keyboard scrolls it too, as it can be focused."""
    return dmc.Code(text, block=True, mt="xs", style=SCROLLED, tabIndex=0)
