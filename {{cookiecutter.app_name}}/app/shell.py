"""The shell around every page: header, menu, account and footer."""

from typing import Any

import dash
import dash_mantine_components as dmc
from dash import ALL, Input, Output, clientside_callback, html
from dash.development.base_component import Component
from jobqueue.dash.errors import NOTICES

from app.access import accounts, jobs
from app.settings import project

WIDE = "sm"  # Mantine's width (768 pixels) from which the header has room for the pages' names


def layout() -> Component:
    """Return the shell with the current page in it."""
    toggle = dmc.ColorSchemeToggle(
        lightIcon="☀", darkIcon="☾", variant="subtle", color="gray", size="lg", **{"aria-label": "Light or dark"}
    )
    header = dmc.Group(
        [
            menu(),
            dmc.Title(project.title, order=1, size="h4", lineClamp=1, flex=1),
            html.Nav(
                dmc.Group([link_to(page, w="auto") for page in pages()], gap=4, wrap="nowrap", visibleFrom=WIDE),
                style={"overflowX": "auto", "minWidth": 0},  # many pages
            ),
            jobs.my_jobs(),
            *account(),
            toggle,
        ],
        h="100%",
        px="md",
        wrap="nowrap",
    )
    footer = dmc.Text(" · ".join(filter(None, [project.description, project.author])), size="xs", c="dimmed", mt="xl")
    main = dmc.Container([dash.page_container, footer], size="xl", py="lg")
    return dmc.MantineProvider(
        [
            dmc.NotificationContainer(id=NOTICES, position="top-center"),
            dmc.AppShell([dmc.AppShellHeader(header), dmc.AppShellMain(main)], header={"height": 56}),
        ],
        defaultColorScheme="auto",
        theme={"primaryShade": 8},  # dark enough for white text, as in assets/colours.css
    )


def pages() -> list[dict[str, Any]]:
    """Return the pages of the menu in their `order`. Pages with a variable part in their address are not among them."""
    registered = dash.page_registry.values()
    return [page for page in registered if not page["path_template"] and not page["module"].endswith("not_found_404")]


def menu() -> Component:
    """Return the menu of a narrow screen."""
    words = {"aria-label": "Pages", "aria-haspopup": "true", "aria-expanded": "false"}
    button = dmc.ActionIcon("☰", id="pages-button", variant="subtle", color="gray", size="lg", **words)
    names = [link_to(page, id={"menu": page["path"]}) for page in pages()]
    return dmc.Popover(
        [
            dmc.PopoverTarget(button, boxWrapperProps={"hiddenFrom": WIDE}),
            dmc.PopoverDropdown(html.Nav(names), p=4),
        ],
        id="pages-menu",
        position="bottom-start",
        width=200,
        trapFocus=True,
        returnFocus=True,
        withRoles=False,  # they would be on the box around the button, which screen readers pass over
    )


def link_to(page: dict[str, Any], **more: Any) -> Component:
    """Return a menu entry."""
    address = dash.get_relative_path(page["path"])
    return dmc.NavLink(label=page["name"], href=address, active="partial", style={"borderRadius": 4}, **more)


def account() -> list[Component]:
    """Return a link to the account of the logged-in visitor, if any."""
    who = accounts.logged_in()
    if who is None:
        return []
    initial = dmc.Avatar(who.name[0].upper(), size="sm", color="blue")
    label = {"aria-label": f"The account of {who.name}"}
    return [dmc.Anchor(initial, href=dash.get_relative_path("/account"), refresh=True, **label)]


# Close the menu when one of its links is clicked.
clientside_callback(
    "() => false", Output("pages-menu", "opened"), Input({"menu": ALL}, "n_clicks"), prevent_initial_call=True
)
clientside_callback(
    "opened => String(Boolean(opened))", Output("pages-button", "aria-expanded"), Input("pages-menu", "opened")
)
