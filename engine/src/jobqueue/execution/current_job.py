"""The job that the running code works for: its steps, which survive a crash, and its progress.

Called outside a worker (in a notebook, a test, or `jobs run`) the same code gets an inert job: steps just run, progress
is shown where there is someone to see it.
"""

import contextlib
import logging
import math
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar, cast

from huey.exceptions import TaskTimeout

from jobqueue import codec
from jobqueue.database.database import DatabaseUnavailable, storable
from jobqueue.interrupts import ClaimLost
from jobqueue.ledger.ledger import Ledger
from jobqueue.ledger.records import FenceRefused

if TYPE_CHECKING:
    from jobqueue.execution.job_log import JobLog

logger = logging.getLogger("jobqueue.context")

T = TypeVar("T")
PROGRESS_INTERVAL = 0.5  # seconds between two writes of a job's progress
AGAIN = 1.0  # seconds, at most, between two tries of what the database did not answer


class SubmitRefused(Exception):
    """A submit was refused. The message is for the user."""


class CurrentJob:
    """An inert job: the same methods, and nothing kept."""

    id: str | None = None
    token: str | None = None
    owner: str | None = None
    attempt = 1
    log: "JobLog | None" = None  # where what is logged is kept

    def __init__(self, report: Callable[[float, float, str], None] | None = None) -> None:
        self._report = report
        self._names: set[str] = set()

    def step(self, name: str, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """The value of `function(*args, **kwargs)`, saved under a name.

        An attempt after a crash or a retry gets the saved value instead of running the function again; the value is as
        it was decoded, the first time too. Raises ValueError for a name that this attempt has used already,
        ResultNotEncodable for a value that cannot be kept, ResultTooLarge for one that is too large, ClaimLost when the job
        was cancelled or given to another worker, TaskTimeout when its time is over.
        """
        self._once(name)
        return cast(T, codec.decode(*codec.encode(function(*args, **kwargs))))

    def progress(self, done: float, total: float, note: str = "") -> None:
        """Say how far the job is: `done` of `total`, in any unit, and what it does now.

        Written twice a second at most.
        """
        if self._report is not None:
            self._report(done, total, note)
        elif "ipykernel" in sys.modules:
            _notebook_bar(done, total, note)

    def submitting(self, jobs: int) -> None:
        """Told before so many jobs are submitted from here; what it raises keeps them from being so."""

    def patiently(self, ask: Callable[[], T]) -> T:
        """What `ask` returns: for a job that runs, when its database answers (again)."""
        return ask()

    def _once(self, name: str) -> None:
        if not isinstance(name, str):
            raise TypeError(f"A step's name is text, for example f'window:{{i}}'; this is {name!r}.")
        if name in self._names:
            raise ValueError(
                f"The step {name!r} is there twice in this job. A step's value is found again by its name: "
                "give each its own, for example by the item it works on."
            )
        self._names.add(name)


class ClaimedJob(CurrentJob):
    """A job that a worker has claimed. Its methods may be called from any thread that the task starts."""

    def __init__(
        self, ledger: Ledger, job_id: str, token: str, attempt: int, owner: str | None, max_result: float = math.inf
    ) -> None:
        super().__init__()
        self.id: str = job_id
        self.token: str = token
        self.attempt = attempt
        self.owner = owner
        self.max_result = max_result  # bytes of a step's value, or of what the job returns
        self.timeout_s: float | None = None
        self.deadline: float | None = None  # by time.monotonic()
        self.interrupted_at: float | None = None  # when the timeout first interrupted the task
        self._ledger = ledger
        self._kept: set[str] | None = None  # names of steps that earlier attempts saved
        self._lock = threading.RLock()
        self._began_at = time.monotonic()
        self._written_at = 0.0
        self.unwritten: tuple[float, float, str] | None = None  # progress that was said, and is not in the ledger yet

    def step(self, name: str, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        self.check_time()
        with self._lock:
            self._once(name)
            kept = name in self._kept_steps()
            self._began_at = self._began_at if kept else 0.0
        if kept:
            return cast(T, codec.decode(*self.patiently(lambda: self._ledger.attempts.step(self.id, name))))
        self._write_progress()
        value = codec.encode(function(*args, **kwargs), self.max_result)
        with self._fenced():
            self.patiently(lambda: self._ledger.attempts.save_step(self.id, self.token, name, value))
        self._write_progress()
        return cast(T, codec.decode(*value))

    def progress(self, done: float, total: float, note: str = "") -> None:
        self.check_time()
        with self._lock:
            self.unwritten = (float(done), float(total), storable(note))
        self._write_progress()

    def patiently(self, ask: Callable[[], T]) -> T:
        """Raises whatever `ask` does but DatabaseUnavailable: an outage is no failure of the job."""
        pause = 0.05
        while True:
            try:
                return ask()
            except DatabaseUnavailable as error:
                logger.warning("Job %s waits for its database: %s", self.id, error)
                time.sleep(pause)
                pause = min(pause * 2, AGAIN)

    def _kept_steps(self) -> set[str]:
        if self._kept is None:
            self._kept = (
                self.patiently(lambda: self._ledger.attempts.step_names(self.id)) if self.attempt > 1 else set()
            )
        return self._kept

    def _write_progress(self) -> None:
        with self._lock:
            if self.unwritten is None or time.monotonic() < self._written_at + PROGRESS_INTERVAL:
                return
            # A later attempt passes over kept steps in a moment; to show that would set its page back to the start.
            if time.monotonic() < self._began_at + PROGRESS_INTERVAL and not self._kept_steps() <= self._names:
                return
            said, self.unwritten = self.unwritten, None
            self._written_at = time.monotonic()
        try:
            with self._fenced():
                self._ledger.attempts.save_progress(self.id, self.token, *said)
        except DatabaseUnavailable as error:
            logger.warning("The progress of job %s is not written yet: %s", self.id, error)
            with self._lock:
                self.unwritten = self.unwritten or said
                self._written_at = time.monotonic()

    def check_time(self) -> None:
        """Where no signal can interrupt a task (in a thread), its time ends here."""
        if self.deadline is not None and time.monotonic() >= self.deadline:
            raise self.timed_out()

    def timed_out(self) -> TaskTimeout:
        return TaskTimeout(f"Timed out: it took longer than the {self.timeout_s:g} s that it may.")

    @contextlib.contextmanager
    def _fenced(self) -> Iterator[None]:
        try:
            yield
        except FenceRefused as refused:
            raise ClaimLost(str(refused)) from refused


_current: ContextVar[CurrentJob | None] = ContextVar("current_job", default=None)


def current_job() -> CurrentJob:
    """The job that the calling code works for; an inert one outside a worker.

    A thread that the task starts has no current job of its own: hand it the task's.
    """
    return _current.get() or CurrentJob()


@contextlib.contextmanager
def working_for(job: CurrentJob) -> Iterator[None]:
    """Make it the current job of the code inside."""
    before = _current.set(job)
    try:
        yield
    finally:
        _current.reset(before)


_bars: dict[str, Any] = {}


def _notebook_bar(done: float, total: float, note: str) -> None:
    """One bar for the cell that runs; a new one when the last was complete."""
    try:
        with warnings.catch_warnings(action="ignore"):  # where there are no widgets, the bar is text, which will do
            from tqdm.auto import tqdm
    except ImportError:
        return

    bar = _bars.get("bar")
    if bar is None or bar.total != total or bar.n > done:
        bar = _bars["bar"] = tqdm(total=total)
    bar.set_description_str(note, refresh=False)
    bar.n = done
    bar.refresh()
    if done >= total:
        bar.close()
        del _bars["bar"]
