"""Show a job below a cell until it ends."""

import html
import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from jobqueue.execution.job_log import LogLine
from jobqueue.jobs.handle import JobHandle
from jobqueue.jobs.history import Event
from jobqueue.jobs.job import Job
from jobqueue.kernel import in_kernel
from jobqueue.ledger.states import State

LOOK = 0.1  # seconds between two looks at the job
Raised = tuple[BaseException, TracebackType | None]  # an exception, and its traceback at the end of the attempt
OUTPUTS = ("stdout", "stderr")  # the loggers of printed lines


def watch(handle: JobHandle, errors: Mapping[str, Raised]) -> Any:
    """Show a job until it ends, and return its value.

    :param errors: by job id: the exceptions that jobs of this process raised.
    """
    view = View(handle)
    try:
        while not (job := handle.get_job()).state.ended:
            view.show(job)
            time.sleep(LOOK)
    except KeyboardInterrupt:
        print(f"{handle.get_job().name} keeps running. Watch it again, or end it with handle.cancel().")
        raise
    view.show(job)
    if job.state is State.FAILED and handle.id in errors:
        error, trace = errors[handle.id]
        raise error.with_traceback(trace)
    return handle.get(blocking=True)


class View:
    """A job as it is shown below a cell: its progress, and lines for its attempts and its log."""

    def __init__(self, handle: JobHandle) -> None:
        self._handle = handle
        self._bar = Bar() if in_kernel() else None
        self._last: LogLine | None = None  # the last line that was printed
        self._before: tuple[State, int] | None = None  # state and attempt at the last look
        self._failed = 0  # the last attempt of which a failure was printed
        self._timeout: float | None = getattr(handle.task, "timeout", None)
        self._late = False  # whether a job that outlives its timeout was mentioned

    def show(self, job: Job) -> None:
        """Show the job as it is now."""
        if self._bar is not None:
            self._bar.draw(job)  # first, so that it stands above all lines
        changed = (job.state, job.attempt) != self._before
        self._before = (job.state, job.attempt)
        events = self._handle.history() if changed else []
        self._print_log()  # after the events were read: what a failed attempt logged comes before its line
        self._print_failures(events)
        if self._timeout and job.state is State.RUNNING and not self._late and self._age(job) > self._timeout:
            self._late = True
            print(
                f"{job.name} has run longer than its timeout of {self._timeout:g} s. A thread cannot be interrupted, so the "
                "timeout takes effect at the job's next progress or step."
            )

    def _print_log(self) -> None:
        lines = self._handle.log()
        if self._last is not None and self._last in lines:
            lines = lines[len(lines) - list(reversed(lines)).index(self._last) :]
        for line in lines:
            self._last = line
            print(line.text if line.logger in OUTPUTS else f"{line.level}: {line.text}")
        sys.stdout.flush()

    def _print_failures(self, events: Sequence[Event]) -> None:
        """Print a line for each attempt that failed since the last look, and that another follows."""
        for event in events:
            if event.name == "retried" and event.attempt > self._failed:
                self._failed = event.attempt
                print(f"Attempt {event.attempt} failed: {event.error} It is tried again.")

    @staticmethod
    def _age(job: Job) -> float:
        return 0.0 if job.claimed_at is None else time.time() - job.claimed_at.timestamp()


class Bar:
    """A progress bar below the cell. At first and at the end it is the job's name, so that a stored notebook shows that."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._drawn = ""

    def draw(self, job: Job) -> None:
        """Draw the bar if it has changed."""
        from IPython.display import display

        text, inside = job.name, html.escape(job.name)
        if self._handle is not None and not job.state.ended:
            text, inside = f"{job.name}: {job.state}", html.escape(f"{job.name}: {job.state}")
            if job.progress is not None:
                done, total, note = job.progress
                text = f"{text}, {done:g} of {total:g}" + (f", {note}" if note else "")
                inside = f'<progress value="{done:g}" max="{total:g}"></progress> {html.escape(text)}'
        if self._drawn == text:
            return
        self._drawn = text
        bundle = {"text/plain": text, "text/html": f"<div>{inside}</div>"}
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)
