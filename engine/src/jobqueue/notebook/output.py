"""Standard output and standard error of a kernel in which jobs run: a job's lines go to the job's log."""

import io
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TextIO

from jobqueue.execution.current_job import Log


def _is_not_of_a_job(record: logging.LogRecord) -> bool:
    """Filter for handlers that print: the records of a job are in its log."""
    return _log.get() is None


_log: ContextVar[Log | None] = ContextVar("log", default=None)  # of the job that this thread runs


class JobOutput(io.TextIOBase):
    """A stream that adds what a job writes to the job's log, and passes on what anything else writes.

    :param beside: the stream that it takes the place of.
    :param name: the logger that the lines name, such as "stdout".
    """

    def __init__(self, beside: TextIO, name: str) -> None:
        self.beside = beside
        self._name = name
        self._part: ContextVar[str] = ContextVar("part", default="")  # what was written after the last line's end

    def write(self, text: str) -> int:
        log = _log.get()
        if log is None:
            return self.beside.write(text)
        if _is_from_logging():
            return len(text)  # a handler's line: the job's log has the record
        *lines, part = (self._part.get() + text).split("\n")
        self._part.set(part)
        for line in lines:
            shown = line.rstrip("\r").rpartition("\r")[2]  # a progress bar draws itself anew in one line
            log.note(logging.LogRecord(self._name, logging.INFO, "", 0, shown, None, None))
        return len(text)

    def end_line(self) -> None:
        """Add the last line of the calling thread's job to its log, if it has no end."""
        if self._part.get():
            self.write("\n")

    def flush(self) -> None:
        self.beside.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.beside, name)


def _is_from_logging() -> bool:
    """Return whether a logging handler calls `write`, perhaps through IPython's own `write`."""
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_name == "write":
        frame = frame.f_back
    return frame.f_globals.get("__name__") == "logging"


@contextmanager
def kept(log: Log | None) -> Iterator[None]:
    """Add what this thread prints and logs inside the block to a job's log, and print it nowhere else."""
    for handler in logging.getLogger().handlers:
        handler.addFilter(_is_not_of_a_job)  # each filter is added once
    before = _log.set(log)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, JobOutput):
                stream.end_line()
        _log.reset(before)
