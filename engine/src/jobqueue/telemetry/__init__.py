"""Telemetry for operators: a line for each request, metrics of the ledger, and errors.

All of it is WSGI and Huey's signals, so it works under any web server, and with accounts on or off. Nothing here imports Dash or
Flask. `watch` installs it in a web process, `errors.report_errors` in a worker.
"""

from typing import Any

from jobqueue.huey import DurableHuey
from jobqueue.settings import Settings
from jobqueue.telemetry.errors import report_errors
from jobqueue.telemetry.requests import LoggedRequests

__all__ = ["report_errors", "watch"]


def watch(server: Any, huey: DurableHuey, settings: Settings) -> None:
    """Log the requests of a Flask server, answer `/metrics`, and report errors. Call it after all else has wrapped the server.

    :param server: the Flask app, or any object whose `wsgi_app` is a WSGI app.
    """
    from jobqueue.telemetry.metrics import MetricsAddress  # Prometheus' client, which workers do not need

    app = MetricsAddress(server.wsgi_app, huey, settings.metrics_token)
    server.wsgi_app = LoggedRequests(app, quiet=not settings.json_logs)
    report_errors(huey, settings)
