"""The market as it was last refreshed: prices, returns and correlations, from a dataset alone.

Nothing here waits for a worker. The page asks what the newest version is, and draws when that is another one. What one may have
a worker work out besides is in market_weights.py.
"""

from typing import Any

import dash
import dash_mantine_components as dmc
from dash import Input, Output, State, callback, dcc, html, no_update
from dash.development.base_component import Component
from jobqueue import DatabaseUnavailable, DatasetInfo, NotReady, QueueUnavailable
from jobqueue.dash.panel_view import BREAKING, out_of_touch, try_again

from app import visible
from app.jobs.market import prices
from app.pages import market_weights
from app.portfolio import figures, statistics

PERIODS = {"21": "1 month", "126": "6 months", "252": "1 year", "504": "2 years"}  # by trading days
LOOK = 2000  # milliseconds between two looks
UNKNOWN = "unknown"  # what is shown while the database does not answer

dash.register_page(__name__, path="/market", name="Market", order=2)


def saved(_: None) -> Component:
    return html.Div()  # the charts show it


panel = visible.Panel(__name__, task=prices.task, show=saved)


def layout(job: Any = None, **_: object) -> Component:
    button = dmc.Button("Refresh now", id="market-refresh", variant="light", size="compact-sm")
    return dmc.Stack(
        [
            dmc.Group([dmc.Title("Market", order=2), button], justify="space-between"),
            html.Div(id="market-state"),
            html.Div(panel(job), id="market-job"),
            dmc.SegmentedControl(
                id="market-period",
                data=[{"value": days, "label": name} for days, name in PERIODS.items()],
                value="252",
                w="fit-content",
                maw="100%",
            ),
            html.Div(dmc.Skeleton(height=420), id="market-charts"),
            market_weights.layout(),
            dcc.Store(id="market-shown"),
            dcc.Interval(id="market-tick", interval=LOOK),
        ],
        gap="sm",
    )


@callback(
    Output("market-state", "children"),
    Output("market-shown", "data"),
    Input("market-tick", "n_intervals"),
    State("market-shown", "data"),
)
def look(_: int | None, shown: Any) -> tuple[Any, Any]:
    """Nothing is sent unless there is something new to say."""
    try:
        info = prices.info()
    except DatabaseUnavailable:
        return out_of_touch(), UNKNOWN
    now = [info.version, info.stale, info.error]
    return (no_update, no_update) if now == shown else (state(info), now)


@callback(
    Output("market-charts", "children"),
    Input("market-shown", "data"),
    Input("market-period", "value"),
    prevent_initial_call=True,
)
def draw(_: Any, period: str) -> Any:
    try:
        table = prices.read().iloc[-int(period) - 1 :]
    except NotReady:
        return dmc.Text("Charts come here with the first prices.", c="dimmed")
    except DatabaseUnavailable:
        return no_update  # look() says so
    symbols, values = list(table.columns), table.to_numpy()
    days = table.index.to_numpy("datetime64[D]")
    charts = [
        figures.market(days, symbols, values),
        figures.returns(symbols, values[-1] / values[0] - 1),
        figures.correlations(symbols, statistics.correlations(values)),
    ]
    spans = [{"base": 12}, {"base": 12, "md": 6}, {"base": 12, "md": 6}]
    return html.Div(
        [
            dmc.Text(f"{days[0]} to {days[-1]}", size="sm", c="dimmed"),
            dmc.Grid(
                [
                    dmc.GridCol(dcc.Graph(figure=chart, config={"displaylogo": False}), span=span)
                    for chart, span in zip(charts, spans, strict=True)
                ]
            ),
        ]
    )


@callback(
    Output("market-job", "children"),
    Input("market-refresh", "n_clicks"),
    running=[(Output("market-refresh", "loading"), True, False)],
    prevent_initial_call=True,
)
def refresh(_: int) -> Component:
    try:
        return panel(prices.refresh().id)
    except QueueUnavailable:
        return try_again()


def state(info: DatasetInfo) -> Component:
    """As of when it is, and what is wrong with that."""
    trouble = f"The last refresh failed: {info.error}" if info.error else ""
    if info.as_of is None:
        return dmc.Alert(
            [
                dmc.Text("A worker makes the first ones within a minute, or at once: press Refresh now."),
                dmc.Text("If none come, no worker may be running: python -m app worker", size="sm"),
                *([dmc.Text(trouble, c="red", style=BREAKING)] if trouble else []),
            ],
            title="No prices yet",
            color="red" if trouble else "blue",
        )
    parts: list[Component] = [
        dmc.Text(f"Prices as of {info.as_of:%Y-%m-%d %H:%M:%S} UTC, version {info.version}", size="sm", c="dimmed")
    ]
    if info.stale:
        late = f"No refresh has succeeded since {info.as_of:%Y-%m-%d %H:%M} UTC."
        parts.append(
            dmc.Alert(
                [
                    dmc.Text(late),
                    dmc.Text(trouble or "Is a worker running? See: python -m app doctor", size="sm", style=BREAKING),
                ],
                title="These prices are stale",
                color="orange",
            )
        )
    elif trouble:
        parts.append(dmc.Alert(trouble, title="These prices are the last good ones", color="yellow", style=BREAKING))
    return dmc.Stack(parts, gap="xs")
