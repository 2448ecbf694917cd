"""A page's module. Its callback is registered without an app."""

from dash import Input, Output, callback, html

layout = html.Div()


@callback(
    Output("page-out", "children"), Input("page-in", "value"), background=True, prevent_initial_call=True, hidden=True
)
def update(value: int) -> str:
    return f"the page's {value}"
