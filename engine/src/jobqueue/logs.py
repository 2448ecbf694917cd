"""Logs: one line for each event, as text for people or as JSON for programs, with the job and the request that it belongs to.

`configure` is the only configuration of logging. Every process of an app calls it: web, with its server, and workers.
Arguments, results, cookies, query strings and bodies are never logged. A line that user code logs is logged as it is.
"""

import contextlib
import logging
import logging.config
import os
import re
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from types import MappingProxyType, TracebackType
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from jobqueue import interrupts
from jobqueue.text import TRACEBACK, cut, formatted, type_name

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger("jobqueue.logs")

TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
NAMES = {"levelname": "level", "name": "logger", "message": "text", "exc_info": "traceback", "stack_info": "stack"}
# Alembic announces each of its plug-ins. Huey's lines about each job are repeated by the executor, with the job's fields.
QUIET = ("alembic", "huey")
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]

_NONE: Mapping[str, Any] = MappingProxyType({})
_fields: ContextVar[Mapping[str, Any]] = ContextVar("log_fields", default=_NONE)


# --- what a line belongs to ---


@contextlib.contextmanager
def bound(**fields: Any) -> Iterator[None]:
    """Add fields to every line that the block logs, also in the code that it calls. Leave out those that are None."""
    before = _fields.set({**_fields.get(), **{name: value for name, value in fields.items() if value is not None}})
    try:
        yield
    finally:
        _fields.reset(before)


def bound_fields() -> Mapping[str, Any]:
    """Return the fields that the calling code's lines have: `request` in a request, `job`, `task` and more in a job."""
    return _fields.get()


def request_id() -> str | None:
    """Return the id of the request that the calling code works for, or that submitted its job. None if there is no such request."""
    request: str | None = _fields.get().get("request")
    return request


def well_formed(given: object) -> str | None:
    """Return a request id that may be logged, or None: letters, digits, dots, dashes and underscores, at most 128."""
    return given if isinstance(given, str) and REQUEST_ID.fullmatch(given) else None


# --- configuration ---


def configure(as_json: bool, release: str | None = None) -> None:
    """Configure this process's logging. Warnings and uncaught exceptions become lines too.

    :param as_json: one JSON object a line, else text.
    :param release: the version of the code, a field of every JSON line.
    """
    line = {"()": JsonLines, "release": release} if as_json else {"()": TextLines, "fmt": TEXT}
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": line},
            "handlers": {"stderr": {"()": StandardError, "formatter": "line"}},
            "root": {"level": "INFO", "handlers": ["stderr"]},
            "loggers": {name: {"level": "WARNING"} for name in QUIET},
        }
    )
    logging.captureWarnings(True)
    if as_json:
        sys.excepthook = _log_uncaught
        threading.excepthook = _log_uncaught_in_thread


class StandardError(logging.Handler):
    """Handler that writes each line whole, even while other processes write to the same pipe."""

    def handle(self, record: logging.LogRecord) -> bool:
        """Handle a record. Defer an interrupt of the running job, which could leave half a line."""
        with interrupts.deferred():
            return bool(super().handle(record))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception as error:  # of an argument's own code, or of a wrong number of arguments
            line = self.format(_not_formatted(record, error))
        unwritten = f"{line}\n".encode(errors="backslashreplace")
        with contextlib.suppress(OSError), _alone():  # OSError: whoever reads the lines has gone
            while unwritten:
                unwritten = unwritten[os.write(2, unwritten) :]


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Wait until no other process writes to the same pipe, which takes a line of more than 4 kB in parts."""
    if fcntl is None:
        yield
        return
    fcntl.lockf(2, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.lockf(2, fcntl.LOCK_UN)


class TextLines(logging.Formatter):
    """Formatter of lines for people. Tracebacks are cut, and do not depend on the exception's own code."""

    def formatException(self, ei: ExcInfo) -> str:
        return super().formatException(ei) if ei[1] is None else formatted(ei[1]).rstrip()


class JsonLines(JsonFormatter):
    """Formatter of JSON lines: time, level, logger, text, release, host, process, the bound fields, and `extra=`."""

    def __init__(self, release: str | None = None) -> None:
        super().__init__(
            ["levelname", "name", "message", "process"],
            rename_fields=NAMES,
            static_fields={"release": release, "host": socket.gethostname()},
            timestamp="time",
        )

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        """Fill a line. Its own fields win over the bound ones, and those over `extra=`."""
        super().add_fields(log_data, record, message_dict)
        log_data.update(_fields.get())
        log_data["text"] = cut(log_data["text"], TRACEBACK)

    def formatException(self, exc_info: ExcInfo) -> str:
        return "" if exc_info[1] is None else formatted(exc_info[1]).rstrip()


def _not_formatted(record: logging.LogRecord, error: Exception) -> logging.LogRecord:
    text = f"{record.pathname}:{record.lineno} logs a line that cannot be formatted: {type_name(error)}"
    return logging.LogRecord(record.name, logging.ERROR, record.pathname, record.lineno, text, None, None)


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logger.critical("The process ends: %s was not caught.", kind.__name__, exc_info=(kind, error, trace))


def _log_uncaught_in_thread(given: threading.ExceptHookArgs) -> None:
    if given.exc_value is not None and not issubclass(given.exc_type, SystemExit):
        logger.error("A thread ended: %s was not caught.", given.exc_type.__name__, exc_info=given.exc_value)
