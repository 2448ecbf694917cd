"""The web process: `python -m app web` serves it."""

import html

import dash
import dash_mantine_components as dmc
from dash import Dash, hooks
from flask import Flask, redirect, request
from jobqueue.dash import Errors, HueyManager
from jobqueue.dash import pages as jobs_pages
from jobqueue.telemetry import watch
from jobqueue.web.preparing import prepare
from werkzeug.wrappers import Response

from app import shell
from app.access import accounts, jobs
from app.jobs import huey
from app.settings import project, settings

server = Flask(__name__)
debugging = server.debug and not settings.production  # `make start` sets it
errors = Errors(jobs, debugging)


def first_page() -> Response:
    """Redirect to the first page."""
    query = request.query_string.decode(errors="replace")
    return redirect(dash.get_relative_path(shell.pages()[0]["path"]) + (f"?{query}" if query else ""))


dmc.pre_render_color_scheme()


@hooks.index()
def with_language(page: str) -> str:
    """Return Dash's HTML with the language of the app's texts, which screen readers ask for."""
    return page.replace("<html", '<html lang="en"', 1)


app = Dash(
    __package__,  # names the pages' modules app.pages.*, as imports do
    server=server,  # type: ignore[arg-type]  # Dash's types do not know Flask
    use_pages=True,
    background_callback_manager=HueyManager(huey),
    title=html.escape(project.title),  # Dash does not escape it
    update_title="",
    include_pages_meta=False,
    on_error=errors.in_callback,
    suppress_callback_exceptions=True,  # a page's components are known when it is shown, not before
    **settings.for_dash(),
)
app.layout = shell.layout
jobs_pages.add(app, huey, viewer=accounts.visitor)
for page in dash.page_registry.values():
    page["title"] = f"{page['name']} · {project.title}"
errors.install(app)
accounts.protect(server, app)

if all(page["path"] != "/" for page in dash.page_registry.values()):  # Dash would answer that there is no such page
    server.view_functions[app.config.routes_pathname_prefix] = first_page
server.add_url_rule("/", "first_page", first_page)  # also without the URL prefix
if debugging:
    app.enable_dev_tools(debug=True, dev_tools_disable_version_check=True, dev_tools_hot_reload_max_retry=1000)
else:  # the dev tools need inline scripts, which the headers forbid
    accounts.harden(server, app)
prepare(app, huey)  # probes, compression and limits
watch(server, huey, settings)  # a line for each request, /metrics, and errors
