"""The addresses that hosts probe: `/healthz`, with the alias `/health`, and `/readyz`.

They are answered before anything else sees the request, so neither accounts nor redirects nor a URL prefix stand in the way.
"""

import json
from collections.abc import Callable, Iterable
from typing import Any

from jobqueue.web.readiness import OK, Readiness
from jobqueue.web.stopping import stopping

WsgiApp = Callable[..., Iterable[bytes]]
Answer = tuple[str, str, str]  # status, content type and body


class Probes:
    """WSGI app around another one, which answers the probes.

    `/healthz` is 200 while this process answers. `/readyz` is 200 if the process can also use the database, and does not stop,
    else 503. It says why.

    :param prefix: the URL prefix of the app, under which the addresses answer too.
    :param release: the version of the code, which `/readyz` names.
    """

    def __init__(self, app: WsgiApp, readiness: Readiness, prefix: str = "/", release: str | None = None) -> None:
        self._app = app
        self._readiness = readiness
        self._release = release
        answers = {"healthz": healthz, "health": healthz, "readyz": self.readyz}
        self._answers = {root + name: answer for root in ("/", prefix) for name, answer in answers.items()}

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        answer = self._answers.get(environ.get("PATH_INFO", ""))
        if answer is None:
            return self._app(environ, start_response)
        reads = environ["REQUEST_METHOD"] in ("GET", "HEAD")
        status, kind, text = answer() if reads else ("405 Method Not Allowed", "text/plain", "Use GET.\n")
        body = text.encode()
        headers = {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Allow": "GET, HEAD",
        }
        start_response(status, [*headers.items()])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def readyz(self) -> Answer:
        """Say whether this process should get requests, and why not."""
        found = self._readiness.findings()
        stops = stopping.is_set
        ready = found.good and not stops
        told = {
            "ready": ready,
            "release": self._release,
            "checks": {"process": "stopping" if stops else OK} | found.checks,
            "informative": found.beside,
        }
        return "200 OK" if ready else "503 Service Unavailable", "application/json", json.dumps(told, indent=2) + "\n"


def healthz() -> Answer:
    """Say that this process answers."""
    return "200 OK", "text/plain", "OK"
