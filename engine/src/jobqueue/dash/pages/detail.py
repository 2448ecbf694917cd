"""`/jobs/<id>`: a job's state, arguments, events, steps and log, with its buttons."""

import time
import uuid
from typing import Any

import dash
import dash_mantine_components as dmc
from dash import (
    ALL,
    MATCH,
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
from flask import abort, request
from werkzeug.wrappers import Response

from jobqueue.dash import panel_view
from jobqueue.dash.access import Access
from jobqueue.dash.downloads import menu
from jobqueue.dash.downloads.serving import Downloads, is_offered
from jobqueue.dash.formatting import TIME
from jobqueue.dash.pages import detail_sections
from jobqueue.dash.pages.refresh import SentParts
from jobqueue.dash.pages.report import ReportFiles
from jobqueue.dash.pages.text import link, said, spoken, unavailable
from jobqueue.dash.panel_view import BREAKING
from jobqueue.database.database import DatabaseUnavailable
from jobqueue.jobs.job import Job, JobNotFound, Unreadable
from jobqueue.ledger.states import State as JobState
from jobqueue.monitoring.search import Listing

REFRESH_MS = 2000  # between two refreshes of a job that has not ended
SECTIONS = ("status", "report", "files", "facts", "timeline", "asked", "steps", "log")


class JobPage:
    """The page and its callbacks, for one queue."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self.huey = access.huey
        self.report = ReportFiles(access)
        self.downloads = Downloads(access)

    def register(self, app: Dash) -> None:
        """Register the page and its callbacks."""
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
        callback(
            Output({"jobs": "choices", "job": MATCH}, "children"),
            Input({"jobs": "download", "job": MATCH}, "n_clicks"),
            prevent_initial_call=True,
        )(self.choices)
        clientside_callback(
            ClientsideFunction("jobqueue", "seen"), Output("job-updated", "children"), Input("job-seen", "data")
        )
        self.report.register(app)
        self._served_under = f"{app.config.routes_pathname_prefix}jobs/"
        self._files = f"{self._served_under}<job_id>/result"
        app.server.add_url_rule(self._files, self._files, self.file)
        app.server.after_request(self._missing_job_is_404)

    def _missing_job_is_404(self, response: Response) -> Response:
        """Answer 404 for the page of an unknown job, for browsers and programs."""
        before, _, job_id = request.path.partition(self._served_under)
        job_id = job_id.strip("/")  # as Dash reads the address
        if self.report.are_asked_for() or request.endpoint == self._files:
            return response
        if response.status_code == 200 and job_id and not before and request.method in {"GET", "HEAD"}:
            try:
                self.access.get_job(job_id)
            except JobNotFound:
                response.status_code = 404
            except DatabaseUnavailable:
                pass  # the page itself says so
        return response

    def layout(self, job_id: Any = None, **_: Any) -> Component:
        """Return the page. `refresh` fills it."""
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
        heads = {"timeline": "Events", "asked": "Arguments", "steps": "Steps", "log": "Log"}
        return dmc.Stack(
            [
                head,
                html.Div(id="job-trouble"),
                html.Div(id="job-said", **spoken(live="polite")),
                html.Div(dmc.Skeleton(height=60), id="job-status"),
                html.Div(id="job-report"),
                html.Div(id="job-files"),
                html.Div(id="job-facts"),
                *(
                    html.Section([dmc.Title(words, order=3, size="h4", mb="xs"), html.Div(id=f"job-{section}")])
                    for section, words in heads.items()
                ),
                dcc.Store(id="job-id", data=job.id),
                dcc.Store(id="job-next", data=str(uuid.uuid4())),  # makes "Run again" one job if pressed twice
                dcc.Store(id="job-seen"),
                dcc.Store(id="job-acted"),
                dcc.Interval(id="job-tick", interval=REFRESH_MS),
                dcc.Location(id="job-address", refresh="callback-nav"),
            ]
        )

    def refresh(self, _: Any, acted: Any, job_id: Any, seen: Any) -> tuple[Any, ...]:
        """Return the sections that have changed since the last refresh."""
        try:
            job = self.access.get_job(str(job_id))
            sent = SentParts(seen.get("marks") if isinstance(seen, dict) else None)
            parts = self._parts(job)
            if "asked" not in sent.marks:  # arguments never change, and may take megabytes
                parts["asked"] = detail_sections.arguments(job, self.access)
            changed = {name: sent.changed(name, part) for name, part in parts.items()}
            if sent.differs("report", (job.state, job.attempt)):  # a report takes a while to read
                result = self.huey.ledger.reading.result(job.id)
                changed["report"] = self.report.section(job, result)
                has_files = is_offered(job, result) and changed["report"] is None
                changed["files"] = self._download_button(job) if has_files else None
        except DatabaseUnavailable:
            return unavailable(), *[no_update] * (len(SECTIONS) + 1)
        told = {"at": self.access.moment(time.time(), TIME), "marks": sent.marks, "ended": job.state.ended}
        return None, *(changed.get(name, no_update) for name in SECTIONS), told

    def _download_button(self, job: Job) -> Component:
        return menu.button({"jobs": "download", "job": job.id}, {"jobs": "choices", "job": job.id})

    def choices(self, clicks: int | None) -> Component:
        """Return the files of a job's result to choose from."""
        if not clicks:
            raise PreventUpdate  # the button was added to the page
        job_id = str(ctx.triggered_id["job"])
        address = dash.get_relative_path(f"/jobs/{job_id}/result?")
        return menu.choices(self.downloads, lambda: self.access.get_job(job_id), address)

    def file(self, job_id: str) -> Response:
        """Return a file of a job's result, or 404 for a job that the visitor may not see."""
        try:
            return self.downloads.answer(self.access.get_job(job_id))
        except JobNotFound:
            abort(404)

    def _parts(self, job: Job) -> dict[str, Component]:
        history = self.huey.history(job.id)
        log = self.huey.log(job.id)
        steps = Listing(self.huey.ledger.database).steps(job.id, detail_sections.STEPS)
        return {
            "status": panel_view.status(job, None, "", _buttons(job), operator=self.access.sees_all),
            "facts": detail_sections.facts(job, self.access),
            "timeline": detail_sections.timeline(history, self.access),
            "steps": detail_sections.steps(steps, self.access),
            "log": detail_sections.log(log, self.access),
        }

    def act(self, _: Any, job_id: Any, new_id: Any) -> tuple[Any, Any, Any]:
        """Do what the pressed button says."""
        pressed = ctx.triggered_id
        if not isinstance(pressed, dict) or not any(click["value"] for click in ctx.triggered):
            raise PreventUpdate  # a button was added to the page
        job_id, act = str(job_id), pressed.get("act")
        try:
            if act == "again":
                self.access.discover()
                new = self.access.again(job_id, str(new_id))
                return no_update, no_update, dash.get_relative_path(f"/jobs/{new.id}")
            if act == "cancel":
                words = "" if self.access.cancel(job_id) else "It had ended already."
            elif act == "retry":
                words = "" if self.access.retry(job_id) else "It is no longer failed or cancelled."
            else:
                raise PreventUpdate
        except Unreadable as error:
            return said(detail_sections.unreadable(error, self.access), "orange"), no_update, no_update
        except DatabaseUnavailable:
            return said("The database does not answer. Try again in a moment.", "orange"), no_update, no_update
        return said(words, "orange") if words else None, time.time(), no_update


def _no_such_job(job_id: str) -> Component:
    return dmc.Stack([panel_view.no_such_job(job_id), link("All jobs", dash.get_relative_path("/jobs"))])


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
