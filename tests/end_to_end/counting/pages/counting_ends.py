"""A page for a baked app: background callbacks without outputs, with partly unchanged progress and a large Store."""

from collections.abc import Callable
from typing import Any

import dash
import dash_mantine_components as dmc
from dash import Input, Output, State, callback, clientside_callback, dcc, html, no_update, set_props
from dash.development.base_component import Component

dash.register_page(__name__, path="/counting-ends", name="Ends", order=93)


def layout(**_: object) -> Component:
    return html.Div(
        [
            *(dmc.Button(name.title(), id=f"ends-{name}") for name in ("fail", "fill", "count")),
            *(html.P(id=f"ends-{part}") for part in ("state", "part", "note", "beside", "result")),
            dcc.Store(id="ends-store"),
        ]
    )


@callback(
    Input("ends-fail", "n_clicks"),
    background=True,
    interval=200,
    prevent_initial_call=True,
    running=[(Output("ends-state", "children"), "It runs.", "It rests.")],
    progress=[Output("ends-part", "children"), Output("ends-note", "children")],
)
def fail(set_progress: Callable[[Any], None], _: int) -> None:
    set_progress(("the first part", "begun"))
    set_progress((no_update, "about to fail"))
    set_props("ends-beside", {"children": "set before"})
    raise ValueError("a secret")


clientside_callback(
    "() => Array.from({length: 60000}, (_, row) => ({row, name: `name ${row}`, price: row / 7, note: 'as before'}))",
    Output("ends-store", "data"),
    Input("ends-fill", "n_clicks"),
    prevent_initial_call=True,
)


@callback(
    Output("ends-result", "children"),
    Input("ends-count", "n_clicks"),
    State("ends-store", "data"),
    background=True,
    interval=200,
    prevent_initial_call=True,
)
def count(_: int, rows: list[Any]) -> str:
    return f"{len(rows)} rows"
