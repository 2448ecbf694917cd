"""Prepare a Flask server for the network: probes, compressed responses, and limits of what a request may hold."""

from typing import Any

from dash import Dash
from flask import Flask
from flask.json.provider import DefaultJSONProvider
from flask_compress import Compress

from jobqueue.huey import DurableHuey
from jobqueue.web.connections import MAX_BODY
from jobqueue.web.probes import Probes
from jobqueue.web.readiness import Readiness

# Without HTML: a page with a secret, such as a form's token, would tell it by its length next to what a stranger put there.
COMPRESSED = [
    "application/javascript",
    "application/json",
    "image/svg+xml",
    "text/css",
    "text/javascript",
    "text/plain",
]


def prepare(app: Dash, huey: DurableHuey) -> None:
    """Add the probes, compression and limits to a Dash app's server. Call it when all else is installed.

    A request of more than 200 MB is answered with 413, JSON that is nested too deeply with 400.
    """
    server: Flask = app.server
    server.config["MAX_CONTENT_LENGTH"] = MAX_BODY  # for the server of development; `serve` refuses earlier
    server.json = BoundedJSON(server)
    server.config["COMPRESS_MIMETYPES"] = COMPRESSED
    Compress(server)
    probes = Probes(server.wsgi_app, Readiness(huey), app.config.routes_pathname_prefix, huey.version)
    server.wsgi_app = probes  # type: ignore[method-assign]


class BoundedJSON(DefaultJSONProvider):
    """Flask's JSON, which refuses what is nested too deeply as it refuses what is no JSON."""

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        """Return the value of a JSON text. Raises ValueError."""
        try:
            return super().loads(s, **kwargs)
        except RecursionError:
            raise ValueError("The JSON is nested too deeply.") from None
