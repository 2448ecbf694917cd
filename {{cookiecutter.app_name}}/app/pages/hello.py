"""The smallest page: ask for a job, watch it, see what came of it. Copy this file for one of your own."""

from typing import Any

import dash
import dash_mantine_components as dmc
from dash import Input, Output, State, callback, dcc, html
from dash.development.base_component import Component
from jobqueue import QueueUnavailable
from jobqueue.dash.panel_view import try_again

from app import visible
from app.jobs.hello import greet

dash.register_page(__name__, path="/hello", name="Hello", order=90)

panel = visible.Panel(__name__, task=greet)


def layout(job: Any = None, **_: object) -> Component:
    """The job's id is in the address, so a reload, or another browser, shows the same job."""
    return dmc.Stack(
        [
            dmc.Title("Hello", order=2),
            dmc.TextInput(id="hello-name", label="Your name", value="world", maw=300),
            dmc.Button("Say hello", id="hello-start", w="fit-content"),
            html.Div(id="hello-trouble"),
            panel(job),
            dcc.Location(id="hello-address", refresh="callback-nav"),
        ]
    )


@callback(
    Output("hello-address", "search"),
    Output("hello-trouble", "children"),
    Input("hello-start", "n_clicks"),
    State("hello-name", "value"),
    running=[(Output("hello-start", "disabled"), True, False)],
    prevent_initial_call=True,
)
def start(_: int, name: str) -> tuple[Any, Component | None]:
    try:
        return f"?job={greet(name).id}", None
    except QueueUnavailable:
        return dash.no_update, try_again()
