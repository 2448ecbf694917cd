"""The least risky portfolio, a part of the market page: an example of a background callback.

It takes some seconds and a solver that only workers load. Its result belongs to the open page and needs no address of its
own. Work that does is a task with a panel, as on the other pages.
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
RANGE = (5, 95)  # percentiles of a weight over the redrawn histories
WAITING = [0, "Waiting to start."]


def layout() -> Component:
    running = dmc.Group(
        [
            dmc.Progress(
                id="weights-bar", value=WAITING[0], flex=1, size="lg", animated=True, **{"aria-label": "Progress"}
            ),
            dmc.Button("Cancel", id="weights-cancel", variant="light", color="red", size="compact-sm"),
        ]
    )
    return dmc.Stack(
        [
            dmc.Title("The least risky portfolio", order=3, mt="md"),
            dmc.Text(
                "The weights that would have varied the least over the days shown. To show how certain they are, they are "
                f"computed again for {DRAWS} histories that are redrawn from those days."
            ),
            dmc.Button("Compute", id="weights-start", variant="light", w="fit-content"),
            html.Div(
                [running, dmc.Text(WAITING[1], id="weights-note", size="sm", c="dimmed")],
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
    progress_default=WAITING,
    cancel=Input("weights-cancel", "n_clicks"),
    prevent_initial_call=True,
)
@found_after_reload
def weigh(set_progress: Callable[[list[Any]], None], _: int, period: str) -> tuple[Any, Component | None]:
    """Compute the weights. This runs on a worker. It takes seconds, so it saves no steps."""
    try:
        table = prices.read().iloc[-int(period) - 1 :]
    except NotReady:
        return dmc.Alert("Try again when the charts are shown.", title="No prices yet", color="orange"), None
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
        f"{100 * fitted['volatility']:.1f} % a year, compared with {100 * equal:.1f} % for equal weights. The lines show the "
        f"range of each weight in {RANGE[1] - RANGE[0]} % of the redrawn histories."
    )
    chart = figures.shares(
        list(returns.columns), np.array([*fitted["weights"].values()]), *np.percentile(drawn, RANGE, axis=0)
    )
    return dmc.Text(words, size="sm"), dcc.Graph(figure=chart, config={"displaylogo": False})
