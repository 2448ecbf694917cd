"""The efficient frontier: a second job, to show how little a job and its page need."""

from typing import Any

import dash
import dash_mantine_components as dmc
from dash import Input, Output, State, callback, dcc, html
from dash.development.base_component import Component
from jobqueue import QueueUnavailable
from jobqueue.dash.panel_view import try_again

from app import visible
from app.jobs.frontier import efficient_frontier
from app.portfolio import figures
from app.portfolio.universe import SYMBOLS

dash.register_page(__name__, path="/frontier", name="Frontier", order=1)


def chart(result: dict[str, Any]) -> Component:
    return dcc.Graph(figure=figures.frontier(result["frontier"], result["assets"]), config={"displaylogo": False})


panel = visible.Panel(__name__, task=efficient_frontier, show=chart)


def layout(job: Any = None, **_: object) -> Component:
    return dmc.Stack(
        [
            dmc.Title("Efficient frontier", order=2),
            dmc.Text("For each expected return, the portfolio that reaches it with the least volatility."),
            dmc.MultiSelect(
                id="frontier-assets",
                label="Assets",
                data=list(SYMBOLS),
                value=list(SYMBOLS),
                searchable=True,
                clearable=True,
            ),
            dmc.Button("Compute", id="frontier-start", w="fit-content"),
            html.Div(id="frontier-trouble"),
            panel(job),
            dcc.Location(id="frontier-address", refresh="callback-nav"),
        ]
    )


@callback(
    Output("frontier-address", "search"),
    Output("frontier-assets", "error"),
    Output("frontier-trouble", "children"),
    Input("frontier-start", "n_clicks"),
    State("frontier-assets", "value"),
    running=[(Output("frontier-start", "disabled"), True, False)],
    prevent_initial_call=True,
)
def start(_: int, assets: list[str]) -> tuple[Any, str | None, Component | None]:
    if len(assets) < 2:
        return dash.no_update, "Choose at least two assets.", None
    try:
        return f"?job={efficient_frontier(assets).id}", None, None
    except QueueUnavailable:
        return dash.no_update, None, try_again()
