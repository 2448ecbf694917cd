"""Errors in words: the answer that a person gets when a callback or a page fails.

    errors = Errors(access)
    app = Dash(..., on_error=errors.in_callback)
    errors.install(app)

The layout needs a `dmc.NotificationContainer(id=NOTICES)`, in which the errors of callbacks are shown.
"""

import contextlib
import html
import logging
from collections.abc import Callable
from typing import Any

import dash
import dash_mantine_components as dmc
from dash import Dash, hooks, set_props
from dash._pages import _path_to_page
from dash.development.base_component import Component
from dash.exceptions import BackgroundCallbackError, DependencyException
from flask import abort, jsonify, request
from werkzeug.exceptions import HTTPException, NotFound
from werkzeug.wrappers import Response

from jobqueue.dash.access import Access
from jobqueue.dash.callback_updates import CALL
from jobqueue.dash.panel_view import no_such_job, too_large
from jobqueue.database import patience
from jobqueue.database.database import DatabaseUnavailable
from jobqueue.execution.current_job import SubmitRefused
from jobqueue.files.refusals import FileRefused
from jobqueue.jobs.job import JobNotFound
from jobqueue.plain_page import plain_page
from jobqueue.tasks.submission import ArgumentsTooLarge
from jobqueue.text import ERROR, said

NOTICES = "notices"  # the id of the layout's NotificationContainer
CALLBACKS = "_dash-update-component"  # Dash's endpoint for callbacks, after the app's prefix
PAGES = "<path:path>"  # Dash's endpoint for pages, after the app's prefix

# Pages without Dash, which serves nothing without a log-in, and nothing while the database is away.
MISSING = '<p>Check the address, or go to <a href="{{ root }}">the first page</a>.</p>'
UNAVAILABLE = '<p>{{ message }}</p><p><a href="">Try again</a></p>'

IN_WORDS = (ArgumentsTooLarge, DatabaseUnavailable, FileRefused, SubmitRefused)  # exceptions with words of their own

logger = logging.getLogger("jobqueue.dash.errors")

hooks.script([{"namespace": "jobqueue", "relative_package_path": "dash/assets/notices.js"}])


class Errors:
    """Error handling of an app.

    :param access: the jobs that a visitor may see.
    :param debug: leave programming errors to Dash's dev tools.
    """

    _app: Dash  # set by `install`

    def __init__(self, access: Access, debug: bool = False) -> None:
        self.access = access
        self.debug = debug

    def install(self, app: Dash) -> None:
        """Handle the errors of all pages that are registered by now, and those outside of callbacks and pages."""
        self._app = app
        for page in dash.page_registry.values() if app.use_pages else ():
            page["layout"] = self.in_page(page["layout"])
        app.server.before_request(patience.begin_request)
        app.server.teardown_request(patience.end_request)
        app.server.after_request(self._missing_is_404)
        app.server.register_error_handler(DatabaseUnavailable, self._unavailable)
        app.server.register_error_handler(NotFound, lambda _: (self._missing(), 404))
        app.server.register_error_handler(DependencyException, lambda _: ("There is no such file.", 404))

    def in_callback(self, error: Exception) -> None:
        """Show the error of a callback in a notice, and log it."""
        error = _of_job(error) if isinstance(error, BackgroundCallbackError) else error
        if isinstance(error, HTTPException):
            raise error
        if isinstance(error, JobNotFound):
            abort(404)
        if self.debug and not isinstance(error, IN_WORDS):
            raise error
        if not isinstance(error, SubmitRefused | FileRefused | DatabaseUnavailable):  # the database has logged why
            logger.error("A callback failed.", exc_info=error)
        if CALL in request.headers:  # a background callback, for which Dash ignores set_props here
            abort(_as_answer(error))
        set_props(NOTICES, _notice(error))

    def in_page(self, layout: Callable[..., Component] | Component) -> Callable[..., Component]:
        """Return a layout that shows an error in the page's place.

        An address with the id of an unknown job shows a note above the page without that job.
        """

        def show(**query: Any) -> Component:
            try:
                if not callable(layout):
                    return layout
                if (job := query.get("job")) and not self.access.there(job):
                    return dmc.Stack([no_such_job(job), layout(**query | {"job": None})])
                return layout(**query)
            except Exception as error:
                if self.debug and not isinstance(error, DatabaseUnavailable):
                    raise
                if not isinstance(error, DatabaseUnavailable):
                    logger.exception("A page cannot be shown.")
                words = in_words(error)
                return dmc.Alert(words["message"], title=words["title"], color=words["color"])

        return show

    def _missing_is_404(self, response: Response) -> Response:
        """Answer 404 for an unknown page, and for a page of an unknown job, for browsers and programs.

        Dash's page for unknown addresses stays as it is. A redirect to the log-in becomes a page without Dash.
        """
        if not self._is_for(PAGES) or response.status_code not in (200, 302):
            return response
        if self._app.use_pages and not _is_page(request.path.removeprefix(self._prefix)):
            if response.status_code == 302:
                del response.headers["Location"]
                response.set_data(self._missing())
            response.status_code = 404
        elif response.status_code == 200 and (job := request.args.get("job")):
            with contextlib.suppress(DatabaseUnavailable):  # the page itself says so
                response.status_code = 200 if self.access.there(job) else 404
        return response

    def _unavailable(self, error: DatabaseUnavailable) -> Any:
        """Answer a request that failed before its page or callback began, such as the lookup of a session."""
        repeated = CALL in request.headers or "cacheKey" in request.args  # the browser repeats background callbacks
        if self._is_for(CALLBACKS) and not repeated:
            return _as_answer(error)
        words = in_words(error)
        if request.accept_mimetypes.best_match(["text/plain", "text/html"]) == "text/html":
            return self._page(words["title"], UNAVAILABLE, message=words["message"]), 503
        return f"{words['title']}. {words['message']}", 503, {"Content-Type": "text/plain"}

    def _is_for(self, endpoint: str) -> bool:
        """Return whether the request is for one of Dash's endpoints, which it names after their addresses."""
        return request.endpoint == self._prefix + endpoint

    @property
    def _prefix(self) -> str:
        """Return the URL prefix that the server sees."""
        return str(self._app.config.routes_pathname_prefix)

    def _missing(self) -> str:
        return self._page("There is no such page", MISSING)

    def _page(self, heading: str, content: str, **shown: Any) -> str:
        """Return a page without Dash. Dash's title is HTML."""
        root = self._app.config.requests_pathname_prefix
        return plain_page(heading, content, html.unescape(self._app.title), root=root, **shown)


def _is_page(path: str) -> bool:
    """Return whether an app with Dash's pages has one at a path without the prefix."""
    page, _ = _path_to_page(path.strip("/"))
    return bool(page) and not page["module"].endswith("not_found_404")


def in_words(error: Exception) -> dict[str, str]:
    """Return title, message and colour for an error. A mistake in the app has no details for the user."""
    if isinstance(error, DatabaseUnavailable):
        title, message = "The database does not answer", "Running jobs are not affected. Try again in a moment."
    elif isinstance(error, SubmitRefused):
        title, message = "Not started", said(error, ERROR)
    elif isinstance(error, FileRefused):
        title, message = "The file cannot be used", said(error, ERROR)
    elif isinstance(error, ArgumentsTooLarge):
        title, message = "Not started", too_large(error)
    else:
        title, message = "Something went wrong", "Try again. If it happens again, tell the administrator of this app."
    return {"title": title, "message": message, "color": "red"}


def _of_job(error: BackgroundCallbackError) -> Exception:
    """Return the exception that a background callback's job raised, as far as it has words of its own here."""
    _, _, raised = str(error).partition("inside a background callback: ")
    name, _, rest = raised.partition(": ")
    kind = {
        "SubmitRefused": SubmitRefused,
        "DatabaseUnavailable": DatabaseUnavailable,
        "QueueUnavailable": DatabaseUnavailable,
    }
    return kind[name](rest.partition("\nTraceback ")[0].strip()) if name in kind else error


def _notice(error: Exception) -> dict[str, Any]:
    close = {"closeButtonProps": {"aria-label": "Close"}}
    shown = {"id": "trouble", **in_words(error), "autoClose": False, **close}
    return {"sendNotifications": [shown | {"action": "show"}, shown | {"action": "update"}]}


def _as_answer(error: Exception) -> Response:
    """Return an answer to a callback that shows the notice and changes nothing else."""
    return jsonify(multi=True, response={}, sideUpdate={NOTICES: _notice(error)})
