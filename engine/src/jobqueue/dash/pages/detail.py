"""`/jobs/<id>`: what one job was asked, what happened to it, what it logged, and retry, cancel, run again."""

import hashlib
import json
import reprlib
import time
import uuid
from datetime import UTC, datetime
from typing import Any

import dash
import dash_mantine_components as dmc
from _plotly_utils.utils import PlotlyJSONEncoder
from dash import (
    ALL,
    ClientsideFunction,
    Dash,
    Input,
    Output,
    State,
    callback,
    clientside_callback,
    ctx,
    dcc,
    html,
    no_update,
)
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate
from flask import request
from werkzeug.wrappers import Response

from jobqueue.dash import panel_view
from jobqueue.dash.access import Access
from jobqueue.dash.formatting import moment, size, span
from jobqueue.dash.pages.text import happened, link, spoken, table, unavailable
from jobqueue.dash.panel_view import BREAKING, COLOURS
from jobqueue.database.database import DatabaseUnavailable, Row
from jobqueue.execution.job_log import LogLine
from jobqueue.jobs.history import Event
from jobqueue.jobs.job import Job, JobNotFound, Unreadable
from jobqueue.ledger.states import State as JobState
from jobqueue.monitoring.search import Listing
from jobqueue.tasks.submitter import QueueUnavailable

LOOK_EVERY = 2000  # milliseconds between two looks at a job that has not ended
EVENTS = 100  # newest that are shown
STEPS = 100
ARGUMENT = 2_000  # characters of each argument that are shown

UNLUCKY = {
    "retried": "orange",
    "given back": "orange",
    "lost": "red",
    "unknown": "red",
    "abandoned": "gray",
    "cancelled": "gray",
}  # colours of events; others are blue

SCROLLED = {"maxHeight": 400, "overflow": "auto"}  # of what may be long, with more below it
SECTIONS = ("status", "facts", "timeline", "asked", "steps", "log")


class JobPage:
    """The page and its callbacks, for one queue."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self.huey = access.huey

    def register(self, app: Dash) -> None:
        dash.register_page(
            "jobqueue.dash.pages.job", path_template="/jobs/<job_id>", name="Job", order=9999, layout=self.layout
        )
        callback(
            Output("job-trouble", "children"),
            *(Output(f"job-{section}", "children") for section in SECTIONS),
            Output("job-seen", "data"),
            Input("job-tick", "n_intervals"),
            Input("job-acted", "data"),
            State("job-id", "data"),
            State("job-seen", "data"),
        )(self.refresh)
        callback(
            Output("job-said", "children"),
            Output("job-acted", "data"),
            Output("job-address", "pathname"),
            Input({"jobs": "act", "act": ALL}, "n_clicks"),
            State("job-id", "data"),
            State("job-next", "data"),
            prevent_initial_call=True,
        )(self.act)
        clientside_callback(
            ClientsideFunction("jobqueue", "seen"), Output("job-updated", "children"), Input("job-seen", "data")
        )
        app.server.after_request(self._as_what_does_not_exist)

    def _as_what_does_not_exist(self, response: Response) -> Response:
        """The page of a job that is not there says so as browsers and programs expect, too."""
        before, _, job_id = request.path.partition(dash.get_relative_path("/jobs/"))
        job_id = job_id.strip("/")  # as Dash has it
        if response.status_code == 200 and job_id and not before and request.method == "GET":
            try:
                self.access.get_job(job_id)
            except JobNotFound:
                response.status_code = 404
            except DatabaseUnavailable:
                pass  # which the page itself says
        return response

    def layout(self, job_id: Any = None, **_: Any) -> Component:
        try:
            job = self.access.get_job(str(job_id))
        except JobNotFound:
            return _no_such_job(str(job_id))
        head = dmc.Stack(
            [
                dmc.Group(
                    [
                        html.Div(link("Jobs", dash.get_relative_path("/jobs")), style={"flex": 1}),
                        dmc.Text("", id="job-updated", size="sm", c="dimmed"),
                    ]
                ),
                dmc.Title(job.name, order=2, style=BREAKING),
            ],
            gap=4,
        )
        heads = {"timeline": "What happened", "asked": "Arguments", "steps": "Steps", "log": "Log"}
        return dmc.Stack(
            [
                head,
                html.Div(id="job-trouble"),
                html.Div(id="job-said", **spoken(live="polite")),
                html.Div(dmc.Skeleton(height=60), id="job-status"),
                html.Div(id="job-facts"),
                *(
                    html.Section([dmc.Title(words, order=3, size="h4", mb="xs"), html.Div(id=f"job-{section}")])
                    for section, words in heads.items()
                ),
                dcc.Store(id="job-id", data=job.id),
                dcc.Store(id="job-next", data=str(uuid.uuid4())),  # of "run again": pressed twice, it is one job
                dcc.Store(id="job-seen"),
                dcc.Store(id="job-acted"),
                dcc.Interval(id="job-tick", interval=LOOK_EVERY),
                dcc.Location(id="job-address", refresh="callback-nav"),
            ]
        )

    def refresh(self, _: Any, acted: Any, job_id: Any, seen: Any) -> tuple[Any, ...]:
        """Each part that has changed since the page last looked, by what it kept of it."""
        try:
            job = self.access.get_job(str(job_id))
            parts = self._parts(job)
        except DatabaseUnavailable:
            return unavailable(), *[no_update] * (len(SECTIONS) + 1)
        kept = seen.get("marks") if isinstance(seen, dict) else None
        marks = {name: _mark(part) for name, part in parts.items()}
        known = kept if isinstance(kept, dict) else {}
        changed = [no_update if known.get(name) == marks[name] else parts[name] for name in SECTIONS]
        return None, *changed, {"at": time.time() * 1000, "marks": marks, "ended": job.state.ended}

    def _parts(self, job: Job) -> dict[str, Component]:
        history = self.huey.history(job.id)
        log = self.huey.log(job.id)
        steps = Listing(self.huey.ledger.database).steps(job.id, STEPS)
        return {
            "status": panel_view.status(job, None, "", _buttons(job)),
            "facts": _facts(job),
            "timeline": _timeline(history),
            "asked": _arguments(job),
            "steps": _steps(steps),
            "log": _log(log),
        }

    def act(self, _: Any, job_id: Any, new_id: Any) -> tuple[Any, Any, Any]:
        pressed = ctx.triggered_id
        if not isinstance(pressed, dict) or not any(click["value"] for click in ctx.triggered):
            raise PreventUpdate  # a button came to the page
        job_id, act = str(job_id), pressed.get("act")
        try:
            if act == "again":
                self.access.discover()
                new = self.access.again(job_id, str(new_id))
                return no_update, no_update, dash.get_relative_path(f"/jobs/{new.id}")
            if act == "cancel":
                words = "" if self.access.cancel(job_id) else "It had ended already."
            elif act == "retry":
                words = (
                    "" if self.access.retry(job_id) else "It cannot be retried any more: it is not failed or cancelled."
                )
            else:
                raise PreventUpdate
        except Unreadable as error:
            return _said(str(error)), no_update, no_update
        except (DatabaseUnavailable, QueueUnavailable):
            return _said("The database does not answer. Try again in a moment."), no_update, no_update
        return _said(words) if words else None, time.time(), no_update


def _no_such_job(job_id: str) -> Component:
    return dmc.Stack([panel_view.no_such_job(job_id), link("All jobs", dash.get_relative_path("/jobs"))])


def _said(words: str) -> Component:
    return dmc.Alert(words, color="orange", withCloseButton=True, p="xs", closeButtonLabel="Close")


def _buttons(job: Job) -> list[Component]:
    if not job.state.ended:
        acts = [("cancel", "Cancel", "red")]
    elif job.state is JobState.SUCCEEDED:
        acts = [("again", "Run again", "blue")]
    else:
        acts = [("retry", "Retry", "blue"), ("again", "Run again as a new job", "gray")]
    return [
        dmc.Button(label, id={"jobs": "act", "act": act}, variant="light", color=colour, size="compact-sm")
        for act, label, colour in acts
    ]


def _facts(job: Job) -> Component:
    waited = ran = None
    if job.claimed_at is not None and job.attempt == 1:
        waited = (job.claimed_at - max(job.run_at or job.created_at, job.created_at)).total_seconds()
    if job.claimed_at is not None and job.ended_at is not None:
        ran = (job.ended_at - job.claimed_at).total_seconds()
    facts = {
        "Id": job.id,
        "Task": job.task,
        "Queue": job.queue,
        "Owner": job.owner or "",
        "Priority": f"{job.priority:g}",
        "Attempt": str(job.attempt) if job.attempt else "",
        "Workers lost": str(job.losses) if job.losses else "",
        "Given back": str(job.returns) if job.returns else "",
        "Submitted": moment(job.created_at),
        "Due": moment(job.due_at) + (", made up" if job.made_up else ""),
        "Starts": moment(job.run_at) if job.state is JobState.SCHEDULED else "",
        "Started": moment(job.claimed_at),
        "Ended": moment(job.ended_at),
        "Waited": span(waited),
        "Ran": span(ran),
        "Worker": job.worker or "",
    }
    return dmc.SimpleGrid(
        [
            html.Div([dmc.Text(name, size="xs", c="dimmed"), dmc.Text(value, size="sm", style=BREAKING)])
            for name, value in facts.items()
            if value
        ],
        cols={"base": 2, "sm": 3, "lg": 4},
        spacing="sm",
    )


def _timeline(events: list[Event]) -> Component:
    items = [_event(event, before) for before, event in zip([None, *events], events, strict=False)]
    left_out = len(items) - EVENTS
    parts: list[Component] = [
        dmc.Timeline(items[-EVENTS:], bulletSize=18, lineWidth=2),
    ]
    if left_out > 0:
        parts.insert(0, dmc.Text(f"{left_out} earlier events are left out.", size="sm", c="dimmed"))
    return dmc.Stack(parts)


def _event(event: Event, before: Event | None) -> Component:
    colour = COLOURS[event.state] if event.state else UNLUCKY.get(event.name, "blue")
    after = "" if before is None else f", {span((event.at - before.at).total_seconds())} later"
    where = f"Attempt {event.attempt}, by {event.worker} on {event.host}. " if event.name == "claimed" else ""
    inside: list[Component] = [dmc.Text(f"{where}{moment(event.at)}{after}", size="sm", c="dimmed", style=BREAKING)]
    if event.error:
        inside.append(dmc.Text(event.error, size="sm", style=BREAKING))
    if event.traceback:
        behind = html.Summary(f"Traceback of attempt {event.attempt}", style={"cursor": "pointer"})
        inside.append(html.Details([behind, _code(event.traceback)]))
    dot = html.Div(
        style={"width": 10, "height": 10, "borderRadius": 5, "background": f"var(--mantine-color-{colour}-6)"}
    )
    return dmc.TimelineItem(inside, title=happened(event), bullet=dot)


def _arguments(job: Job) -> Component:
    try:
        given = [*((str(n), value) for n, value in enumerate(job.args, start=1)), *job.kwargs.items()]
    except Unreadable as error:
        return dmc.Alert(str(error), color="orange", style=BREAKING)
    if not given:
        return dmc.Text("None.", c="dimmed")
    return table(["Argument", "Value"], [[str(name), dmc.Code(_short(value))] for name, value in given], "Arguments")


def _short(value: Any) -> str:
    try:
        said = _brief.repr(value)
    except Exception as error:  # of somebody's own __repr__
        said = f"<{type(value).__name__}, whose repr fails: {error!r}>"
    return said if len(said) <= ARGUMENT else f"{said[:ARGUMENT]} …"


_brief = reprlib.Repr()

_brief.maxstring = _brief.maxother = ARGUMENT

_brief.maxlist = _brief.maxtuple = _brief.maxdict = _brief.maxset = 100


def _steps(rows: list[Row]) -> Component:
    if not rows:
        return dmc.Text("None. What a task saves with job.step(...) is not done again after a crash.", c="dimmed")
    cells = [[row["name"], moment(_at(row["saved_at"])), size(row["bytes"])] for row in rows]
    return html.Div(table(["Step", "Saved", "Size"], cells, "Steps"), tabIndex=0, style=SCROLLED)


def _log(lines: list[LogLine]) -> Component:
    if not lines:
        return dmc.Text("Nothing was logged. What the task logs through logging is kept here.", c="dimmed")
    several = lines[-1].attempt > 1
    text = "\n".join(
        f"{line.at:%H:%M:%S} {f'[{line.attempt}] ' if several else ''}{line.level:<7} {line.text}" for line in lines
    )
    return html.Div(_code(text), tabIndex=0, role="log", **spoken(label=f"The last {len(lines)} lines"))


def _code(text: str) -> Component:
    return dmc.Code(text, block=True, mt="xs", style=SCROLLED)


def _at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _mark(part: Component) -> str:
    return hashlib.blake2b(json.dumps(part, cls=PlotlyJSONEncoder).encode(), digest_size=8).hexdigest()
