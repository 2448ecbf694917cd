"""The market as it was last refreshed: prices, returns and correlations, from a dataset alone.

Nothing here waits for a worker. The page asks what the newest version is, and draws when that is another one.
"""

from typing import Any

import dash
import dash_mantine_components as dmc
from dash import Input, Output, State, callback, dcc, html, no_update
from dash.development.base_component import Component

from app.job_status import BREAKING, job_status
from app.jobs import huey
from app.jobs.market import prices
from app.portfolio import figures, statistics
from jobqueue import DatasetInfo, JobNotFound, NotReady
from jobqueue import State as JobState

PERIODS = {"21": "1 month", "126": "6 months", "252": "1 year", "504": "2 years"}  # by trading days
LOOK = 2000  # milliseconds between two looks

dash.register_page(__name__, path="/market", name="Market", order=2)


def layout(**_: object) -> Component:
    button = dmc.Button("Refresh now", id="market-refresh", variant="light", size="compact-sm")
    return dmc.Stack(
        [
            dmc.Group([dmc.Title("Market", order=2), button], justify="space-between"),
            html.Div(id="market-state"),
            html.Div(id="market-job"),
            dmc.SegmentedControl(
                id="market-period",
                data=[{"value": days, "label": name} for days, name in PERIODS.items()],
                value="252",
                w="fit-content",
                maw="100%",
            ),
            html.Div(id="market-charts"),
            dcc.Store(id="market-shown"),
            dcc.Store(id="market-asked"),
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
def look(_: int | None, shown: list[Any] | None) -> tuple[Any, Any]:
    """Nothing is sent unless there is something new to say."""
    info = prices.info()
    now = [info.version, info.stale, info.error]
    return (no_update, no_update) if now == shown else (state(info), now)


@callback(
    Output("market-charts", "children"),
    Input("market-shown", "data"),
    Input("market-period", "value"),
    prevent_initial_call=True,
)
def draw(_: object, period: str) -> Component:
    try:
        table = prices.read().iloc[-int(period) - 1 :]
    except NotReady:
        return dmc.Text("Charts come here with the first prices.", c="dimmed")
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
    Output("market-asked", "data"),
    Input("market-refresh", "n_clicks"),
    running=[(Output("market-refresh", "loading"), True, False)],
    prevent_initial_call=True,
)
def refresh(_: int) -> str:
    return str(prices.refresh().id)


@callback(
    Output("market-job", "children"),
    Output("market-asked", "data", allow_duplicate=True),
    Input("market-tick", "n_intervals"),
    State("market-asked", "data"),
    prevent_initial_call=True,
)
def follow(_: int, job_id: str | None) -> tuple[Any, Any]:
    """The refresh that was asked for here, until it has come to something."""
    if job_id is None:
        return no_update, no_update
    try:
        job = huey.look(job_id)
    except JobNotFound:
        return None, None
    if job.state is JobState.SUCCEEDED:
        return None, None
    return job_status(job), None if job.state.ended else no_update


def state(info: DatasetInfo) -> Component:
    """As of when it is, and what is wrong with that."""
    trouble = f"The last refresh failed: {info.error}" if info.error else ""
    if info.as_of is None:
        return dmc.Alert(
            [
                dmc.Text("A worker makes the first ones within a minute, or at once: press Refresh now."),
                dmc.Text("If none come, no worker may be running: python -m app worker", size="sm", c="dimmed"),
                *([dmc.Text(trouble, c="red", style=BREAKING)] if trouble else []),
            ],
            title="No prices yet",
            color="red" if trouble else "blue",
        )
    parts: list[Component] = [
        dmc.Text(f"as of {info.as_of:%Y-%m-%d %H:%M:%S} UTC, version {info.version}", size="sm", c="dimmed")
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
