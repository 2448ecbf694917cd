"""JobPanel: a job on a page, whichever task it is of.

A panel is given a job's id, usually from the address, so a reload, another browser or tomorrow shows the same job. All
panels of a page are looked at in one request. It is made less often while nothing changes or nobody looks, and not at all
when their jobs have ended.
"""

import logging
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

import dash_mantine_components as dmc
from dash import ALL, Input, Output, State, callback, clientside_callback, ctx, dcc, hooks, html, no_update
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate
from huey.api import TaskWrapper

from jobqueue.dash.panel_view import as_text, no_such_job, out_of_touch, status
from jobqueue.dash.status_text import AHEAD_AT_MOST, Glance, glance
from jobqueue.database.database import DatabaseUnavailable
from jobqueue.huey import DurableHuey
from jobqueue.jobs.handle import JobHandle
from jobqueue.jobs.job import Job, JobNotFound
from jobqueue.ledger.states import State as JobState

logger = logging.getLogger("jobqueue.panel")

LOOK_EVERY = 1000  # milliseconds between two looks while something changes
SLOWER = 1.5  # times, from one look to the next, while nothing does
REST_AT_MOST = 5000  # milliseconds between two looks then
UNSEEN = 15000  # milliseconds between two looks while the tab is hidden
_panels: dict[str, "JobPanel"] = {}


class JobPanel:
    """Panels of a page: `panel = JobPanel(huey, __name__, show=figure)` in its module, `panel(job_id)` in its layout.

    :param name: no other panel's, and the same in every web process: the module's `__name__` will do.
    :param task: the panel is for jobs of this task; one of another is shown without its result. By default for any.
    :param show: makes a component of what the job returned; without it that stands there as text. It is given by name
        what the layout gave the panel besides the job's id.
    :param title: says what was asked, from a Job.
    :param find: looks a job up by its id; raises JobNotFound for one that is not there, or not for whoever asks.
    :param address: where "run again" goes; `{id}` stands for the new job's id.

    Raises ValueError for a name that is taken.
    """

    def __init__(
        self,
        huey: DurableHuey,
        name: str,
        *,
        task: TaskWrapper | None = None,
        show: Callable[..., Component] | None = None,
        title: Callable[[Job], str] | None = None,
        find: Callable[[str], Job] | None = None,
        address: str = "?job={id}",
    ) -> None:
        if name in _panels:
            raise ValueError(f"There is a JobPanel named {name!r} already: give each a name of its own.")
        _panels[name] = self
        self.huey = huey
        self.name = name
        self.task = None if task is None else huey.name_of(task)
        self.show = show or as_text
        self.title = title
        self.find = find or huey.get_job
        self.address = address

    def __call__(self, job_id: Any, **given: Any) -> Component:
        """The panel of one job; empty where there is no id. `given`, which is kept on the page as JSON, is for `show`."""
        if not job_id:
            return html.Div()
        return html.Div(
            [
                html.Div(dmc.Skeleton(height=24, radius="sm"), id=self._id(job_id, "status")),
                html.Div(id=self._id(job_id, "result")),
                # The id of the job that "run again" makes: pressed twice, it is one job.
                dcc.Store(id=self._id(job_id, "seen"), data={"next": str(uuid.uuid4()), "given": given}),
            ]
        )

    def _id(self, job_id: Any, part: str) -> dict[str, str]:
        return {"panel": self.name, "job": str(job_id), "part": part}

    def render(self, job_id: str, seen: Mapping[str, Any] = MappingProxyType({}), **given: Any) -> "PanelView":
        """The panel as it is now; `seen` is what the last look left on the page, `given` what the layout gave."""
        kept = as_new({"given": given, **seen})
        try:
            job = self.find(job_id)
            ahead = self.huey.ahead(job_id, AHEAD_AT_MOST) if job.state is JobState.QUEUED else None
        except JobNotFound:
            return PanelView(no_such_job(job_id), None, kept | {"ended": True})
        except DatabaseUnavailable as error:
            logger.warning("Job %s cannot be looked at: %s", job_id, error)
            return PanelView(out_of_touch(), no_update, dict(seen))
        since = glance(job, Glance(**seen["glance"]) if seen.get("glance") else None)
        result = self._result(job, kept["given"]) if job.state is JobState.SUCCEEDED and self._is_of_task(job) else None
        return PanelView(
            status(job, since, self._title(job), self._buttons(job), ahead),
            result,
            kept
            | {
                "ended": job.state.ended,
                "glance": asdict(since) if since else None,
                "mark": [job.state, job.attempt, job.done, job.note],
            },
        )

    def _is_of_task(self, job: Job) -> bool:
        return self.task is None or job.task == self.task

    def _title(self, job: Job) -> str:
        if not self._is_of_task(job):
            return f"A job of the task {job.name}"
        return self.title(job) if self.title else ""

    def _result(self, job: Job, given: dict[str, Any]) -> Component:
        try:
            return self.show(self.huey.result(job.id), **given)
        except Exception:
            logger.exception("The result of job %s cannot be shown.", job.id)
            words = "It is kept: the server's log says what is wrong with showing it."
            return dmc.Alert(words, title="The result cannot be shown", color="red", mt="md")

    def _buttons(self, job: Job) -> list[Component]:
        if not job.state.ended:
            return [self._button(job, "cancel", "Cancel", "red")]
        act, label = ("again", "Run again") if job.state is JobState.SUCCEEDED else ("retry", "Try again")
        return [self._button(job, act, label, "blue")]

    def _button(self, job: Job, act: str, label: str, colour: str) -> Component:
        at = {"panel": self.name, "job": job.id, "act": act}
        return dmc.Button(label, id=at, variant="light", color=colour, size="compact-sm")

    def act(self, job_id: str, act: str, new_id: str) -> str | None:
        """What a button does, once however often it is asked. Returns where to go, if not here. Raises JobNotFound."""
        self.find(job_id)
        if act == "cancel":
            self.cancel(job_id)  # False where it has ended meanwhile, which the next look shows
        elif act == "retry":
            self.retry(job_id)  # False where somebody has done so
        elif act == "again":
            return self.address.format(id=self.again(job_id, str(uuid.UUID(new_id))).id)
        return None

    # What the buttons do, for jobs that were found.

    def cancel(self, job_id: str) -> bool:
        return self.huey.job(job_id).cancel()

    def retry(self, job_id: str) -> bool:
        return self.huey.job(job_id).retry()

    def again(self, job_id: str, new_id: str) -> JobHandle:
        return self.huey.again(job_id, new_id)


@dataclass(frozen=True)
class PanelView:
    """What one look at a panel found: two components (or no_update), and what the next one is to know."""

    status: Any
    result: Any
    seen: dict[str, Any]


TICK = {"panels": "tick", "of": ALL}
PACE = {"panels": "pace", "of": ALL}
ADDRESS = {"panels": "address", "of": ALL}
ONE = {"of": "page"}


def each(part: str) -> dict[str, Any]:
    return {"panel": ALL, "job": ALL, "part": part}


@hooks.layout()
def beside(layout: Any) -> Any:
    """The app's layout, with what drives its panels."""
    return html.Div(
        [
            *(layout if isinstance(layout, list | tuple) else [layout]),
            dcc.Interval(id=TICK | ONE, disabled=True),
            dcc.Store(id=PACE | ONE),
            dcc.Location(id=ADDRESS | ONE, refresh="callback-nav"),
        ]
    )


@callback(
    Output(each("status"), "children"),
    Output(each("result"), "children"),
    Output(each("seen"), "data"),
    Output(PACE, "data"),
    Input(TICK, "n_intervals"),
    Input(each("seen"), "id"),
    State(each("seen"), "data"),
    State(PACE, "data"),
)
def refresh(_: Any, ids: list[dict[str, str]], seen: list[dict[str, Any]], pace: list[Any]) -> tuple[list[Any], ...]:
    """All panels of the page, less those whose jobs had ended when they were last looked at."""
    looks = [
        PanelView(no_update, no_update, known) if known.get("ended") else panel_of(at).render(at["job"], known)
        for at, known in zip(ids, seen, strict=True)
    ]
    before, every = [known.get("mark") for known in seen], (pace[0] or {}).get("every") if pace else None
    if all(now.seen.get("ended") for now in looks):
        every = 0
    elif not every or [now.seen.get("mark") for now in looks] != before:
        every = LOOK_EVERY
    else:
        every = min(every * SLOWER, REST_AT_MOST)
    told = {"every": every, "at": time.time()}  # another value each time, so that the page hears it
    columns = [[getattr(now, column) for now in looks] for column in ("status", "result", "seen")]
    return *columns, [told] * len(pace)


@callback(
    Output(each("seen"), "data", allow_duplicate=True),
    Output(TICK, "n_intervals"),
    Output(ADDRESS, "href"),
    Input({"panel": ALL, "job": ALL, "act": ALL}, "n_clicks"),
    State(each("seen"), "id"),
    State(each("seen"), "data"),
    State(TICK, "n_intervals"),
    prevent_initial_call=True,
)
def act(
    clicks: list[int | None], ids: list[dict[str, str]], seen: list[dict[str, Any]], ticks: list[int | None]
) -> tuple[Any, Any, Any]:
    """A button was pressed: what it asks is done, and all panels are looked at."""
    pressed = ctx.triggered_id
    if not pressed or not any(click["value"] for click in ctx.triggered):
        raise PreventUpdate  # a button came to the page
    own = {"panel": pressed["panel"], "job": pressed["job"], "part": "seen"}
    known = next((data for at, data in zip(ids, seen, strict=True) if at == own), None)
    if known is None:
        raise PreventUpdate  # its panel has left
    try:
        address = panel_of(pressed).act(pressed["job"], pressed["act"], known["next"])
    except JobNotFound:
        address = None  # the look says so
    again = [as_new(data) if at == own else data for at, data in zip(ids, seen, strict=True)]
    return again, [(n or 0) + 1 for n in ticks], [address or no_update] * len(ticks)


def as_new(seen: Mapping[str, Any]) -> dict[str, Any]:
    """What the page knows of a panel before the first look."""
    return {"next": seen.get("next"), "given": seen["given"]}


def panel_of(at: dict[str, str]) -> JobPanel:
    panel = _panels.get(at["panel"])
    if panel is None:
        raise LookupError(f"This web process has no JobPanel {at['panel']!r}: load the page again.")
    return panel


# Panels that came to the page are looked at until the server says that they rest, even if the first answer got lost. The
# tab is heard when it is seen again: then all are looked at once.
clientside_callback(
    """(paces, panels, ticks) => {
        const every = () => window.jobPanels.every;
        if (!window.jobPanels) {
            window.jobPanels = {shown: '', every: 0};
            document.addEventListener('visibilitychange', () => {
                if (every() && !document.hidden) {
                    dash_clientside.set_props(ticks[0], {n_intervals: Date.now()});
                }
            });
        }
        const shown = JSON.stringify(panels);
        if (shown !== window.jobPanels.shown) {
            window.jobPanels = {shown, every: panels.length ? LOOK_EVERY : 0};
        } else if (paces[0]) {
            window.jobPanels.every = paces[0].every;
        }
        const pause = every() && document.hidden ? Math.max(every(), UNSEEN) : every();
        return [ticks.map(() => pause || LOOK_EVERY), ticks.map(() => !pause)];
    }""".replace("LOOK_EVERY", str(LOOK_EVERY)).replace("UNSEEN", str(UNSEEN)),
    Output(TICK, "interval"),
    Output(TICK, "disabled"),
    Input(PACE, "data"),
    Input(each("seen"), "id"),
    State(TICK, "id"),
)
