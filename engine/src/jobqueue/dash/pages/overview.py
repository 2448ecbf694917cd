"""`/jobs`: figures, the list with its filters, schedules, datasets and workers.

The browser keeps what is asked for in its address (assets/jobs.js), and asks for all that it shows in one request, every few
seconds while somebody looks. A list is a page of rows, whatever there is.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import dash
import dash_ag_grid as dag
import dash_mantine_components as dmc
from dash import ALL, ClientsideFunction, Input, Output, State, callback, clientside_callback, ctx, dcc, html, no_update
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from jobqueue.dash.access import Access
from jobqueue.dash.formatting import plural
from jobqueue.dash.pages import datasets, schedules, workers
from jobqueue.dash.pages import grid as rows
from jobqueue.dash.pages import query as asked
from jobqueue.dash.pages import tiles as figures
from jobqueue.dash.pages.query import ROWS, Asked
from jobqueue.dash.pages.refresh import KEPT, RATES_EVERY, Recent, Told
from jobqueue.dash.pages.text import nothing, spoken, unavailable
from jobqueue.database.database import DatabaseUnavailable
from jobqueue.jobs.job import JobNotFound
from jobqueue.ledger.states import State as JobState
from jobqueue.monitoring.figures import Statistics, Stretch
from jobqueue.monitoring.search import Listing, Page
from jobqueue.schedules.timetable import ScheduleNotFound
from jobqueue.tasks.submitter import QueueUnavailable

LOOK_EVERY = 5000  # milliseconds between two looks
AT_ONCE = 200  # jobs that one act is done to
ACTS = {"retry": ("Retry", "Queued again"), "cancel": ("Cancel", "Cancelled")}


class Overview:
    """The page and its callbacks, for one queue."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self.huey = access.huey
        self._recent = Recent()

    @property
    def listing(self) -> Listing:
        return Listing(self.huey.ledger.database)

    @property
    def statistics(self) -> Statistics:
        return Statistics(self.huey.ledger.database)

    def register(self, order: int) -> None:
        dash.register_page("jobqueue.dash.pages", path="/jobs", name="Jobs", order=order, layout=self.layout)
        controls = ["tab", "state", "task", "owner", "queue", "text", "time", "window"]
        clientside_callback(
            ClientsideFunction("jobqueue", "ask"),
            Output("jobs-asked", "data"),
            *(Input(f"jobs-{name}", "value") for name in controls),
            Input("jobs-older", "n_clicks"),
            Input("jobs-newer", "n_clicks"),
            Input("jobs-clear", "n_clicks"),
            State("jobs-asked", "data"),
            prevent_initial_call=True,
        )
        clientside_callback(
            ClientsideFunction("jobqueue", "clear"),
            *(Output(f"jobs-{name}", "value", allow_duplicate=True) for name in controls[1:7]),
            Input("jobs-clear", "n_clicks"),
            prevent_initial_call=True,
        )
        clientside_callback(
            ClientsideFunction("jobqueue", "seen"), Output("jobs-updated", "children"), Input("jobs-seen", "data")
        )
        clientside_callback(
            ClientsideFunction("jobqueue", "chosen"),
            *(Output(f"jobs-{act}", name) for act in ACTS for name in ("children", "disabled")),
            Input("jobs-grid", "selectedRows"),
        )
        clientside_callback(
            ClientsideFunction("jobqueue", "confirm"),
            Output("jobs-sure", "opened"),
            Output("jobs-sure", "title"),
            Output("jobs-sure-words", "children"),
            Output("jobs-sure-yes", "children"),
            Output("jobs-meant", "data"),
            *(Input(f"jobs-{act}", "n_clicks") for act in ACTS),
            Input("jobs-sure-no", "n_clicks"),
            State("jobs-grid", "selectedRows"),
            prevent_initial_call=True,
        )
        callback(
            Output("jobs-trouble", "children"),
            *figures.in_tiles(),
            Output("jobs-rates", "children"),
            Output("jobs-grid", "rowData"),
            Output("jobs-list", "style"),
            Output("jobs-none", "children"),
            Output("jobs-range", "children"),
            Output("jobs-newer", "disabled"),
            Output("jobs-older", "disabled"),
            Output("jobs-schedules", "children"),
            Output("jobs-datasets", "children"),
            Output("jobs-workers", "children"),
            Output("jobs-seen", "data"),
            Input("jobs-asked", "data"),
            Input("jobs-tick", "n_intervals"),
            Input("jobs-acted", "data"),
            State("jobs-seen", "data"),
        )(self.refresh)
        callback(
            Output("jobs-said", "children"),
            Output("jobs-sure", "opened", allow_duplicate=True),
            Output("jobs-grid", "selectedRows"),
            Output("jobs-acted", "data"),
            Input("jobs-sure-yes", "n_clicks"),
            State("jobs-meant", "data"),
            running=[(Output("jobs-sure-yes", "loading"), True, False)],
            prevent_initial_call=True,
        )(self.act)
        callback(
            Output("jobs-said", "children", allow_duplicate=True),
            Output("jobs-acted", "data", allow_duplicate=True),
            Input({"jobs": "schedule", "act": ALL, "name": ALL}, "n_clicks"),
            prevent_initial_call=True,
        )(self.act_on_schedule)

    # --- what it shows ---

    def layout(self, **query: Any) -> Component:
        wanted = asked.read(query)
        all_of_it = self.access.owner is None
        if not all_of_it:  # an admin may have passed the address on
            wanted = replace(wanted, tab="jobs", owner="")
        tabs = {name: label for name, label in asked.TABS.items() if all_of_it or name == "jobs"}
        panels = {
            "jobs": self._jobs(wanted, all_of_it),
            "schedules": html.Div(_loading(), id="jobs-schedules"),
            "datasets": html.Div(_loading(), id="jobs-datasets"),
            "workers": html.Div(_loading(), id="jobs-workers"),
        }
        return dmc.Stack(
            [
                dmc.Group(
                    [
                        dmc.Title("Jobs", order=2, flex=1),
                        dmc.Text("", id="jobs-updated", size="sm", c="dimmed"),
                    ]
                ),
                html.Div(id="jobs-trouble"),
                html.Div(figures.tiles(self._address, with_workers=all_of_it), id="jobs-tiles"),
                html.Div(id="jobs-said", **spoken(live="polite")),
                dmc.Tabs(
                    [
                        dmc.TabsList(
                            [dmc.TabsTab(label, value=name) for name, label in tabs.items()],
                            style=_there(len(tabs) > 1),
                        ),
                        *(dmc.TabsPanel(panel, value=name, pt="md") for name, panel in panels.items()),
                    ],
                    id="jobs-tab",
                    value=wanted.tab,
                    keepMounted=True,
                ),
                _confirmation(),
                dcc.Store(id="jobs-asked", data=vars(wanted)),
                dcc.Store(id="jobs-seen"),
                dcc.Store(id="jobs-meant"),
                dcc.Store(id="jobs-acted"),
                dcc.Interval(id="jobs-tick", interval=LOOK_EVERY),
            ]
        )

    def _jobs(self, wanted: Asked, all_of_it: bool) -> Component:
        tasks, queues = self._known()
        narrow = {"base": 6, "sm": 4, "md": 3, "lg": 2}
        filters = dmc.Grid(
            [
                dmc.GridCol(control, span=narrow, display=None if shown else "none")
                for control, shown in (
                    (_choice("state", "State", [(state.value, state.value) for state in JobState], wanted.state), True),
                    (_choice("task", "Task", _with(tasks, wanted.task), wanted.task, searchable=True), True),
                    (_field("owner", "Owner", wanted.owner), all_of_it),
                    (_choice("queue", "Queue", _with(queues, wanted.queue), wanted.queue, searchable=True), True),
                    (_choice("time", "Submitted", [(n, label) for n, (label, _) in asked.TIMES.items()], wanted.time), True),
                    (_field("text", "Text", wanted.text, placeholder="Error, task or id"), True),
                )
            ],
            gutter="xs",
        )  # fmt: skip
        bar = dmc.Group(
            [
                *(
                    dmc.Button(label, id=f"jobs-{act}", size="compact-sm", variant="light", disabled=True,
                               color="red" if act == "cancel" else "blue")
                    for act, (label, _) in ACTS.items()
                ),
                dmc.Button("Clear filters", id="jobs-clear", size="compact-sm", variant="subtle"),
                dmc.Text("", id="jobs-range", size="sm", c="dimmed", flex=1, ta="right", miw=120, **spoken(live="polite")),
                dmc.Button("Newer", id="jobs-newer", size="compact-sm", variant="default", disabled=True),
                dmc.Button("Older", id="jobs-older", size="compact-sm", variant="default", disabled=True),
            ],
            gap="xs",
        )  # fmt: skip
        window = dmc.SegmentedControl(
            id="jobs-window", value=wanted.window, size="xs",
            data=[{"value": "hour", "label": "Last hour"}, {"value": "day", "label": "Last 24 hours"}],
            **spoken(label="Time that the charts cover"),
        )  # fmt: skip
        return dmc.Stack(
            [
                html.Div(
                    [dmc.Group(window, justify="flex-end", mb="xs"), html.Div(id="jobs-rates")],
                    className="jobs-charts",
                    style=_there(all_of_it),
                ),
                filters,
                bar,
                html.Div(_loading(height=240), id="jobs-none"),
                html.Div(
                    dag.AgGrid(
                        id="jobs-grid",
                        className="jobs-grid",
                        columnDefs=rows.columns(all_of_it),
                        defaultColDef={"sortable": False, "resizable": True, "suppressMovable": True},
                        getRowId="params.data.id",
                        rowData=[],
                        dashGridOptions=rows.OPTIONS,
                    ),
                    id="jobs-list",
                    role="region",
                    style=_there(False),
                    **spoken(label="List of jobs"),
                ),
            ],
            gap="sm",
        )

    def _known(self) -> tuple[list[str], list[str]]:
        """Names of tasks and queues to choose from."""
        registered = self.huey.tasks_by_name()
        queues = {getattr(task, "queue", None) or "default" for task in registered.values()}
        try:
            there = self.listing.tasks() if self.access.owner is None else []
            queues |= set(self.huey.ledger.reading.queues()) if self.access.owner is None else set()
        except DatabaseUnavailable:
            there = []  # the first look says so
        return sorted({*there, *registered}), sorted(queues)

    def refresh(self, given: Any, _: Any, __: Any, seen: Any) -> tuple[Any, ...]:
        """All that the page shows; what stays as it is, or is not seen, is left out."""
        wanted, owner = asked.read(given), self.access.owner
        try:
            return self._refresh(wanted, owner, seen if isinstance(seen, dict) else {})
        except DatabaseUnavailable:
            return unavailable(), *[no_update] * (len(figures.in_tiles()) + 11)

    def _refresh(self, wanted: Asked, owner: str | None, seen: dict[str, Any]) -> tuple[Any, ...]:
        now = time.time()
        kept = 0.0 if ctx.triggered_id == "jobs-acted" else KEPT
        counted = self._recent(("figures", owner), kept, lambda: self.statistics.figures(owner))
        alive = self._recent("workers", kept, self.huey.workers)
        told = Told(seen.get("told"))
        drawn, of = seen.get("rates"), seen.get("of")
        charts: Any = no_update
        stale = of != wanted.window or not isinstance(drawn, int | float) or now - drawn >= RATES_EVERY
        if owner is None and wanted.tab == "jobs" and stale:
            charts, drawn, of = told("rates", self._charts(wanted.window)), now, wanted.window
        page: tuple[Any, ...] = (no_update,) * 6
        if wanted.tab == "jobs" or owner is not None:
            page = self._list(wanted, owner)
        of_schedules: Any = no_update
        of_datasets: Any = no_update
        of_workers: Any = no_update
        if wanted.tab == "schedules" and owner is None:
            shown = schedules.show(self.access.schedules(), self.huey.ledger, self._address("/{id}"))
            of_schedules = told("schedules", shown)
        if wanted.tab == "datasets" and owner is None:
            made, looks = self.access.datasets(), self.access.schedules()
            of_datasets = told("datasets", datasets.show(made, looks, self.huey.ledger, self._address("/{id}")))
        if wanted.tab == "workers" and owner is None:
            of_workers = told("workers", workers.show(alive, self._address("/{id}")))
        return (
            None,
            *figures.of_tiles(counted, len(alive)),
            charts,
            *page,
            of_schedules,
            of_datasets,
            of_workers,
            {
                "at": now * 1000,
                "rates": drawn,
                "of": of,
                "told": told.marks,
            },
        )

    def _list(self, wanted: Asked, owner: str | None) -> tuple[Any, ...]:
        page = self.listing.page(wanted.filter(owner), ROWS, wanted.offset)
        shown = [rows.row(row, self._address(f"/{row['id']}")) for row in page.rows]
        return shown, _there(bool(shown)), _none(wanted, page), _range(wanted, page), wanted.page == 1, not page.more

    def _charts(self, window: str) -> Component:
        width, count = asked.WINDOWS[window]

        def stretches() -> list[Stretch]:
            until = (time.time() // width + 1) * width
            return self.statistics.stretches(until, width, count)

        return figures.rates(self._recent(("rates", window), RATES_EVERY / 2, stretches), window, width)

    @staticmethod
    def _address(rest: str) -> str:
        return dash.get_relative_path("/jobs") + rest

    # --- what it does ---

    def act(self, clicks: Any, meant: Any) -> tuple[Any, ...]:
        """Retry or cancel the jobs that were selected, of which those count that are there and can be."""
        if not clicks or not isinstance(meant, dict) or meant.get("act") not in ACTS:
            raise PreventUpdate
        ids = meant.get("ids")
        ids = list(dict.fromkeys(str(one) for one in ids))[:AT_ONCE] if isinstance(ids, list) else []
        do: Callable[[str], bool] = getattr(self.access, meant["act"])
        done = 0
        try:
            for job_id in ids:
                try:
                    done += do(job_id)
                except JobNotFound:
                    pass
        except (DatabaseUnavailable, QueueUnavailable):
            words = f"The database does not answer any more: done with {done} of {plural(len(ids), 'job')}."
            return _said(words, "red"), False, no_update, time.time()
        words = f"{ACTS[meant['act']][1]}: {done} of {plural(len(ids), 'job')}."
        if done < len(ids):
            words += " The others had changed meanwhile, or it does not apply to them."
        return _said(words, "green" if done else "orange"), False, [], time.time()

    def act_on_schedule(self, _: Any) -> tuple[Any, Any]:
        pressed = ctx.triggered_id
        if not isinstance(pressed, dict) or not any(click["value"] for click in ctx.triggered):
            raise PreventUpdate  # a button came to the page
        act, name = pressed.get("act"), str(pressed.get("name"))
        try:
            if act == "pause":
                words = "Paused." if self.access.pause(name) else "It was paused already."
            elif act == "resume":
                words = "Resumed from now on." if self.access.resume(name) else "It was not paused."
            elif act == "run":
                words = f"Queued as job {self.access.run(name)}."
            elif act == "refresh":
                words = f"Queued as job {self.access.refresh(name)}."
            else:
                raise PreventUpdate
        except ScheduleNotFound as error:
            return _said(str(error), "orange"), time.time()
        except (DatabaseUnavailable, QueueUnavailable):
            return _said("The database does not answer. Try again in a moment.", "red"), no_update
        return _said(f"{name.rpartition('.')[2]}: {words}", "green"), time.time()


def _there(shown: bool) -> dict[str, str]:
    """The style of what is always on the page, so that callbacks find it, and seen or not."""
    return {} if shown else {"display": "none"}


def _loading(height: int = 120) -> Component:
    return dmc.Skeleton(height=height, radius="sm", **spoken(label="Loading"))


def _choice(name: str, label: str, data: list[tuple[str, str]], value: str, **more: Any) -> Component:
    options = [{"value": value, "label": text} for value, text in data]
    return dmc.Select(
        id=f"jobs-{name}", label=label, data=options, value=value or None, placeholder="Any", clearable=True, size="sm", **more
    )  # fmt: skip


def _field(name: str, label: str, value: str, placeholder: str = "Any") -> Component:
    return dmc.TextInput(
        id=f"jobs-{name}", label=label, value=value, placeholder=placeholder, debounce=400, inputProps={"maxLength": asked.LONGEST}, size="sm",
    )  # fmt: skip


def _with(names: list[str], chosen: str) -> list[tuple[str, str]]:
    return [(name, name) for name in names + [chosen] * (chosen not in names and bool(chosen))]


def _none(wanted: Asked, page: Page) -> Component | None:
    """What stands there instead of a list, or beside it."""
    note = None
    if page.errors_of_days is not None:
        note = dmc.Text(
            f"The text was looked for in ids, tasks, and the errors of the last {page.errors_of_days:g} days.",
            size="sm", c="dimmed",
        )  # fmt: skip
    if page.rows:
        return note
    if wanted.page > 1:
        return nothing("There are no jobs as old as this page. See the newer ones.")
    if wanted.filtered:
        return nothing("No job fits all of these filters.", *([note] if note else []))
    return nothing("No jobs yet. Whatever is submitted shows up here by itself.")


def _range(wanted: Asked, page: Page) -> str:
    if not page.rows:
        return ""
    said = f"{wanted.offset + 1} to {wanted.offset + len(page.rows)}"
    return said + (", newest first" if page.more or wanted.page > 1 else "")


def _confirmation() -> Component:
    return dmc.Modal(
        [
            dmc.Text("", id="jobs-sure-words"),
            dmc.Group(
                [
                    dmc.Button("Leave them", id="jobs-sure-no", variant="default"),
                    dmc.Button("", id="jobs-sure-yes"),
                ],
                justify="flex-end",
                mt="md",
            ),
        ],
        id="jobs-sure",
        opened=False,
        centered=True,
        closeButtonProps=spoken(label="Close"),
    )


def _said(words: str, colour: str) -> Component:
    return dmc.Alert(words, color=colour, withCloseButton=True, p="xs", closeButtonLabel="Close")
