"""The smallest page: start a job and watch it. Copy this file for a page of your own."""

import dash
import dash_mantine_components as dmc
from dash import Input, State
from jobqueue import JobHandle

from app.access import jobs
from app.jobs.hello import greet

dash.register_page(__name__, path="/hello", name="Hello", order=90)

panel = jobs.panel(__name__, task=greet)


def layout(job: str | None = None, **_: str) -> dmc.Stack:
    """Show the job that the address names, as in /hello?job=<id>."""
    name = dmc.TextInput(
        id="hello-name", label="Your name", value="world", maw=300, persistence=True, persistence_type="memory"
    )
    button = dmc.Button("Say hello", id="hello-start", w="fit-content")
    return dmc.Stack([dmc.Title("Hello", order=2), name, button, panel(job)])


@panel.start(Input("hello-start", "n_clicks"), State("hello-name", "value"))
def start(_: int, name: str) -> JobHandle:
    """Start a job. The panel shows it and puts its id into the address."""
    return greet(name)
