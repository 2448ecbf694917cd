"""Callbacks that all panels share: they refresh panels and act on their buttons. Also the address of the panels' files.

A page refreshes its panels less often while nothing changes or its tab is hidden, and not at all once their jobs have
ended.
"""

import time
from typing import Any

from dash import ALL, MATCH, Input, Output, State, callback, clientside_callback, ctx, dcc, hooks, html, no_update
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate
from flask import abort, request
from werkzeug.wrappers import Response

from jobqueue.dash.panel import FILES, PanelView, as_new, panel_of
from jobqueue.jobs.job import JobNotFound

REFRESH_MS = 1000  # between two refreshes while something changes
SLOWER = 1.5  # times longer each refresh that changes nothing
SLOWEST_MS = 5000
HIDDEN_MS = 15000  # between two refreshes of a hidden tab

TICK = {"panels": "tick", "of": ALL}
PACE = {"panels": "pace", "of": ALL}
ADDRESS = {"panels": "address", "of": ALL}
ONE = {"of": "page"}


def each(part: str) -> dict[str, Any]:
    return {"panel": ALL, "job": ALL, "part": part}


@hooks.layout()
def with_drivers(layout: Any) -> Any:
    """Return the app's layout together with the components that drive its panels."""
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
    """Refresh all panels of the page, except those whose jobs had ended at the last refresh."""
    views = [
        PanelView(no_update, no_update, known) if known.get("ended") else panel_of(at).render(at["job"], known)
        for at, known in zip(ids, seen, strict=True)
    ]
    before, every = [known.get("mark") for known in seen], (pace[0] or {}).get("every") if pace else None
    if all(view.seen.get("ended") for view in views):
        every = 0
    elif not every or [view.seen.get("mark") for view in views] != before:
        every = REFRESH_MS
    else:
        every = min(every * SLOWER, SLOWEST_MS)
    told = {"every": every, "at": time.time()}  # a new value each time, so that the browser's callback runs
    columns = [[getattr(view, column) for view in views] for column in ("status", "result", "seen")]
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
    """Do what the pressed button says, then refresh all panels."""
    pressed = ctx.triggered_id
    if not pressed or not any(click["value"] for click in ctx.triggered):
        raise PreventUpdate  # a button was added to the page
    own = {"panel": pressed["panel"], "job": pressed["job"], "part": "seen"}
    known = next((data for at, data in zip(ids, seen, strict=True) if at == own), None)
    if known is None:
        raise PreventUpdate  # its panel has left the page
    try:
        address = panel_of(pressed).act(pressed["job"], pressed["act"], known["next"])
    except JobNotFound:
        address = None  # the refresh says so
    again = [as_new(data) if at == own else data for at, data in zip(ids, seen, strict=True)]
    return again, [(n or 0) + 1 for n in ticks], [address or no_update] * len(ticks)


@callback(
    Output({"panel": MATCH, "job": MATCH, "files": "choices"}, "children"),
    Input({"panel": MATCH, "job": MATCH, "files": "open"}, "n_clicks"),
    prevent_initial_call=True,
)
def show_files(clicks: int | None) -> Component:
    """Show the files of a result that can be downloaded."""
    if not clicks:
        raise PreventUpdate  # the button was added to the page
    pressed: dict[str, str] = ctx.triggered_id
    return panel_of(pressed).files(pressed["job"])


@hooks.route(FILES)
def serve_file() -> Response:
    """Answer with a file of a panel's result."""
    try:
        panel = panel_of(request.args.to_dict())
    except LookupError:
        abort(404)
    return panel.file(request.args.get("job", ""))


# A page refreshes new panels until the server says that it need not, even if the first answer is lost. A tab that is seen
# again refreshes at once. If an open page shows another job, its panel comes into view: the button that started it may be far
# below.
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
            const known = window.jobPanels.shown, page = location.pathname;
            const added = panels.find((panel) => !known.includes(JSON.stringify(panel)));
            if (added && page === window.jobPanels.page) {
                const status = JSON.stringify({job: added.job, panel: added.panel, part: 'status'});
                document.getElementById(status)?.scrollIntoView({block: 'nearest'});
            }
            window.jobPanels = {shown, page, every: panels.length ? REFRESH_MS : 0};
        } else if (paces[0]) {
            window.jobPanels.every = paces[0].every;
        }
        const pause = every() && document.hidden ? Math.max(every(), HIDDEN_MS) : every();
        return [ticks.map(() => pause || REFRESH_MS), ticks.map(() => !pause)];
    }""".replace("REFRESH_MS", str(REFRESH_MS)).replace("HIDDEN_MS", str(HIDDEN_MS)),
    Output(TICK, "interval"),
    Output(TICK, "disabled"),
    Input(PACE, "data"),
    Input(each("seen"), "id"),
    State(TICK, "id"),
)
