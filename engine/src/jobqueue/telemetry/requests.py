"""Requests: an id for each, which the response and the jobs that it submits carry, and one line in the log."""

import logging
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote

from jobqueue.logs import bound, well_formed

HEADER = "X-Request-ID"

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
WsgiApp = Callable[[Environ, StartResponse], Iterable[bytes]]

logger = logging.getLogger("jobqueue.requests")


class LoggedRequests:
    """WSGI app around another one, which gives each request an id and a line.

    The id is the request's `X-Request-ID` if that is well-formed, else a random one. The line has method, path, status, and the
    seconds until the response was ready to be sent. It has neither the query string nor any header.

    :param quiet: log only requests that fail with 500 or more, for a terminal in development.
    """

    def __init__(self, app: WsgiApp, quiet: bool = False) -> None:
        self._app = app
        self._level = logging.DEBUG if quiet else logging.INFO

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        request = well_formed(environ.get("HTTP_X_REQUEST_ID")) or uuid.uuid4().hex
        status = 500  # of an app that raises
        began = time.monotonic()

        def start(line: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            nonlocal status
            status = int(line.split(" ", 1)[0])
            return start_response(line, [*headers, (HEADER, request)], *exc_info)

        path = quote(environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", ""), encoding="latin-1")
        method = environ["REQUEST_METHOD"]
        with bound(request=request, method=method, path=path):
            try:
                return self._app(environ, start)
            finally:
                duration = round(time.monotonic() - began, 3)
                logger.log(
                    logging.WARNING if status >= 500 else self._level,
                    "%s %s: %s after %.3f s.", method, path, status, duration,
                    extra={"status": status, "duration": duration},
                )  # fmt: skip
