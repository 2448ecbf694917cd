"""The web process: Dash on Flask. It knows pages, and of jobs that an address may name one; the rest a page imports.

`gunicorn app.web:server` serves it. Everything a browser loads comes from here: no request goes to another host.
"""

import contextlib
import html as text
import logging
from collections.abc import Callable
from typing import Any

import dash
import dash_mantine_components as dmc
from dash import ALL, Dash, Input, Output, clientside_callback, html, set_props
from dash.development.base_component import Component
from dash.exceptions import DependencyException
from flask import Flask, abort, jsonify, redirect, request
from jobqueue import DatabaseUnavailable, JobNotFound, SubmitRefused
from jobqueue.accounts import Accounts, forms
from jobqueue.dash import pages as jobs_pages
from jobqueue.dash.callback_updates import CALL
from jobqueue.dash.manager import HueyManager
from jobqueue.dash.panel_view import no_such_job
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

from app import callback_requests, visible
from app.jobs import huey
from app.settings import project, settings

NOTICE = 5000  # milliseconds that a notice stays
WIDE = "sm"  # from this of Mantine's widths on (768 pixels) the header has room for the pages' names

logger = logging.getLogger("app.web")

server = Flask(__name__)
accounts = Accounts(huey, settings, title=project.title)
debugging = server.debug and not settings.production  # `make start` sets it


@server.get("/")
def first_page() -> Response:
    """The address without a path is the first page's."""
    query = request.query_string.decode(errors="replace")
    return redirect(pages()[0]["path"] + (f"?{query}" if query else ""))


@server.after_request
def as_what_does_not_exist(response: Response) -> Response:
    """The page of a job that is not there, or is somebody else's, says so as browsers and programs expect."""
    job = request.args.get("job")
    if response.status_code == 200 and request.endpoint == "/<path:path>" and job:
        with contextlib.suppress(DatabaseUnavailable):  # which the page itself says
            response.status_code = 200 if visible.there(job) else 404
    return response


def pages() -> list[dict[str, Any]]:
    """Those in app/pages, in their `order`, and the queue's; of pages whose address has a part in it there are ever so many."""
    found = dash.page_registry.values()
    return [page for page in found if not page["path_template"] and not page["module"].endswith("not_found_404")]


def shell() -> Component:
    """What every page is shown in."""
    toggle = dmc.ColorSchemeToggle(
        lightIcon="☀", darkIcon="☾", variant="subtle", color="gray", size="lg", **{"aria-label": "Light or dark"}
    )
    header = dmc.Group(
        [
            menu(),
            dmc.Title(project.title, order=1, size="h4", lineClamp=1, flex=1),
            html.Nav(
                dmc.Group([link_to(page, w="auto") for page in pages()], gap=4, wrap="nowrap", visibleFrom=WIDE),
                style={"overflowX": "auto", "minWidth": 0},  # of ever so many
            ),
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
            dmc.NotificationContainer(id="notices", position="top-center"),
            dmc.AppShell([dmc.AppShellHeader(header), dmc.AppShellMain(main)], header={"height": 56}),
        ],
        defaultColorScheme="auto",
        theme={"primaryShade": 8},  # on which white can be read, as in assets/colours.css
    )


def menu() -> Component:
    """The pages' names, where the header has no room for them."""
    button = dmc.ActionIcon("☰", variant="subtle", color="gray", size="lg", **{"aria-label": "Pages"})
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
    )


def link_to(page: dict[str, Any], **more: Any) -> Component:
    return dmc.NavLink(label=page["name"], href=page["path"], active="partial", style={"borderRadius": 4}, **more)


clientside_callback(
    "() => false", Output("pages-menu", "opened"), Input({"menu": ALL}, "n_clicks"), prevent_initial_call=True
)


def account() -> list[Component]:
    """Who is logged in, as a link to the password and the way out."""
    who = accounts.logged_in()
    if who is None:
        return []
    initial = dmc.Avatar(who.name[0].upper(), size="sm", color="blue")
    return [dmc.Anchor(initial, href="/account", refresh=True, **{"aria-label": f"The account of {who.name}"})]


# --- what a person sees when something fails: words; while debugging a mistake goes on, to Dash's own dev tools ---


def in_a_notice(error: Exception) -> None:
    """For callbacks."""
    if isinstance(error, HTTPException):
        raise error
    if isinstance(error, JobNotFound):
        abort(404)
    if debugging and not isinstance(error, DatabaseUnavailable | SubmitRefused):
        raise error
    if not isinstance(error, SubmitRefused):
        logger.error("A callback failed.", exc_info=error)
    if CALL in request.headers:  # of the background, from which Dash takes no set_props here
        abort(as_an_answer(error))
    set_props("notices", notice(error))


def notice(error: Exception) -> dict[str, Any]:
    shown = {"id": "trouble", **in_words(error), "autoClose": NOTICE}
    return {"sendNotifications": [shown | {"action": "show"}, shown | {"action": "update"}]}


def as_an_answer(error: Exception) -> Response:
    """To a callback, which changes nothing."""
    return jsonify(multi=True, response={}, sideUpdate={"notices": notice(error)})


@server.errorhandler(DatabaseUnavailable)
def before_any_page(error: DatabaseUnavailable) -> Any:
    """Where not even who asks can be told."""
    logger.error("The database does not answer.", exc_info=error)
    asked_again = CALL in request.headers or "cacheKey" in request.args  # as a callback of the background is
    if request.endpoint == callback_requests.ENDPOINT and not asked_again:
        return as_an_answer(error)
    words = in_words(error)
    if request.accept_mimetypes.best_match(["text/plain", "text/html"]) == "text/html":  # as a browser asks for a page
        return forms.trouble(words["title"], words["message"], project.title), 503
    return f"{words['title']}. {words['message']}", 503, {"Content-Type": "text/plain"}


def in_its_place(layout: Callable[..., Component] | Component) -> Callable[..., Component]:
    """For pages, whose layout is a function or a component: the words stand where the page would."""

    def show(**query: Any) -> Component:
        try:
            if not callable(layout):
                return layout
            if (job := query.get("job")) and not visible.there(job):
                return dmc.Stack([no_such_job(job), layout(**query | {"job": None})])
            return layout(**query)
        except Exception as error:
            if debugging and not isinstance(error, DatabaseUnavailable):
                raise
            logger.exception("A page cannot be shown.")
            words = in_words(error)
            return dmc.Alert(words["message"], title=words["title"], color=words["color"])

    return show


def in_words(error: Exception) -> dict[str, str]:
    if isinstance(error, DatabaseUnavailable):
        title, message = "The database does not answer", "Jobs that run go on. Try again in a moment."
    elif isinstance(error, SubmitRefused):
        title, message = "Too many jobs at once", str(error)
    else:
        title, message = "Something went wrong", "The server's log says what. Try again, or go on with something else."
    return {"title": title, "message": message, "color": "red"}


dmc.pre_render_color_scheme()
app = Dash(
    __package__,  # so that a page is one module, app.pages.hello, whoever imports it
    server=server,  # type: ignore[arg-type]  # a Flask server is what it is meant to take
    use_pages=True,
    background_callback_manager=HueyManager(huey),  # workers import this, too, where a page has use for it
    title=text.escape(project.title),  # Dash puts it into the HTML as it is
    update_title="",
    include_pages_meta=False,
    health_endpoint="health",
    on_error=in_a_notice,
    # Pages are made when they are asked for, not all at the first request, only to learn which ids they have.
    suppress_callback_exceptions=True,
)
app.layout = shell
jobs_pages.add(app, huey, viewer=accounts.visitor)
for page in dash.page_registry.values():
    page["title"] = f"{page['name']} · {project.title}"
    page["layout"] = in_its_place(page["layout"])

server.register_error_handler(DependencyException, lambda _: ("There is no such file.", 404))
accounts.protect(server)
if debugging:
    app.enable_dev_tools(debug=True, dev_tools_disable_version_check=True, dev_tools_hot_reload_max_retry=1000)
else:  # those tools are scripts in the page, and show what failed
    accounts.harden(server, app)
    callback_requests.refuse_others(server, app)
