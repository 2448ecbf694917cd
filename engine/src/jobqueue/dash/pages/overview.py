"""`/jobs`: figures, the list with its filters, schedules, datasets and workers.

The browser keeps the query in its address (assets/jobs.js). It refreshes all that it shows with one request, every few
seconds while somebody looks. The list has pages, so a refresh costs the same however many jobs there are.
"""

import time
from dataclasses import replace
from datetime import datetime
from typing import Any

import dash
from dash import ALL, ClientsideFunction, Input, Output, State, callback, clientside_callback, ctx, no_update
from dash.development.base_component import Component

from jobqueue.dash.access import Access
from jobqueue.dash.formatting import TIME, WITH_WEEKDAY
from jobqueue.dash.pages import datasets, job_table, overview_layout, schedules, tiles, workers
from jobqueue.dash.pages import query as queries
from jobqueue.dash.pages.actions import ACTIONS, Actions
from jobqueue.dash.pages.query import ROWS, Query
from jobqueue.dash.pages.refresh import CHARTS_S, SHARED_S, SentParts, SharedAnswers, plain
from jobqueue.dash.pages.text import unavailable
from jobqueue.database.database import DatabaseUnavailable
from jobqueue.monitoring.figures import Statistics, Stretch
from jobqueue.monitoring.search import Listing, Page

CONTROLS = ("tab", "state", "task", "owner", "queue", "text", "time", "window")
FILTERS = CONTROLS[1:7]

# The outputs of a refresh, after the trouble and the tiles.
PARTS = {
    "rates": Output("jobs-rates", "children"),
    "rows": Output("jobs-rows", "children"),
    "listed": Output("jobs-listed", "data"),
    "list": Output("jobs-list", "style"),
    "empty": Output("jobs-none", "children"),
    "range": Output("jobs-range", "children"),
    "newest": Output("jobs-newer", "disabled"),
    "oldest": Output("jobs-older", "disabled"),
    "schedules": Output("jobs-schedules", "children"),
    "datasets": Output("jobs-datasets", "children"),
    "workers": Output("jobs-workers", "children"),
    "seen": Output("jobs-seen", "data"),
}


class Overview:
    """The page and its callbacks, for one queue."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self.huey = access.huey
        self.actions = Actions(access)
        self._shared = SharedAnswers()

    @property
    def listing(self) -> Listing:
        return Listing(self.huey.ledger.database)

    @property
    def statistics(self) -> Statistics:
        return Statistics(self.huey.ledger.database)

    def register(self, order: int) -> None:
        """Register the page and its callbacks."""
        dash.register_page("jobqueue.dash.pages", path="/jobs", name="Jobs", order=order, layout=self.layout)
        callback(
            Output("jobs-trouble", "children"),
            *tiles.outputs(),
            *PARTS.values(),
            Input("jobs-asked", "data"),
            Input("jobs-tick", "n_intervals"),
            Input("jobs-acted", "data"),
            State("jobs-seen", "data"),
        )(self.refresh)
        callback(
            Output("jobs-said", "children"),
            Output("jobs-sure", "opened", allow_duplicate=True),
            Output("jobs-chosen", "value", allow_duplicate=True),
            Output("jobs-acted", "data"),
            Input("jobs-sure-yes", "n_clicks"),
            State("jobs-meant", "data"),
            running=[(Output("jobs-sure-yes", "loading"), True, False)],
            prevent_initial_call=True,
        )(self.actions.on_jobs)
        callback(
            Output("jobs-said", "children", allow_duplicate=True),
            Output("jobs-acted", "data", allow_duplicate=True),
            Input({"jobs": "schedule", "act": ALL, "name": ALL}, "n_clicks"),
            prevent_initial_call=True,
        )(self.actions.on_schedule)
        register_clientside()

    def layout(self, **query: Any) -> Component:
        """Return the page for the query of an address."""
        wanted = queries.read(query)
        everything = self.access.owner is None
        if not everything:  # the link may come from an admin
            wanted = replace(wanted, tab="jobs", owner="")
        return overview_layout.layout(wanted, self._names(everything), everything, self._address)

    def _names(self, everything: bool) -> tuple[list[str], list[str]]:
        """Return the names of tasks and queues to filter by."""
        registered = self.huey.tasks_by_name()
        queues = {getattr(task, "queue", None) or "default" for task in registered.values()}
        tasks: list[str] = []
        if everything:
            try:
                tasks = self.listing.tasks()
                queues |= set(self.huey.ledger.reading.queues())
            except DatabaseUnavailable:
                pass  # the first refresh says so
        return sorted({*tasks, *registered}), sorted(queues)

    def refresh(self, given: Any, _: Any, __: Any, seen: Any) -> tuple[Any, ...]:
        """Return all that the page shows. Parts that have not changed, or are not visible, are left out."""
        try:
            figures, parts = self._refresh(queries.read(given), seen if isinstance(seen, dict) else {})
        except DatabaseUnavailable:
            return unavailable(), *[no_update] * (len(tiles.outputs()) + len(PARTS))
        return None, *figures, *(parts.get(name, no_update) for name in PARTS)

    def _refresh(self, query: Query, seen: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
        now, owner = time.time(), self.access.owner
        shared_s = 0.0 if ctx.triggered_id == "jobs-acted" else SHARED_S
        figures = self._shared.get(("figures", owner), shared_s, lambda: self.statistics.figures(owner))
        alive = self._shared.get("workers", shared_s, self.huey.workers)
        sent = SentParts(seen.get("told"))
        parts: dict[str, Any] = {}
        drawn, of = seen.get("rates"), seen.get("of")
        tab = query.tab if owner is None else "jobs"
        if tab == "jobs":
            stale = of != query.window or not isinstance(drawn, int | float) or now - drawn >= CHARTS_S
            if owner is None and stale:
                parts["rates"], drawn, of = sent.changed("rates", self._charts(query.window)), now, query.window
            parts |= self._list(query, owner, sent, SHARED_S if ctx.triggered_id == "jobs-tick" else 0.0)
        elif tab == "schedules":
            shown = schedules.show(
                self.access.schedules(), self.huey.ledger, self._address("/{id}"), self._moment_with_day
            )
            parts["schedules"] = sent.changed("schedules", shown)
        elif tab == "datasets":
            made, timetable = self.access.datasets(), self.access.schedules()
            shown = datasets.show(made, timetable, self.huey.ledger, self._address("/{id}"), self.access.moment)
            parts["datasets"] = sent.changed("datasets", shown)
        elif tab == "workers":
            parts["workers"] = sent.changed("workers", workers.show(alive, self._address("/{id}")))
        parts["seen"] = {"at": self.access.moment(now, TIME), "rates": drawn, "of": of, "told": sent.marks}
        return tiles.values(figures, len(alive)), parts

    def _list(self, query: Query, owner: str | None, sent: SentParts, shared_s: float) -> dict[str, Any]:
        operator = owner is None

        def ask() -> tuple[Page, list[dict[str, str]]]:
            page = self.listing.page(query.filter(owner), ROWS, query.offset)
            return page, [
                job_table.describe(row, self._address(f"/{row['id']}"), operator=operator) for row in page.rows
            ]

        page, jobs = self._shared.get(("list", query, owner), shared_s, ask)
        parts = {
            "listed": job_table.live(jobs),
            "list": overview_layout.visible(bool(jobs)),
            "empty": overview_layout.empty(query, page),
            "range": overview_layout.shown_range(query, page),
            "newest": query.page == 1,
            "oldest": not page.more,
        }
        if sent.differs("rows", job_table.lasting(jobs)):
            these = ("rows", owner, sent.marks["rows"])
            parts["rows"] = self._shared.get(these, SHARED_S, lambda: plain(job_table.table(jobs, with_owner=operator)))
        return parts

    def _charts(self, window: str) -> Component:
        width, count = queries.WINDOWS[window]

        def stretches() -> list[Stretch]:
            until = (time.time() // width + 1) * width
            return self.statistics.stretches(until, width, count)

        return tiles.charts(
            self._shared.get(("rates", window), CHARTS_S / 2, stretches), window, width, self.huey.timezone
        )

    def _moment_with_day(self, at: datetime | float | None) -> str:
        return self.access.moment(at, WITH_WEEKDAY)

    @staticmethod
    def _address(rest: str) -> str:
        return dash.get_relative_path("/jobs") + rest


def register_clientside() -> None:
    """Register the callbacks that run in the browser, by functions of assets/jobs.js."""
    clientside_callback(
        ClientsideFunction("jobqueue", "ask"),
        Output("jobs-asked", "data"),
        *(Input(f"jobs-{name}", "value") for name in CONTROLS),
        Input("jobs-older", "n_clicks"),
        Input("jobs-newer", "n_clicks"),
        Input("jobs-clear", "n_clicks"),
        State("jobs-asked", "data"),
        prevent_initial_call=True,
    )
    clientside_callback(
        ClientsideFunction("jobqueue", "clear"),
        *(Output(f"jobs-{name}", "value", allow_duplicate=True) for name in FILTERS),
        Input("jobs-clear", "n_clicks"),
        prevent_initial_call=True,
    )
    clientside_callback(
        ClientsideFunction("jobqueue", "seen"), Output("jobs-updated", "children"), Input("jobs-seen", "data")
    )
    clientside_callback(
        ClientsideFunction("jobqueue", "chosen"),
        Output("jobs-all", "checked"),
        Output("jobs-all", "indeterminate"),
        Output("jobs-chosen", "value"),
        *(Output(f"jobs-{act}", name) for act in ACTIONS for name in ("children", "disabled")),
        Input("jobs-all", "checked"),
        Input("jobs-chosen", "value"),
        Input("jobs-listed", "data"),
    )
    clientside_callback(
        ClientsideFunction("jobqueue", "confirm"),
        Output("jobs-sure", "opened"),
        Output("jobs-sure", "title"),
        Output("jobs-sure-words", "children"),
        Output("jobs-sure-yes", "children"),
        Output("jobs-meant", "data"),
        *(Input(f"jobs-{act}", "n_clicks") for act in ACTIONS),
        Input("jobs-sure-no", "n_clicks"),
        State("jobs-chosen", "value"),
        State("jobs-listed", "data"),
        prevent_initial_call=True,
    )
