"""The market page: prices, returns and correlations, read from a dataset that a scheduled job refreshes.

The page never waits for a worker. It checks the dataset's version and draws the charts again when that has changed.
market_weights.py adds a background callback.
"""

from typing import Any

import dash
import dash_mantine_components as dmc
from dash import Input, Output, State, callback, dcc, html, no_update
from dash.development.base_component import Component
from jobqueue import DatabaseUnavailable, DatasetInfo, JobHandle, NotReady
from jobqueue.dash.error_text import for_users
from jobqueue.dash.panel_view import BREAKING, out_of_touch

from app.access import jobs
from app.jobs.market import prices
from app.pages import market_weights
from app.portfolio import figures, statistics

PERIODS = {"21": "1 month", "126": "6 months", "252": "1 year", "504": "2 years"}  # by trading days
REFRESH_MS = 2000  # between two checks for a new version
UNKNOWN = "unknown"  # in place of a version while the database does not answer

dash.register_page(__name__, path="/market", name="Market", order=2)


panel = jobs.panel(__name__, task=prices.task, show=lambda _: html.Div())  # the charts show the result


def layout(job: Any = None, **_: object) -> Component:
    button = dmc.Button("Refresh now", id="market-refresh", variant="light", size="compact-sm")
    return dmc.Stack(
        [
            dmc.Group([dmc.Title("Market", order=2), button], justify="space-between"),
            html.Div(id="market-state"),
            panel(job),
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
            dcc.Interval(id="market-tick", interval=REFRESH_MS),
        ],
        gap="sm",
    )


@callback(
    Output("market-state", "children"),
    Output("market-shown", "data"),
    Input("market-tick", "n_intervals"),
    State("market-shown", "data"),
)
def refresh(_: int | None, shown: Any) -> tuple[Any, Any]:
    """Say which version the dataset has, if that is not on the page already."""
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
    """Draw the charts of the chosen period."""
    try:
        table = prices.read().iloc[-int(period) - 1 :]
    except NotReady:
        return dmc.Text("The charts appear with the first prices.", c="dimmed")
    except DatabaseUnavailable:
        return no_update  # refresh() says so
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


@panel.start(Input("market-refresh", "n_clicks"), in_place=True)
def start(_: int) -> JobHandle:
    """Refresh the dataset now. The page, with its period and charts, stays as it is."""
    return prices.refresh()


def state(info: DatasetInfo) -> Component:
    """Say how old the prices are, and why they are not newer."""
    trouble = f"The last refresh failed: {for_users(info.error)}" if info.error else ""
    if info.as_of is None:
        return dmc.Alert(
            [
                dmc.Text("The first prices arrive within a minute, or as soon as you press Refresh now."),
                *([dmc.Text(trouble, c="red", style=BREAKING)] if trouble else []),
            ],
            title="No prices yet",
            color="red" if trouble else "blue",
        )
    parts: list[Component] = [
        dmc.Text(f"Prices as of {jobs.moment(info.as_of)}, version {info.version}", size="sm", c="dimmed")
    ]
    if info.stale:
        late = f"The last successful refresh was at {jobs.moment(info.as_of)}."
        parts.append(
            dmc.Alert(
                [
                    dmc.Text(late),
                    dmc.Text(trouble or "The next refresh has not started yet.", size="sm", style=BREAKING),
                ],
                title="These prices are stale",
                color="orange",
            )
        )
    elif trouble:
        parts.append(dmc.Alert(trouble, title="These prices are the last good ones", color="yellow", style=BREAKING))
    return dmc.Stack(parts, gap="xs")
