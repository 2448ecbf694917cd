"""Put among a pushed app's pages: the job with its panel, a quick callback and a background callback. All compute a square."""

import time

import dash
from app.jobs.rehearsal import square  # type: ignore[import-not-found]
from dash import Input, Output, State, callback, dcc, html
from dash.development.base_component import Component

from app.access import jobs

dash.register_page(__name__, path="/rehearsal", name="Rehearsal", order=99)

panel = jobs.panel(__name__, task=square)


def layout(job: str | None = None, **_: object) -> Component:
    fields = [dcc.Input(id=f"rehearsal-{name}", type="number") for name in ("number", "seconds")]
    buttons = [html.Button(id=f"rehearsal-{name}") for name in ("start", "background")]
    answers = [html.P(id=f"rehearsal-{name}") for name in ("quick", "slow")]
    return html.Div([*fields, *buttons, *answers, panel(job)])


@panel.start(
    Input("rehearsal-start", "n_clicks"), State("rehearsal-number", "value"), State("rehearsal-seconds", "value")
)
def start(_: int, number: int, seconds: float) -> object:
    return square(number, seconds)


@callback(Output("rehearsal-quick", "children"), Input("rehearsal-number", "value"), prevent_initial_call=True)
def quick(number: int) -> int:
    return number**2


@callback(
    Output("rehearsal-slow", "children"),
    Input("rehearsal-background", "n_clicks"),
    State("rehearsal-number", "value"),
    State("rehearsal-seconds", "value"),
    background=True,
    prevent_initial_call=True,
)
def slow(_: int, number: int, seconds: float) -> int:
    time.sleep(seconds)
    return number**2
