"""Pages of the app as PDFs: the worker serves the app to its own Chromium, as the job's owner sees it."""

import importlib
import re
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote

from jobqueue.execution.current_job import current_job
from jobqueue.reports.parameters import BadParameter
from jobqueue.reports.pdf import NO_CHROMIUM, NoChromium, PrintError, WsgiApp, find_chromium, print_app
from jobqueue.reports.report import Report

# In the environment of a request: the name of the user that a worker prints the page for, or None for an admin. Only the process
# itself can set it: what clients send begins with HTTP_.
PRINTED_FOR = "jobqueue.printed_for"
FAVICON = "_favicon.ico"
PARAMETER = re.compile(r"\{(\w+)\}")  # in an address


class PageReport:
    """A page of the app as a task that prints it.

    :param name: the task's name.
    :param address: the page's path and query, without the app's URL prefix. Names in braces are the task's parameters.
    :param dash_app: the module that makes the Dash app.
    """

    def __init__(self, name: str, address: str, dash_app: str | None) -> None:
        self.name = name
        self.address = address
        self.dash_app = dash_app
        self.parameters = list(dict.fromkeys(PARAMETER.findall(address)))

    def check(self, *args: Any, **values: Any) -> None:
        """Refuse what cannot be printed, before it is submitted.

        Raises BadParameter for positional arguments, and for missing and unknown names. Raises NoChromium.
        """
        if find_chromium() is None:
            raise NoChromium(NO_CHROMIUM.format(name=self.name))
        takes = f"It takes {', '.join(self.parameters) or 'no parameters'}."
        if args:
            raise BadParameter(f"{self.name} takes its parameters by name. {takes}")
        for unknown in values.keys() - self.parameters:
            raise BadParameter(f'{self.name} has no parameter "{unknown}". {takes}')
        for missing in self.parameters - values.keys():
            raise BadParameter(f'{self.name} needs the parameter "{missing}". {takes}')

    def run(self, **values: Any) -> Report:
        """Print the page as the owner of the current job sees it. Raises as `check` and `print_page` do."""
        self.check(**values)
        address = PARAMETER.sub(lambda found: quote(str(values[found[1]]), safe=""), self.address)
        return Report(self.name, None, None, print_page(load_dash_app(self.dash_app), address, current_job().owner))


def load_dash_app(module: str | None) -> Any:
    """Import the module that makes the Dash app, and return the app. Raises ValueError if there is no app in it."""
    from dash import Dash

    for value in vars(importlib.import_module(module)).values() if module else ():
        if isinstance(value, Dash):
            return value
    raise ValueError(f'dash_app is {module!r}. Name the module that makes the Dash app, for example "app.web".')


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
