"""The layout of `/jobs`. Callbacks fill it; overview.py registers them."""

from collections.abc import Callable
from typing import Any

import dash_mantine_components as dmc
from dash import dcc, html
from dash.development.base_component import Component

from jobqueue.dash.pages import query as queries
from jobqueue.dash.pages import tiles
from jobqueue.dash.pages.actions import ACTIONS
from jobqueue.dash.pages.query import Query
from jobqueue.dash.pages.text import nothing, spoken
from jobqueue.ledger.states import State
from jobqueue.monitoring.search import Page

REFRESH_MS = 2250  # between two refreshes, so that a page says within 5 s that the database hangs (see patience.READ)


def layout(
    query: Query, names: tuple[list[str], list[str]], everything: bool, address: Callable[[str], str]
) -> Component:
    """Return the page.

    :param names: of tasks and of queues, to filter by.
    :param everything: whether the visitor may see everybody's jobs, and what belongs to nobody.
    :param address: makes an address of this page from a query.
    """
    tabs = {name: label for name, label in queries.TABS.items() if everything or name == "jobs"}
    panels = {
        "jobs": _jobs(query, names, everything),
        "schedules": html.Div(_loading(), id="jobs-schedules"),
        "datasets": html.Div(_loading(), id="jobs-datasets"),
        "workers": html.Div(_loading(), id="jobs-workers"),
    }
    tab_list = [dmc.TabsTab(label, value=name) for name, label in tabs.items()]
    return dmc.Stack(
        [
            dmc.Group([dmc.Title("Jobs", order=2, flex=1), dmc.Text("", id="jobs-updated", size="sm", c="dimmed")]),
            html.Div(id="jobs-trouble"),
            html.Div(tiles.tiles(address, with_workers=everything), id="jobs-tiles"),
            html.Div(id="jobs-said", **spoken(live="polite")),
            dmc.Tabs(
                [
                    dmc.TabsList(tab_list, style=visible(len(tabs) > 1)),
                    *(dmc.TabsPanel(panel, value=name, pt="md") for name, panel in panels.items()),
                ],
                id="jobs-tab",
                value=query.tab,
                keepMounted=True,
            ),
            _confirmation(),
            dcc.Store(id="jobs-asked", data=vars(query)),
            dcc.Store(id="jobs-listed"),
            dcc.Store(id="jobs-seen"),
            dcc.Store(id="jobs-meant"),
            dcc.Store(id="jobs-acted"),
            dcc.Interval(id="jobs-tick", interval=REFRESH_MS),
        ]
    )


def visible(shown: bool) -> dict[str, str]:
    """Return the style of a component that is always on the page, so that callbacks find it, and may be hidden."""
    return {} if shown else {"display": "none"}


def empty(query: Query, page: Page) -> Component | None:
    """Return a note in place of an empty list, or below the filters on how far the text was searched."""
    note = None
    if page.errors_of_days is not None:
        words = f"The text was searched for in ids, tasks, and errors of the last {page.errors_of_days:g} days."
        note = dmc.Text(words, size="sm", c="dimmed")
    if page.rows:
        return note
    if query.page > 1:
        return nothing("No jobs on this page. See newer ones.")
    if query.filtered:
        return nothing("No job matches all of these filters.", *([note] if note else []))
    return nothing("No jobs yet. Submitted jobs appear here automatically.")


def shown_range(query: Query, page: Page) -> str:
    """Return which jobs of the list are shown."""
    if not page.rows:
        return ""
    words = f"{query.offset + 1} to {query.offset + len(page.rows)}"
    return words + (", newest first" if page.more or query.page > 1 else "")


def _jobs(query: Query, names: tuple[list[str], list[str]], everything: bool) -> Component:
    window = dmc.SegmentedControl(
        id="jobs-window",
        value=query.window,
        size="xs",
        data=[{"value": "hour", "label": "Last hour"}, {"value": "day", "label": "Last 24 hours"}],
        **spoken(label="Time that the charts cover"),
    )
    charts = [dmc.Group(window, justify="flex-end", mb="xs"), html.Div(id="jobs-rates")]
    rows = dmc.CheckboxGroup(html.Div(id="jobs-rows"), id="jobs-chosen", value=[])
    return dmc.Stack(
        [
            html.Div(charts, className="jobs-charts", style=visible(everything)),
            _filters(query, names, everything),
            _bar(),
            html.Div(_loading(height=240), id="jobs-none"),
            html.Div(rows, id="jobs-list", style=visible(False)),
        ],
        gap="sm",
    )


def _filters(query: Query, names: tuple[list[str], list[str]], everything: bool) -> Component:
    tasks, queues = names
    times = [(name, label) for name, (label, _) in queries.TIMES.items()]
    controls = {
        "state": _choice("state", "State", [(state.value, state.value) for state in State], query.state),
        "task": _choice("task", "Task", _with(tasks, query.task), query.task, searchable=True),
        "owner": _field("owner", "Owner", query.owner),
        "queue": _choice("queue", "Queue", _with(queues, query.queue), query.queue, searchable=True),
        "time": _choice("time", "Submitted", times, query.time),
        "text": _field("text", "Text", query.text, placeholder="Error, task or id"),
    }
    span = {"base": 6, "sm": 4, "md": 3, "lg": 2}
    return dmc.Grid(
        [
            dmc.GridCol(control, span=span, display=None if everything or name != "owner" else "none")
            for name, control in controls.items()
        ],
        gutter="xs",
    )


def _bar() -> Component:
    return dmc.Group(
        [
            dmc.Checkbox(id="jobs-all", label="Select all", size="xs", checked=False),
            *(
                dmc.Button(label, id=f"jobs-{act}", size="compact-sm", variant="light", disabled=True,
                           color="red" if act == "cancel" else "blue")
                for act, (label, _) in ACTIONS.items()
            ),
            dmc.Button("Clear filters", id="jobs-clear", size="compact-sm", variant="subtle"),
            dmc.Text("", id="jobs-range", size="sm", c="dimmed", flex=1, ta="right", miw=120, **spoken(live="polite")),
            dmc.Button("Newer", id="jobs-newer", size="compact-sm", variant="default", disabled=True),
            dmc.Button("Older", id="jobs-older", size="compact-sm", variant="default", disabled=True),
        ],
        gap="xs",
    )  # fmt: skip


def _loading(height: int = 120) -> Component:
    return dmc.Skeleton(height=height, radius="sm", **spoken(label="Loading"))


def _choice(name: str, label: str, data: list[tuple[str, str]], value: str, **more: Any) -> Component:
    options = [{"value": value, "label": text} for value, text in data]
    return dmc.Select(
        id=f"jobs-{name}", label=label, data=options, value=value or None, placeholder="Any", clearable=True, size="sm",
        **more,
    )  # fmt: skip


def _field(name: str, label: str, value: str, placeholder: str = "Any") -> Component:
    return dmc.TextInput(
        id=f"jobs-{name}", label=label, value=value, placeholder=placeholder, debounce=400, size="sm",
        inputProps={"maxLength": queries.LONGEST},
    )  # fmt: skip


def _with(names: list[str], chosen: str) -> list[tuple[str, str]]:
    return [(name, name) for name in names + [chosen] * (chosen not in names and bool(chosen))]


def _confirmation() -> Component:
    buttons = [dmc.Button("Go back", id="jobs-sure-no", variant="default"), dmc.Button("", id="jobs-sure-yes")]
    return dmc.Modal(
        [dmc.Text("", id="jobs-sure-words"), dmc.Group(buttons, justify="flex-end", mt="md")],
        id="jobs-sure",
        opened=False,
        centered=True,
        closeButtonProps=spoken(label="Close"),
    )
