"""The web process: Dash on Flask. It knows pages, not jobs; what a page needs of the queue, the page imports.

`gunicorn app.web:server` serves it. Everything a browser loads comes from here: no request goes to another host.
"""

import html as text
import logging

import dash
import dash_mantine_components as dmc
from dash import Dash, ctx, html, set_props
from flask import Flask, redirect, request
from werkzeug.wrappers import Response

from app.about import about
from app.settings import settings
from jobqueue import DatabaseUnavailable

NOTICE = 5000  # milliseconds that a notice stays

logger = logging.getLogger("app.web")

server = Flask(__name__)


@server.get("/")
def first_page() -> Response:
    """The address without a path is the first page's."""
    query = request.query_string.decode()
    return redirect(pages()[0]["path"] + (f"?{query}" if query else ""))


def pages() -> list[dict[str, str]]:
    """Those in app/pages, in their `order`."""
    return [page for page in dash.page_registry.values() if page["module"].split(".")[-1] != "not_found_404"]


def tell(error: Exception) -> None:
    """What a person sees when a callback fails. In development a mistake goes on, to Dash's own dev tools."""
    if isinstance(error, DatabaseUnavailable):
        title, message = "The database does not answer", "What is running goes on. Try again in a moment."
    elif settings.production:
        title, message = "Something went wrong", "It was written to the server's log. Try again, or reload the page."
    else:
        raise error
    logger.error("A callback failed.", exc_info=error)
    page_is_missing = ctx.triggered_id in (None, "_pages_location")  # then the notice stays; else it passes with the trouble
    notice = {"id": "trouble", "title": title, "message": message, "color": "red"}
    notice["autoClose"] = False if page_is_missing else NOTICE
    set_props("notices", {"sendNotifications": [notice | {"action": "show"}, notice | {"action": "update"}]})


def shell() -> dmc.MantineProvider:
    """What every page is shown in."""
    links = [
        dmc.NavLink(label=page["name"], href=page["path"], active="partial", w="auto", style={"borderRadius": 4})
        for page in pages()
    ]
    header = dmc.Group(
        [
            dmc.Title(about.title, order=1, size="h4", lineClamp=1, flex=1),
            html.Nav(dmc.Group(links, gap=4, wrap="nowrap")),
            dmc.ColorSchemeToggle(lightIcon="☀", darkIcon="☾", variant="subtle", color="gray", size="lg", **{"aria-label": "Light or dark"}),
        ],
        h="100%",
        px="md",
        wrap="nowrap",
    )
    return dmc.MantineProvider(
        [
            dmc.NotificationContainer(id="notices", position="top-center"),
            dmc.AppShell(
                [dmc.AppShellHeader(header), dmc.AppShellMain(dmc.Container(dash.page_container, size="xl", py="lg"))],
                header={"height": 56},
            ),
        ],
        defaultColorScheme="auto",
    )


dmc.pre_render_color_scheme()
app = Dash(
    __name__,
    server=server,
    use_pages=True,
    title=text.escape(about.title),
    update_title="",
    include_pages_meta=False,
    health_endpoint="health",
    # Pages are rendered when they are asked for, not all at the first request to find out which ids there are.
    suppress_callback_exceptions=True,
    on_error=tell,
)
for page in dash.page_registry.values():
    page["title"] = f"{page['name']} · {about.title}"
app.layout = shell

if not settings.production:
    app.enable_dev_tools(debug=True, dev_tools_hot_reload=False, dev_tools_serve_dev_bundles=False, dev_tools_disable_version_check=True)
