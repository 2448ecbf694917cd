"""The efficient frontier: a page that checks its input and draws the job's result."""

from typing import Any

import dash
import dash_mantine_components as dmc
from dash import Input, State, dcc
from jobqueue import JobHandle, SubmitRefused

from app.access import jobs
from app.jobs.frontier import efficient_frontier
from app.portfolio import figures
from app.portfolio.universe import SYMBOLS

dash.register_page(__name__, path="/frontier", name="Frontier", order=1)


def chart(result: dict[str, Any]) -> dcc.Graph:
    """Draw what the job returned."""
    return dcc.Graph(figure=figures.frontier(result["frontier"], result["assets"]), config={"displaylogo": False})


panel = jobs.panel(__name__, task=efficient_frontier, show=chart)


def layout(job: str | None = None, **_: str) -> dmc.Stack:
    symbols = list(SYMBOLS)
    assets = dmc.MultiSelect(
        id="frontier-assets",
        label="Assets",
        data=symbols,
        value=symbols,
        searchable=True,
        clearable=True,
        persistence=True,
        persistence_type="memory",
    )
    return dmc.Stack(
        [
            dmc.Title("Efficient frontier", order=2),
            dmc.Text("For each expected return, the portfolio that reaches it with the least volatility."),
            assets,
            dmc.Button("Compute", id="frontier-start", w="fit-content"),
            panel(job),
        ]
    )


@panel.start(Input("frontier-start", "n_clicks"), State("frontier-assets", "value"))
def start(_: int, assets: list[str]) -> JobHandle:
    if len(assets) < 2:
        raise SubmitRefused("Choose at least two assets.")
    return efficient_frontier(assets)
