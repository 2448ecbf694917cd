"""A page for a baked app: the counting job as a background callback."""

from collections.abc import Callable
from typing import Any

import dash
import dash_mantine_components as dmc
from app.jobs.counting import count_patiently  # type: ignore[import-not-found]
from dash import Input, Output, State, callback, html, set_props
from dash.development.base_component import Component

from jobqueue.dash.background import found_after_reload

dash.register_page(__name__, path="/counting-callback", name="Callback", order=92)


def layout(**_: object) -> Component:
    return html.Div(
        [
            dmc.TextInput(id="callback-name", label="Name"),
            dmc.Button("Start", id="callback-start"),
            dmc.Button("Cancel", id="callback-cancel"),
            *(html.P(id=f"callback-{part}") for part in ("state", "progress", "beside", "result")),
        ]
    )


@callback(
    Output("callback-result", "children"),
    Input("callback-start", "n_clicks"),
    State("callback-name", "value"),
    background=True,
    interval=200,
    prevent_initial_call=True,
    running=[(Output("callback-state", "children"), "It runs.", "It rests.")],
    progress=Output("callback-progress", "children"),
    progress_default=[""],
    cancel=Input("callback-cancel", "n_clicks"),
)
@found_after_reload
def count(set_progress: Callable[[Any], None], _: int, name: str) -> str:
    set_props("callback-beside", {"children": f"beside {name}"})
    return count_patiently(name, set_progress)
