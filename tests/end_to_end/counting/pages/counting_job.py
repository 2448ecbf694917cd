"""A page for a baked app: the counting job and its panel."""

from typing import Any

import dash
import dash_mantine_components as dmc
from app.jobs.counting import count  # type: ignore[import-not-found]
from dash import Input, Output, State, callback, dcc, html
from dash.development.base_component import Component

from app.jobs import huey
from jobqueue.dash.panel import JobPanel

dash.register_page(__name__, path="/counting-job", name="Job", order=91)

panel = JobPanel(huey, __name__, task=count)


def layout(job: Any = None, **_: object) -> Component:
    return html.Div(
        [
            dmc.TextInput(id="job-name", label="Name"),
            dmc.Button("Start", id="job-start"),
            panel(job),
            dcc.Location(id="job-address", refresh="callback-nav"),
        ]
    )


@callback(
    Output("job-address", "search"),
    Input("job-start", "n_clicks"),
    State("job-name", "value"),
    prevent_initial_call=True,
)
def start(_: int, name: str) -> str:
    return f"?job={count(name).id}"
