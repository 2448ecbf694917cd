"""Show a Dash app below a cell.

The kernel serves the app from a port of its own. Behind a base URL, as under JupyterHub, the frame goes through
jupyter-server-proxy, and the app's links get its prefix.
"""

import json
import logging
import os
import threading
import traceback
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dash import Dash

HOST = "127.0.0.1"
HEIGHT = 650  # pixels of the frame

_serving: ContextVar["AppServer | None"] = ContextVar(
    "serving", default=None
)  # the server that this thread answers for
_servers: dict[str, "AppServer"] = {}  # by the app's name: a notebook may make its app again


def show(app: "Dash", path: str = "/", *, height: int = HEIGHT) -> None:
    """Show a Dash app below the cell, and the errors of its callbacks below that.

    Example::

        from app.web import app

        show(app)                                         # the first page
        show(app, "/hello?job=" + handle.id, height=500)

    :param app: a Dash app, also one that is made in a cell.
    :param path: the address of a page, without a prefix. It may have a query.
    :param height: the frame's height in pixels.

    The server starts with the first call, and ends with the kernel, or when the notebook makes an app of the same name again.
    Raises TypeError for anything but a Dash app, ValueError for a page that the app does not have, and RuntimeError if the
    browser could not reach the frame.
    """
    from IPython.display import IFrame, display

    _check_app(app)
    _check_path(app, path)
    server = _server_of(app)
    server.set_prefix(base_url())
    display(IFrame(server.address(path), "100%", height))
    server.show_errors_in(display({"text/plain": ""}, raw=True, display_id=True))


def _check_app(app: Any) -> None:
    from dash import Dash
    from flask import Flask

    if isinstance(app, Flask):
        raise TypeError("show() takes a Dash app, not a Flask server. Pass app, not app.server.")
    if not isinstance(app, Dash):
        raise TypeError(f"show() takes a Dash app, not {app!r:.100}.")


def _check_path(app: "Dash", path: str) -> None:
    import dash
    from dash._pages import _path_to_page

    if not path.startswith("/"):
        raise ValueError(f"The path {path!r} does not begin with a slash. Pass a page's address, such as /jobs.")
    bare = path.partition("?")[0].partition("#")[0]
    if app.use_pages and bare != "/" and not _path_to_page(bare.strip("/"))[0]:
        pages = [page["path_template"] or page["path"] for page in dash.page_registry.values()]
        known = ", ".join(sorted(page for page in pages if not page.endswith("not-found-404")))
        raise ValueError(f'No page has the path "{bare}". Pages: {known}.')


def _server_of(app: "Dash") -> "AppServer":
    """Return the server of an app. Close the server of an earlier app of the same name."""
    name: str = app.config.name
    server = _servers.get(name)
    if server is not None and server.app is not app:
        server.close()
        server = None
    if server is None:
        server = _servers[name] = AppServer(app)
    return server


class AppServer:
    """An HTTP server for one app, in threads of the kernel."""

    def __init__(self, app: "Dash") -> None:
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Quiet(WSGIRequestHandler):
            def log(self, type: str, message: str, *args: Any) -> None:
                """Log no requests: the lines would appear below any cell."""

        self.app = app
        self._routes: str = app.config.routes_pathname_prefix
        self._prefix = ""
        self._errors = ErrorDisplay()
        self._server = make_server(HOST, 0, self._answer, threaded=True, request_handler=Quiet)
        threading.Thread(target=self._server.serve_forever, name="show", daemon=True).start()

    @property
    def port(self) -> int:
        return self._server.port

    def set_prefix(self, base: str) -> None:
        """Give the app's links the prefix by which the browser reaches this server.

        :param base: the base URL of the Jupyter server, such as "/user/ann/".
        """
        if base == "/":
            return
        if find_spec("jupyter_server_proxy") is None:
            raise RuntimeError(
                f"This notebook runs behind {base}, which needs jupyter-server-proxy to reach port {self.port}. Install it "
                f"where JupyterLab runs, or open http://{HOST}:{self.port}{self._routes} on that machine."
            )
        self._prefix = f"{base}proxy/{self.port}"
        # Dash makes its configuration read-only. The prefix depends on the port, so it cannot be set earlier.
        dict.__setitem__(self.app.config, "requests_pathname_prefix", self._prefix + self._routes)

    def address(self, path: str) -> str:
        """Return the address of a page for the browser."""
        return (self._prefix or f"http://{HOST}:{self.port}") + self._routes.rstrip("/") + path

    def show_errors_in(self, handle: Any) -> None:
        """Show errors in this display from now on."""
        self._errors.shown_in = handle

    def close(self) -> None:
        """Stop serving, and free the port."""
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        _serving.set(self)
        logging.getLogger().addHandler(self._errors)  # each handler is added once
        answer: Iterable[bytes] = self.app.server.wsgi_app(environ, start_response)
        return answer


class ErrorDisplay(logging.Handler):
    """Shows the errors that are logged while the app answers, below its frame."""

    shown_in: Any = None  # the display below the newest frame

    def emit(self, record: logging.LogRecord) -> None:
        server = _serving.get()
        if server is None or server._errors is not self or record.exc_info is None or self.shown_in is None:
            return
        text = "".join(traceback.format_exception(*record.exc_info)).rstrip()
        self.shown_in.update({"text/plain": text}, raw=True)


def base_url() -> str:
    """Return the base URL of the Jupyter server that started this kernel, such as "/user/ann/". Return "/" if it has none."""
    if hub := os.environ.get("JUPYTERHUB_SERVICE_PREFIX"):
        return hub
    parent = os.environ.get("JPY_PARENT_PID")
    if parent is None:
        return "/"
    from jupyter_core.paths import jupyter_runtime_dir

    for path in Path(jupyter_runtime_dir()).glob("jpserver-*.json"):
        server = json.loads(path.read_text())
        if str(server["pid"]) == parent:
            base: str = server["base_url"]
            return base
    return "/"
