"""The page for unknown addresses."""

import dash
import dash_mantine_components as dmc
from dash.development.base_component import Component

dash.register_page(__name__, path="/404", name="Not found")


def layout(**_: object) -> Component:
    return dmc.Stack([dmc.Title("There is no such page", order=2), dmc.Text("All pages are in the menu above.")])
