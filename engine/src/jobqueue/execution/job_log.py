"""What a job logged: its last lines, through `logging` as usual, kept with the job.

A line is only noted where it is logged. A thread writes what was noted, each second, as long as the claim holds; what it
has not written yet is committed with the attempt's end. A worker that is killed leaves what was written till then.
"""

import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from jobqueue import interrupts
from jobqueue.database.database import DatabaseUnavailable, storable
from jobqueue.execution.current_job import ClaimedJob, current_job
from jobqueue.ledger.ledger import Ledger
from jobqueue.ledger.records import FenceRefused

logger = logging.getLogger("jobqueue.logs")

LINES = 200  # that are kept of a job, the last ones
LENGTH = 1_000  # characters that are kept of a line
INTERVAL = 1.0  # seconds between two writes of what a job logged
NOT_THE_TASKS = ("huey", "jobqueue")  # loggers that tell of every job alike


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """One line that a job logged."""

    at: datetime  # aware, in UTC, by the database's clock
    attempt: int
    level: str  # "INFO", ...
    logger: str
    text: str


def read(lines: str) -> list[LogLine]:
    """Oldest first."""
    return [
        LogLine(at=datetime.fromtimestamp(at, UTC), attempt=attempt, level=level, logger=name, text=text)
        for at, attempt, level, name, text in map(json.loads, lines.splitlines())
    ]


class JobLog:
    """What an attempt logs, and what those before it did. `now` is the database's time at the claim."""

    def __init__(self, ledger: Ledger, job: ClaimedJob, now: float) -> None:
        self._ledger = ledger
        self._job = job
        self._pid = os.getpid()
        self._ahead = now - time.monotonic()
        self._earlier: list[str] | None = None if job.attempt > 1 else []
        self._lines: deque[tuple[float, str, str, str]] = deque(maxlen=LINES)
        self._noted = self._written = 0  # records
        self._asked = False  # the writer knows that there is something to write
        self._writing = threading.Lock()
        self._closed = False

    def note(self, record: logging.LogRecord) -> None:
        if self._pid != os.getpid():  # a fork of the task's, whose lines are its own
            return
        at = self._ahead + time.monotonic()
        for line in _plain.format(record).splitlines()[-LINES:]:
            self._lines.append((at, record.levelname, record.name, line[:LENGTH]))
        self._noted += 1
        if not self._asked:
            self._asked = True
            _writer.hear(self)

    def unwritten(self) -> str | None:
        """What is to be written in the place of what was; None if that is all. Raises DatabaseUnavailable."""
        if self._noted == self._written:
            return None
        if self._earlier is None:
            row = self._ledger.reading.log(self._job.id)
            self._earlier = (row["lines"] or "").splitlines() if row is not None else []
        own = [
            json.dumps([round(at, 6), self._job.attempt, level, name, storable(text)])
            for at, level, name, text in self._lines.copy()
        ]
        return "\n".join([*self._earlier, *own][-LINES:])

    def write(self) -> None:
        """Write what is not yet written; what cannot be now waits for the next time."""
        with self._writing:
            if not self._closed:
                self._write()

    def _write(self) -> None:
        self._asked = False
        noted = self._noted
        try:
            lines = self.unwritten()
            if lines is not None:
                self._ledger.attempts.save_log(self._job.id, self._job.token, lines)
                self._written = noted
        except FenceRefused:
            pass  # the task will hear of it
        except DatabaseUnavailable as error:
            logger.warning("What job %s logged is not written yet: %s", self._job.id, error)
            _writer.hear(self)

    def close(self) -> None:
        """Nothing is written any more when this returns."""
        _writer.forget(self)
        with self._writing:
            self._closed = True


class _Writer:
    """Writes what jobs have logged, in a thread that there is once a job of this process has."""

    def __init__(self) -> None:
        self._pid: int | None = None
        self._heard = threading.Event()
        self._logs: set[JobLog] = set()

    def hear(self, log: JobLog) -> None:
        self._logs.add(log)
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._heard = threading.Event()
            threading.Thread(target=self._run, name="job-logs", daemon=True).start()
        self._heard.set()

    def forget(self, log: JobLog) -> None:
        self._logs.discard(log)

    def _run(self) -> None:
        while self._heard.wait():
            time.sleep(INTERVAL)
            self._heard.clear()
            for log in self._logs.copy():
                self._logs.discard(log)
                try:
                    log.write()
                except Exception:
                    logger.exception("What a job logged cannot be written.")


class _Handler(logging.Handler):
    """Notes what the current job logs. It is among the root's handlers while a job runs."""

    def handle(self, record: logging.LogRecord) -> bool:
        """Without a lock, which an interrupt might leave locked; a timeout that comes meanwhile is raised after it."""
        with interrupts.deferred():
            try:
                self.emit(record)
            except Exception:
                self.handleError(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        log = current_job().log
        if log is not None and record.name.partition(".")[0] not in NOT_THE_TASKS:
            log.note(record)
        if logging.lastResort is not None and record.levelno >= logging.lastResort.level and _only_here(record.name):
            logging.lastResort.handle(record)  # as if this handler were not there


def _only_here(name: str) -> bool:
    """Whether nobody set up logging, for this logger or for all."""
    here: logging.Logger | None = logging.getLogger(name)
    while here is not None:
        if any(handler is not _handler for handler in here.handlers):
            return False
        here = here.parent if here.propagate else None
    return True


_plain = logging.Formatter()
_writer = _Writer()
_handler = _Handler()
_running = 0
_counting = threading.Lock()


@contextmanager
def logged(ledger: Ledger, job: ClaimedJob, now: float) -> Iterator[None]:
    """Keep what the code inside logs for the job. What is not written in the end is dropped."""
    job.log = JobLog(ledger, job, now)
    _count(1)
    try:
        yield
    finally:
        _count(-1)
        job.log.close()


def _count(change: int) -> None:
    """Only while jobs run: `logging.basicConfig()` does nothing where the root has a handler."""
    global _running
    with _counting:
        _running += change
        if _running:
            logging.getLogger().addHandler(_handler)
        else:
            logging.getLogger().removeHandler(_handler)


def pass_on_info(tasks: Iterable[str]) -> None:
    """Let the loggers of these tasks' own packages pass INFO on, where nobody gave them or the root a level."""
    for package in {task.partition(".")[0] for task in tasks}:
        own = logging.getLogger(package)
        if own.getEffectiveLevel() == logging.WARNING == logging.getLogger().level:
            own.setLevel(logging.INFO)
