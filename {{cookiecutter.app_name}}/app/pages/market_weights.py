"""The least risky portfolio of the prices that the market page shows: a background callback. Part of that page; it registers
none of its own.

The answer takes seconds, and a solver that only workers load; it is of the page that is open, and needs no address. What is
worth one is a task with a panel, as on the other pages.
"""

from collections.abc import Callable
from typing import Any

import dash_mantine_components as dmc
import numpy as np
from dash import Input, Output, State, callback, dcc, html
from dash.development.base_component import Component
from jobqueue import NotReady
from jobqueue.dash.background import found_after_reload

from app.jobs.market import prices
from app.portfolio import figures, frontier, statistics

DRAWS = 60  # redrawn histories
RANGE = (5, 95)  # per cent of them, between which a weight is
WAITS = [0, "Waits for a worker."]


def layout() -> Component:
    running = dmc.Group(
        [
            dmc.Progress(
                id="weights-bar", value=WAITS[0], flex=1, size="lg", animated=True, **{"aria-label": "Progress"}
            ),
            dmc.Button("Cancel", id="weights-cancel", variant="light", color="red", size="compact-sm"),
        ]
    )
    return dmc.Stack(
        [
            dmc.Title("The least risky portfolio", order=3, mt="md"),
            dmc.Text(
                "Which shares of these would have varied the least over the days shown, and how certain that is: the same for "
                f"{DRAWS} histories redrawn from those days."
            ),
            dmc.Button("Work it out", id="weights-start", variant="light", w="fit-content"),
            html.Div(
                [running, dmc.Text(WAITS[1], id="weights-note", size="sm", c="dimmed")],
                id="weights-running",
                hidden=True,
            ),
            dmc.Box(id="weights-said", **{"aria-live": "polite"}),
            html.Div(id="weights-chart"),
        ],
        gap="sm",
    )


@callback(
    Output("weights-said", "children"),
    Output("weights-chart", "children"),
    Input("weights-start", "n_clicks"),
    State("market-period", "value"),
    background=True,
    interval=500,
    running=[
        (Output("weights-start", "disabled"), True, False),
        (Output("weights-running", "hidden"), False, True),
    ],
    progress=[Output("weights-bar", "value"), Output("weights-note", "children")],
    progress_default=WAITS,
    cancel=Input("weights-cancel", "n_clicks"),
    prevent_initial_call=True,
)
@found_after_reload
def weigh(set_progress: Callable[[list[Any]], None], _: int, period: str) -> tuple[Any, Component | None]:
    """Runs on a worker. A worker that is lost costs seconds, so nothing is kept in steps."""
    try:
        table = prices.read().iloc[-int(period) - 1 :]
    except NotReady:
        return dmc.Alert("Ask again when the charts are there.", title="There are no prices yet", color="orange"), None
    returns = table.pct_change().iloc[1:]
    set_progress([0, f"fitting to {len(returns)} days"])
    fitted = frontier.least_risk(returns)
    drawn = []
    for number in range(1, DRAWS + 1):
        drawn.append([*frontier.least_risk(frontier.redrawn(returns, number))["weights"].values()])
        set_progress([100 * number / DRAWS, f"history {number} of {DRAWS}"])
    equal = statistics.volatility(returns.mean(axis="columns"))
    words = (
        f"From {returns.index[0]:%Y-%m-%d} to {returns.index[-1]:%Y-%m-%d} its volatility was "
        f"{100 * fitted['volatility']:.1f} % a year, that of equal shares {100 * equal:.1f} %. The lines are where a weight "
        f"was in {RANGE[1] - RANGE[0]} % of the redrawn histories."
    )
    chart = figures.shares(
        list(returns.columns), np.array([*fitted["weights"].values()]), *np.percentile(drawn, RANGE, axis=0)
    )
    return dmc.Text(words, size="sm"), dcc.Graph(figure=chart, config={"displaylogo": False})
