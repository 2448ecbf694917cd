"""JobPanel: shows one job on a page, and starts jobs from it.

A panel is given a job's id, usually from the address, so a reload, another browser or another day shows the same job.
panel_refresh.py keeps all panels of a page up to date with one request.
"""

import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, TypeVar
from urllib.parse import urlencode

import dash
import dash_mantine_components as dmc
from dash import ALL, Output, callback, ctx, dcc, html, no_update
from dash.dependencies import DashDependency
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate
from flask import abort, current_app, has_request_context
from huey.api import TaskWrapper
from werkzeug.wrappers import Response

from jobqueue.dash.access import Access
from jobqueue.dash.downloads import menu
from jobqueue.dash.downloads.formats import formats_of
from jobqueue.dash.downloads.serving import Downloads
from jobqueue.dash.error_text import ASK
from jobqueue.dash.panel_view import no_such_job, not_started, out_of_touch, status, too_large
from jobqueue.dash.result_view import by_type
from jobqueue.dash.status_text import AHEAD_AT_MOST, Glance, glance
from jobqueue.database.database import DatabaseUnavailable
from jobqueue.execution.current_job import SubmitRefused
from jobqueue.files.refusals import FileRefused
from jobqueue.huey import DurableHuey
from jobqueue.jobs.job import Job, JobNotFound
from jobqueue.ledger.states import State as JobState
from jobqueue.reports.pdf import find_chromium
from jobqueue.tasks.submission import ArgumentsTooLarge
from jobqueue.text import ERROR, TITLE, said

Start = TypeVar("Start", bound=Callable[..., Any])

logger = logging.getLogger("jobqueue.panel")

FILES = "_panels/result"  # path of the panels' files

_panels: dict[str, "JobPanel"] = {}


@dataclass(frozen=True)
class PanelView:
    """A panel as one refresh shows it. A part may be `no_update`."""

    status: Any
    result: Any
    seen: dict[str, Any]  # kept on the page for the next refresh


class JobPanel:
    """Panels of a page: `panel = JobPanel(huey, __name__, show=figure)` in its module, `panel(job_id)` in its layout.

    :param name: unique among panels, and the same in every web process. The module's `__name__` will do.
    :param access: the jobs that a visitor may see and act on. A request for any other job is answered with a 404. By
        default everybody may see every job. `Jobs.panel` passes itself here.
    :param task: the task whose results this panel shows. A job of another task is shown without its result.
    :param show: makes a component of the job's result. By default a frame is shown as a table, a Plotly figure as a chart, and
        anything else as text. The keyword arguments that the layout gave to the panel are passed on.
    :param title: makes the panel's heading from a Job.
    :param address: address of a page that shows the new job after "Run again" or `start`. `{id}` stands for its id. A path
        that begins with a slash is one within the app, without its URL prefix: `/hello?job={id}`.
    :param download: offer the result as files, below it: True, False, or a function that returns the value to offer in place of
        the result, such as a dict of DataFrames and figures by name.
    :param pdf: a task that prints the page, from `huey.page_report`, with the job's id as its only parameter `job`. The button
        "PDF" submits it and shows its job. A host without Chromium shows no button.

    Raises ValueError for a name that is taken.
    """

    def __init__(
        self,
        huey: DurableHuey,
        name: str,
        *,
        access: Access | None = None,
        task: TaskWrapper | None = None,
        show: Callable[..., Component] | None = None,
        title: Callable[[Job], str] | None = None,
        address: str = "?job={id}",
        download: bool | Callable[[Any], Any] = True,
        pdf: TaskWrapper | None = None,
    ) -> None:
        if name in _panels:
            raise ValueError(f"There is a JobPanel named {name!r} already: give each a name of its own.")
        _panels[name] = self
        self.huey = huey
        self.name = name
        self.access = access or Access(huey, lambda: None)
        self.task = None if task is None else huey.name_of(task)
        self.show = show or by_type
        self.title = title
        self.address = address
        self.pdf = pdf
        self.downloads = Downloads(self.access, None if isinstance(download, bool) else download)
        self._download = bool(download)
        self._restricted = access is not None
        self._starts = False
        self._laid_out = False

    def __call__(self, job_id: Any = None, **given: Any) -> Component:
        """Return the panel of one job. Without an id it is empty.

        `given` is passed to `show`, and kept on the page as JSON.
        """
        job = self._job(job_id, given)
        self._laid_out = True
        if not self._starts:
            return html.Div(job)
        return html.Div(
            [
                html.Div(id=self._start_id(job_id, "trouble")),
                html.Div(job, id=self._start_id(job_id, "shown")),
                dcc.Location(id=self._start_id(job_id, "address"), refresh="callback-nav"),
            ]
        )

    def _job(self, job_id: Any, given: Mapping[str, Any] = MappingProxyType({})) -> list[Component]:
        if not job_id:
            return []
        return [
            html.Div(dmc.Skeleton(height=24, radius="sm"), id=self._id(job_id, "status"), className="job-status"),
            html.Div(id=self._id(job_id, "result")),
            # The id of the job that "Run again" makes. Pressed twice, it makes one job.
            dcc.Store(id=self._id(job_id, "seen"), data={"next": str(uuid.uuid4()), "given": dict(given)}),
        ]

    def _id(self, job_id: Any, part: str) -> dict[str, str]:
        return {"panel": self.name, "job": str(job_id), "part": part}

    def _start_id(self, job_id: Any, part: str) -> dict[str, Any]:
        """Return the id of a part that `start` writes to. Dash's renderer cannot read a pattern that has a dot in it."""
        return {
            "start": self.name.replace(".", "/"),
            "job": job_id if job_id is ALL else str(job_id or ""),
            "part": part,
        }

    def start(self, *dependencies: DashDependency, in_place: bool = False) -> Callable[[Start], Start]:
        """Make a callback that starts a job: its function submits a job and returns the handle.

            @panel.start(Input("hello-start", "n_clicks"), State("hello-name", "value"))
            def start(_: int, name: str) -> JobHandle:
                return greet(name)

        The page then shows that job, with its id in the address. A function that returns None starts none. An error is
        shown above the panel where the queue does not answer, or where the function raises SubmitRefused or FileRefused,
        whose message is for the user. The component of the first Input is disabled meanwhile, so that a double click starts one job.

        :param dependencies: Inputs and States, as for `dash.callback`.
        :param in_place: show the job in this panel and leave the address alone, for a job that the page does not need
            to find again.

        Raises RuntimeError if the panel is in a layout already, which then has no place for what `start` shows.
        """
        if self._laid_out and not self._starts:
            raise RuntimeError(
                f"The JobPanel {self.name!r} is in a layout already, without a place for the job that start() shows. Put "
                "@panel.start above that layout, or make the layout a function."
            )
        button = dependencies[0].component_id
        self._starts = True

        def decorate(function: Start) -> Start:
            def started(*args: Any) -> tuple[list[Any], ...]:
                if all(change["value"] is None for change in ctx.triggered):
                    raise PreventUpdate  # a button was added to the page
                troubles, shown, addresses = map(len, ctx.outputs_list)
                trouble, job = self._submit(function, args)
                show: Any = no_update
                go: Any = no_update
                if job is not None and in_place:
                    show = self._job(job.id)
                elif job is not None:
                    go = self._address(job.id)
                return [trouble] * troubles, [show] * shown, [go] * addresses

            callback(
                Output(self._start_id(ALL, "trouble"), "children", allow_duplicate=True),
                Output(self._start_id(ALL, "shown"), "children", allow_duplicate=True),
                Output(self._start_id(ALL, "address"), "href", allow_duplicate=True),
                *dependencies,
                running=[(Output(button, "disabled"), True, False)],
                prevent_initial_call=True,
            )(started)
            return function

        return decorate

    def _submit(self, function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Component | None, Any]:
        """Return an error to show, if any, and the handle of the job, if any."""
        try:
            return None, function(*args)
        except (SubmitRefused, FileRefused) as error:
            return not_started(said(error, ERROR)), None
        except ArgumentsTooLarge as error:
            logger.warning("A job cannot be started: %s", error)
            return not_started(too_large(error)), None
        except DatabaseUnavailable as error:
            logger.warning("A job cannot be started: %s", error)
            return not_started(), None

    def render(self, job_id: str, seen: Mapping[str, Any] = MappingProxyType({}), **given: Any) -> PanelView:
        """Return the panel as it is now.

        :param seen: kept on the page by the last refresh.
        :param given: keyword arguments of the layout.
        """
        kept = as_new({"given": given, **seen})
        try:
            job = self._find(job_id)
            ahead = self.huey.ahead(job_id, AHEAD_AT_MOST) if job.state is JobState.QUEUED else None
        except JobNotFound:
            return PanelView(no_such_job(job_id), None, kept | {"ended": True})
        except DatabaseUnavailable as error:
            logger.warning("Job %s cannot be read: %s", job_id, error)
            return PanelView(out_of_touch(), no_update, dict(seen))
        since = glance(job, Glance(**seen["glance"]) if seen.get("glance") else None)
        result = self._result(job, kept["given"]) if job.state is JobState.SUCCEEDED and self._is_of_task(job) else None
        return PanelView(
            status(job, since, self._title(job), self._buttons(job), ahead, operator=_in_development()),
            result,
            kept
            | {
                "ended": job.state.ended,
                "glance": asdict(since) if since else None,
                "mark": [job.state, job.attempt, job.done, job.note],
            },
        )

    def _find(self, job_id: str) -> Job:
        """Return a job that the visitor may see. Raises JobNotFound, or answers the request with a 404."""
        try:
            return self.access.get_job(job_id)
        except JobNotFound:
            if self._restricted and has_request_context():
                abort(404)
            raise

    def _is_of_task(self, job: Job) -> bool:
        return self.task is None or job.task == self.task

    def _title(self, job: Job) -> str:
        if not self._is_of_task(job):
            title = f"A job of the task {job.name}"
        else:
            title = said(self.title(job), TITLE) if self.title else ""
        return " · ".join(filter(None, [title, self.access.whose(job)]))

    def _result(self, job: Job, given: dict[str, Any]) -> Component | list[Component]:
        try:
            result = self.huey.result(job.id)
            shown = self.show(result, **given)
            if not self._download or not formats_of(result):
                return shown
            at = {"panel": self.name, "job": job.id}
            return [shown, dmc.Box(menu.button(at | {"files": "open"}, at | {"files": "choices"}), mt="md")]
        except Exception:
            logger.exception("The result of job %s cannot be shown.", job.id)
            words = f"The result is saved, but this page cannot show it. {ASK}"
            return dmc.Alert(words, title="The result cannot be shown", color="red", mt="md")

    def files(self, job_id: str) -> Component:
        """Return the files of a job's result to choose from. Raises JobNotFound, or answers the request with a 404."""
        query = urlencode({"panel": self.name, "job": job_id})
        address = dash.get_relative_path(f"/{FILES}?{query}&")
        return menu.choices(self.downloads, lambda: self._offered(job_id), address)

    def file(self, job_id: str) -> Response:
        """Return the file that the query of a request names, or answer 404."""
        try:
            job = self._offered(job_id)
        except JobNotFound:
            job = None
        return abort(404) if job is None else self.downloads.answer(job)

    def _offered(self, job_id: str) -> Job | None:
        """Return a job, or None if this panel does not offer its result. Raises JobNotFound, or answers with a 404."""
        job = self._find(job_id)
        return job if self._download and self._is_of_task(job) else None

    def _buttons(self, job: Job) -> list[Component]:
        if not job.state.ended:
            return [self._button(job, "cancel", "Cancel", "red")]
        act, label = ("again", "Run again") if job.state is JobState.SUCCEEDED else ("retry", "Try again")
        buttons = [self._button(job, act, label, "blue")]
        if self.pdf is not None and self._is_of_task(job) and job.state is JobState.SUCCEEDED and find_chromium():
            buttons.append(self._button(job, "pdf", "PDF", "gray"))
        return buttons

    def _button(self, job: Job, act: str, label: str, colour: str) -> Component:
        at = {"panel": self.name, "job": job.id, "act": act}
        return dmc.Button(label, id=at, variant="light", color=colour, size="compact-sm")

    def act(self, job_id: str, act: str, new_id: str) -> str | None:
        """Do what a button says. A repeated request changes nothing.

        Returns the address to go to, if any. Raises JobNotFound, or answers the request with a 404.
        """
        self._find(job_id)
        if act == "cancel":
            self.access.cancel(job_id)  # False if the job has ended meanwhile; the next refresh shows that
        elif act == "retry":
            self.access.retry(job_id)  # False if somebody else has retried it
        elif act == "again":
            return self._address(self.access.again(job_id, new_id).id)
        elif act == "pdf" and self.pdf is not None:
            print_id = self.access.id_of_form(str(uuid.uuid5(uuid.UUID(new_id), act)))
            return dash.get_relative_path(f"/jobs/{self.pdf(job=job_id, id=print_id).id}")
        return None

    def _address(self, job_id: str) -> str:
        address = self.address.format(id=job_id)
        return dash.get_relative_path(address) if address.startswith("/") else address


def as_new(seen: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page keeps of a panel before its first refresh."""
    return {"next": seen.get("next"), "given": seen["given"]}


def panel_of(at: dict[str, str]) -> JobPanel:
    """Return the panel that a component's id names. Raises LookupError."""
    panel = _panels.get(at["panel"])
    if panel is None:
        raise LookupError(f"This web process has no JobPanel {at['panel']!r}: load the page again.")
    return panel


def panel_of_task(task: str) -> JobPanel | None:
    """Return the first panel that shows results of the task with this full name."""
    return next((panel for panel in _panels.values() if panel.task == task), None)


def _in_development() -> bool:
    """Return whether the reader writes the app: they read the queue's errors with their remedies."""
    return has_request_context() and bool(current_app.debug)
