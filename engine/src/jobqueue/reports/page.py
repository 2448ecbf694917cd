"""Pages of the app as PDFs: the worker serves the app to its own Chromium, as the job's owner sees it."""

import importlib
import re
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote

from jobqueue.reports.pdf import PrintError, WsgiApp, print_app

# In the environment of a request: the name of the user that a worker prints the page for, or None for an admin. Only the process
# itself can set it: what clients send begins with HTTP_.
PRINTED_FOR = "jobqueue.printed_for"
FAVICON = "_favicon.ico"


def filled(address: str, values: dict[str, str]) -> str:
    """Return an address with its placeholders replaced by values, which are percent-encoded.

    >>> filled("/analysis?job={job}", {"job": "a b"})
    '/analysis?job=a%20b'
    """
    return re.sub(r"\{(\w+)\}", lambda found: quote(str(values[found[1]]), safe=""), address)


def placeholders(address: str) -> list[str]:
    """Return the names in an address that stand in braces.

    >>> placeholders("/analysis?job={job}")
    ['job']
    """
    return list(dict.fromkeys(re.findall(r"\{(\w+)\}", address)))


def load_dash_app(module: str | None) -> Any:
    """Import the module that makes the Dash app, and return the app. Raises ValueError if there is no app in it."""
    from dash import Dash

    for value in vars(importlib.import_module(module)).values() if module else ():
        if isinstance(value, Dash):
            return value
    raise ValueError(f"dash_app is {module!r}. Name the module that makes the Dash app, for example \"app.web\".")


def print_page(app: Any, address: str, owner: str | None) -> bytes:
    """Return a page of a Dash app as a PDF.

    :param app: the Dash app.
    :param address: the page's path and query, without the app's URL prefix.
    :param owner: the user who sees the page. None for an admin.

    Raises NoChromium, and PrintError if the app answers a request of the page with an error.
    """
    failed: list[str] = []
    outside, inside = app.config.requests_pathname_prefix, app.config.routes_pathname_prefix
    stripped = outside.removesuffix(inside)  # by the proxy in front of the app

    def seen_by_owner(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        environ = environ | {PRINTED_FOR: owner, "PATH_INFO": path.removeprefix(stripped)}

        def start(status: str, *rest: Any) -> Any:
            if status >= "4" and not path.endswith(FAVICON):
                failed.append(f"{path} was answered with {status}")
            return start_response(status, *rest)

        served: WsgiApp = app.server.wsgi_app
        return served(environ, start)

    printed = print_app(seen_by_owner, outside.rstrip("/") + address)
    if failed:
        raise PrintError(f"The page {address} has an error: {failed[0]}.")
    return printed
