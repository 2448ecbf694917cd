"""Job logs: the last lines that a job logged through `logging`, kept with the job.

Logging a line only buffers it. Once a second a thread writes the buffered lines, as long as the claim holds. The remaining
lines are committed with the attempt's end. After a worker is killed, the lines written up to then remain.
"""

import contextlib
import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jobqueue import interrupts
from jobqueue.database.database import DatabaseUnavailable
from jobqueue.database.times import utc
from jobqueue.execution.current_job import ClaimedJob, current_job
from jobqueue.ledger.ledger import Ledger
from jobqueue.ledger.records import FenceRefused
from jobqueue.text import LOG_LINE, LOG_LINES, LOG_NAME, cut, formatted, storable

logger = logging.getLogger("jobqueue.logs")

INTERVAL = 1.0  # seconds between two writes of a job's log
INFRASTRUCTURE = ("huey", "jobqueue")  # packages whose loggers report on every job, so their lines are left out


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """One line that a job logged."""

    at: datetime  # the database's time, aware, in UTC
    attempt: int
    level: str  # such as "INFO"
    logger: str
    text: str


def read(lines: str) -> list[LogLine]:
    """Return the lines of a stored log, oldest first."""
    return [
        LogLine(at=utc(at), attempt=attempt, level=level, logger=name, text=text)
        for at, attempt, level, name, text in map(json.loads, lines.splitlines())
    ]


def _last_lines(text: str) -> Iterator[str]:
    """Yield the last lines of a text, or a few more. Do not split all of a text that may have millions of lines."""
    for part in text.removesuffix("\n").rsplit("\n", LOG_LINES)[-LOG_LINES:]:
        yield from cut(part, LOG_LINES * LOG_LINE).splitlines() or [""]


class JobLog:
    """The log of an attempt, after the lines of earlier attempts. `now` is the database's time at the claim."""

    def __init__(self, ledger: Ledger, job: ClaimedJob, now: float) -> None:
        self._ledger = ledger
        self._job = job
        self._pid = os.getpid()
        self._offset = now - time.monotonic()  # seconds to add to time.monotonic() to get the database's time
        self._earlier: list[str] | None = None if job.attempt > 1 else []
        self._lines: deque[tuple[float, str, str, str]] = deque(maxlen=LOG_LINES)
        self._noted = self._written = 0  # numbers of records
        self._scheduled = False  # the writer has this log on its list
        self._writing = threading.Lock()
        self._closed = False

    def note(self, record: logging.LogRecord) -> None:
        if self._pid != os.getpid():  # in a process that the task forked: its lines are not kept
            return
        at = self._offset + time.monotonic()
        level, name = cut(record.levelname, LOG_NAME), cut(record.name, LOG_NAME)
        for line in _last_lines(_plain.format(record)):
            self._lines.append((at, level, name, cut(line, LOG_LINE)))
        self._noted += 1
        if not self._scheduled:
            self._scheduled = True
            _writer.schedule(self)

    def unwritten(self) -> str | None:
        """Return the whole log to store, or None if nothing is new. Raises DatabaseUnavailable."""
        if self._noted == self._written:
            return None
        if self._earlier is None:
            row = self._ledger.reading.log(self._job.id)
            self._earlier = (row["lines"] or "").splitlines() if row is not None else []
        own = [
            json.dumps([round(at, 6), self._job.attempt, *map(storable, texts)]) for at, *texts in self._lines.copy()
        ]
        return "\n".join([*self._earlier, *own][-LOG_LINES:])

    def write(self) -> None:
        """Write the lines that are not written yet. If the database does not answer, they wait for the next time."""
        with self._writing:
            if not self._closed:
                self._write()

    def _write(self) -> None:
        self._scheduled = False
        noted = self._noted
        try:
            lines = self.unwritten()
            if lines is not None:
                self._ledger.attempts.save_log(self._job.id, self._job.token, lines)
                self._written = noted
        except FenceRefused:
            pass  # the task finds out at its next step or progress
        except DatabaseUnavailable as error:
            logger.warning("The log of job %s is not written yet: %s", self._job.id, error)
            _writer.schedule(self)

    def close(self) -> None:
        """Stop writing. Wait for a write that is under way."""
        _writer.drop(self)
        with self._writing:
            self._closed = True


class _Writer:
    """Writes job logs in a thread, which starts with the first line that a job of this process logs."""

    def __init__(self) -> None:
        self._pid: int | None = None
        self._wake = threading.Event()
        self._logs: set[JobLog] = set()

    def schedule(self, log: JobLog) -> None:
        self._logs.add(log)
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._wake = threading.Event()
            threading.Thread(target=self._run, name="job-logs", daemon=True).start()
        self._wake.set()

    def drop(self, log: JobLog) -> None:
        self._logs.discard(log)

    def _run(self) -> None:
        while self._wake.wait():
            time.sleep(INTERVAL)
            self._wake.clear()
            for log in self._logs.copy():
                self._logs.discard(log)
                try:
                    log.write()
                except Exception:
                    logger.exception("Cannot write a job's log.")


class _Formatter(logging.Formatter):
    """Formatter whose tracebacks are cut, and do not depend on the exception's own code."""

    def formatException(self, ei: Any) -> str:
        return super().formatException(ei) if ei[1] is None else formatted(ei[1]).rstrip()


class _Handler(logging.Handler):
    """Handler that adds records to the current job's log. The root logger has it while a job runs."""

    def handle(self, record: logging.LogRecord) -> bool:
        """Handle a record without a lock, which an interrupt could leave locked. Defer a timeout until afterwards."""
        with interrupts.deferred():
            try:
                self.emit(record)
            except Exception:
                with contextlib.suppress(Exception):  # it prints the error, which may be the app's
                    self.handleError(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        log = current_job().log
        if log is not None and record.name.partition(".")[0] not in INFRASTRUCTURE:
            log.note(record)
        if (
            logging.lastResort is not None
            and record.levelno >= logging.lastResort.level
            and _is_only_handler(record.name)
        ):
            logging.lastResort.handle(record)  # as Python does for a logger without handlers


def _is_only_handler(name: str) -> bool:
    """Return whether neither this logger nor its parents have another handler."""
    here: logging.Logger | None = logging.getLogger(name)
    while here is not None:
        if any(handler is not _handler for handler in here.handlers):
            return False
        here = here.parent if here.propagate else None
    return True


_plain = _Formatter()
_writer = _Writer()
_handler = _Handler()
_running = 0
_counting = threading.Lock()


@contextlib.contextmanager
def logged(ledger: Ledger, job: ClaimedJob, now: float) -> Iterator[None]:
    """Keep the lines that the block logs for the job. Drop lines that are not written by its end."""
    job.log = JobLog(ledger, job, now)
    _count(1)
    try:
        yield
    finally:
        _count(-1)
        job.log.close()


def _count(change: int) -> None:
    """Count the running jobs, and add the handler to the root logger only while there are any.

    `logging.basicConfig()` does nothing if the root logger has a handler.
    """
    global _running
    with _counting:
        _running += change
        if _running:
            logging.getLogger().addHandler(_handler)
        else:
            logging.getLogger().removeHandler(_handler)


def pass_on_info(tasks: Iterable[str]) -> None:
    """Set the loggers of these tasks' packages to INFO, unless they or the root logger were given a level."""
    for package in {task.partition(".")[0] for task in tasks}:
        own = logging.getLogger(package)
        if own.getEffectiveLevel() == logging.WARNING == logging.getLogger().level:
            own.setLevel(logging.INFO)
