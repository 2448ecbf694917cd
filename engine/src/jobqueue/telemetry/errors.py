"""Errors: those of requests, and of the last attempts of jobs, go to a server that speaks Sentry's protocol.

An event has the release, and the fields that log lines have: job, task, attempt, queue, request. It has no arguments, cookies,
headers, query strings or local variables.
"""

import logging
from typing import TYPE_CHECKING, Any

from huey import signals

from jobqueue.huey import DurableHuey
from jobqueue.logs import bound_fields
from jobqueue.settings import Settings

if TYPE_CHECKING:
    from sentry_sdk.types import Event, Hint

KEPT = {
    "event_id",
    "timestamp",
    "level",
    "logger",
    "platform",
    "release",
    "environment",
    "server_name",
    "sdk",
    "exception",
}  # of an event

logger = logging.getLogger("jobqueue.errors")


def report_errors(huey: DurableHuey, settings: Settings) -> None:
    """Send this process's errors to `settings.sentry_dsn`, if it is set.

    These are lines of the level ERROR, with their exceptions, and the exceptions that end the last attempt of a job. Without
    sentry-sdk, or with an address that it cannot use, say so in the log; the app works all the same.
    """
    if settings.sentry_dsn is None:
        return
    try:
        import sentry_sdk
        from sentry_sdk.integrations.logging import LoggingIntegration, ignore_logger
        from sentry_sdk.utils import BadDsn
    except ImportError:
        logger.warning(
            "SENTRY_DSN is set, but sentry-sdk is missing: errors are only logged. Install dash-jobqueue[sentry]."
        )
        return
    try:
        sentry_sdk.init(
            dsn=settings.sentry_dsn,
            release=huey.version,
            environment=settings.app_env if not settings.production else "production",
            default_integrations=False,
            auto_enabling_integrations=False,
            integrations=[LoggingIntegration(level=None, event_level=logging.ERROR, sentry_logs_level=None)],
            include_local_variables=False,
            include_source_context=False,
            max_breadcrumbs=0,
            before_send=_only_what_may_leave,
        )
    except BadDsn:
        logger.warning(
            "SENTRY_DSN is no address of a project, so errors are only logged. Set it to https://KEY@HOST/PROJECT."
        )
        return
    ignore_logger("huey")  # it logs the errors of all attempts
    huey.disconnect_signal(_report_last_attempt)
    huey.signal(signals.SIGNAL_ERROR, signals.SIGNAL_TIMEOUT)(_report_last_attempt)


def _report_last_attempt(signal: str, task: Any, error: BaseException | None = None) -> None:
    """Report the error of an attempt, unless the job is tried again."""
    import sentry_sdk

    if not task.retries:
        sentry_sdk.capture_exception(error or task.attempt.exception)  # Huey tells no exception for a timeout


def _only_what_may_leave(event: "Event", hint: "Hint") -> "Event":
    """Leave out all that may hold arguments, and add the fields of the log."""
    kept: Any = {name: value for name, value in event.items() if name in KEPT}
    logged = event.get("logentry")
    if logged is not None:  # the text as it was logged, without its parts one by one
        kept["message"] = logged.get("formatted") or logged.get("message")
    fields = dict(bound_fields())
    if "path" in fields:
        kept["request"] = {"method": fields.pop("method"), "url": fields.pop("path")}
    kept["tags"] = {name: str(value) for name, value in fields.items()}
    return kept
