"""The current job: steps that survive a crash, progress, and Dask for its parts.

Outside a worker (in a notebook, a test, or `jobs run`) the same code gets an inert job: steps run without being saved, and
progress is shown in notebooks.
"""

import contextlib
import logging
import math
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from huey.exceptions import TaskTimeout

from jobqueue import codec
from jobqueue.database.database import DatabaseUnavailable
from jobqueue.execution import closed_files, dask_client
from jobqueue.interrupts import ClaimLost
from jobqueue.ledger.ledger import Ledger
from jobqueue.ledger.records import FenceRefused
from jobqueue.text import NOTE, STEP, name_of, said, shown

if TYPE_CHECKING:
    from distributed import Client, Future

logger = logging.getLogger("jobqueue.context")

T = TypeVar("T")
PROGRESS_INTERVAL = 0.5  # seconds between two writes of a job's progress
AGAIN = 1.0  # longest pause in seconds before a query is repeated that the database did not answer


class Log(Protocol):
    """The lines that a job logs: `job_log` keeps them, and imports this module."""

    def note(self, record: logging.LogRecord) -> None: ...

    def unwritten(self) -> str | None: ...

    def write(self) -> None: ...

    def close(self) -> None: ...


class SubmitRefused(Exception):
    """The app refuses to submit a job now. The message is for the user who asked for it."""


class CurrentJob:
    """The job that the calling code works for. This base class is the inert job outside a worker, which keeps nothing.

    Example::

        @huey.task()
        def analyse(tickers):
            job = current_job()
            for done, ticker in enumerate(tickers):
                job.progress(done, len(tickers), ticker)
                job.step(f"prices:{ticker}", fetch_prices, ticker)

    `id`, `owner`: the job's id and the user it belongs to; None outside a worker. `attempt`: its number, from 1.
    """

    id: str | None = None
    token: str | None = None
    owner: str | None = None
    attempt = 1
    log: Log | None = None
    dask_scheduler: str | None = None  # by default the one that the environment names

    def __init__(self, report: Callable[[float, float, str], None] | None = None) -> None:
        self._report = report
        self.with_error: dict[str, Any] = {}  # what an attempt that fails keeps beside its error
        self._names: set[str] = set()

    def step(self, name: str, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Return the value of `function(*args, **kwargs)`, and save it under a name.

        After a crash or a retry, the next attempt returns the saved value and does not call the function. Every attempt gets
        the value as it is decoded from storage, including the attempt that computed it.

        :param name: identifies the step within the job. Use each name once, for example f"window:{i}" in a loop.
        :param function: called with `args` and `kwargs`. Its value must be data that can be stored, as a task's result.

        Raises TypeError for a name that is not text, and ValueError for a name that this attempt has used already. On a
        worker it also raises ResultNotEncodable for a value that cannot be stored, ResultTooLarge for one of more than
        `max_result` bytes, ClaimLost if the job was cancelled or requeued, and TaskTimeout if it has timed out.
        """
        self._once(name)
        return cast(T, codec.decode(*codec.encode(function(*args, **kwargs))))

    def progress(self, done: float, total: float, note: str = "") -> None:
        """Report the job's progress. Call it as often as you like: it is written at most twice a second.

        :param done: the amount of work done, in any unit.
        :param total: the whole amount, in the same unit.
        :param note: what the job is doing now, for people.

        On a worker it raises ClaimLost if the job was cancelled or requeued, and TaskTimeout if it has timed out.
        """
        if self._report is not None:
            self._report(done, total, said(note, NOTE))
        elif "ipykernel" in sys.modules:
            _notebook_bar(done, total, said(note, NOTE))

    def is_saved(self, name: str) -> bool:
        """Return whether an earlier attempt has saved the value of the step with this name. Raises TypeError as `step` does.

        Example::

            missing = [i for i in range(200) if not job.is_saved(f"part:{i}")]
        """
        _checked(name)
        return False

    def dask(
        self, workers: int | None = None, imports: Sequence[str] = ()
    ) -> contextlib.AbstractContextManager["Client"]:
        """Return a context manager that yields a `distributed.Client`, for parts of the job that run in parallel.

        Where DASK_SCHEDULER is set, the client is connected to that cluster. At the end of the block the cluster goes on, without
        the parts that are left. Otherwise the block starts Dask's processes on this machine, in some seconds, and kills them at
        its end. They also end with this process. Each runs one part at a time, and is started again if it dies.

        Example::

            with job.dask(workers=8) as client:
                futures = client.map(price, tickers)
                prices = dict(job.gather(client, futures, "prices"))

        :param workers: the number of processes. By default `dask_workers`. A cluster has its own number.
        :param imports: modules that the parts need, such as "sklearn.linear_model". They are imported once, while Dask starts, and
            the processes begin with them. If an import fails, the worker's output says so, and the parts that import the module
            raise the exception. A cluster ignores this.

        The block raises ValueError for fewer than 1 workers, or if `imports` is not a list of names. It raises DaskUnavailable if
        Dask is not installed (the extra `dask`), if the scheduler does not answer, or if the processes do not start. On a worker
        it also raises ClaimLost and TaskTimeout, as `progress` does.
        """
        scheduler = self.dask_scheduler or os.environ.get("DASK_SCHEDULER")
        return dask_client.connected(workers, imports, scheduler, self.check_claim)

    @property
    def dask_workers(self) -> int:
        """Return the number of processes that `dask` starts by default: one for each processor, each with 512 MiB of memory or more.

        A container's limits count as the machine's size. Raises ImportError if Dask is not installed (the extra `dask`).
        """
        return dask_client.default_workers()

    def gather(
        self, client: "Client", futures: Iterable["Future[Any]"], note: str | None = None, done: int = 0
    ) -> Iterator[Any]:
        """Yield the results of Dask futures in the order in which they come, and report how many have come as progress.

        If the job is cancelled, released or out of time, or if a part fails, the futures that are not done are cancelled. A Dask
        worker that dies costs the part that it ran and the results that it held, which are computed again. A part whose workers
        die four times fails. A future is released when its result is taken, so do not use it afterwards.

        Example::

            with job.dask() as client:
                futures = [client.submit(fit, i) for i in range(200) if not job.is_saved(f"part:{i}")]
                for i, fitted in job.gather(client, futures, "part", done=200 - len(futures)):
                    job.step(f"part:{i}", lambda: fitted)

        :param client: the client that submitted the futures.
        :param note: what the parts are, for people. The progress reads "part 12 of 200". None to report no progress, because the job
            does, for example if a future stands for several parts.
        :param done: the number of parts that were done before. They count as progress.

        Raises the exception of a part that fails, and DaskUnavailable if the scheduler is lost. On a worker it also raises
        ClaimLost and TaskTimeout, as `progress` does.
        """

        def report(came: int, of: int) -> None:
            if note is not None:
                self.progress(done + came, done + of, f"{note} {done + came} of {done + of}")

        return dask_client.gather(client, futures, report, self.check_claim)

    def check_claim(self) -> None:
        """Do nothing. On a worker, raise ClaimLost if the job was cancelled or requeued, and TaskTimeout if it has timed out."""

    def submitting(self, jobs: int) -> None:
        """Do nothing. A subclass is called here before `jobs` jobs are submitted, and may raise SubmitRefused to refuse them."""

    def patiently(self, query: Callable[[], T]) -> T:
        """Return the value of `query()`. A running job repeats it while the database does not answer."""
        return query()

    def _once(self, name: str) -> str:
        """Return a step's name as it is stored. Raise an error if it cannot be used, or was used before."""
        name = _checked(name)
        if name in self._names:
            raise ValueError(
                f"The step name {name!r} is used twice in this job. A saved value is found by its step's name, so give each "
                "step its own, for example with the item that it works on."
            )
        self._names.add(name)
        return name


class ClaimedJob(CurrentJob):
    """A job that a worker has claimed. Any thread that the task starts may call its methods.

    :param max_result: the most bytes of a step's value, or of the job's result.
    """

    def __init__(
        self, ledger: Ledger, job_id: str, token: str, attempt: int, owner: str | None, max_result: float = math.inf
    ) -> None:
        super().__init__()
        self.id: str = job_id
        self.token: str = token
        self.attempt = attempt
        self.owner = owner
        self.max_result = max_result
        self.timeout_s: float | None = None
        self.deadline: float | None = None  # by time.monotonic()
        self.interrupted_at: float | None = None  # when the timeout first interrupted the task
        self._ledger = ledger
        self._saved: set[str] | None = None  # names of the steps that earlier attempts saved
        self._lock = threading.RLock()
        self._began_at = time.monotonic()
        self._written_at = 0.0
        self.unwritten: tuple[float, float, str] | None = None  # progress that the ledger does not have yet

    def step(self, name: str, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        self.check_time()
        with self._lock:
            name = self._once(name)
            saved = name in self._saved_steps()
            self._began_at = self._began_at if saved else 0.0
        if saved:
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
            self.unwritten = (float(done), float(total), said(note, NOTE))
        self._write_progress()

    def patiently(self, query: Callable[[], T]) -> T:
        """Return the value of `query()`. Repeat it while it raises DatabaseUnavailable: an outage does not fail the job."""
        pause = 0.05
        while True:
            try:
                return query()
            except DatabaseUnavailable as error:
                closed_files.exit_if_closed()
                logger.warning("Job %s waits for its database: %s", self.id, error)
                time.sleep(pause)
                pause = min(pause * 2, AGAIN)

    def is_saved(self, name: str) -> bool:
        with self._lock:
            return _checked(name) in self._saved_steps()

    def check_claim(self) -> None:
        self.check_time()
        self._write_progress()
        with contextlib.suppress(DatabaseUnavailable):
            if not self._ledger.attempts.still_held(self.id, self.token):
                raise ClaimLost(f"This worker no longer holds job {self.id}.")

    def read_file(self, file_id: str, offset: int) -> bytes:
        """Return the bytes of a file from an offset to the end of its piece. Raises FileMissing."""
        return self.patiently(lambda: self._ledger.files.read(file_id, offset))

    def _saved_steps(self) -> set[str]:
        if self._saved is None:
            self._saved = (
                self.patiently(lambda: self._ledger.attempts.step_names(self.id)) if self.attempt > 1 else set()
            )
        return self._saved

    def _write_progress(self) -> None:
        with self._lock:
            if self.unwritten is None or time.monotonic() < self._written_at + PROGRESS_INTERVAL:
                return
            # A later attempt skips saved steps in a moment. Writing progress then would reset the page to the start.
            if time.monotonic() < self._began_at + PROGRESS_INTERVAL and not self._saved_steps() <= self._names:
                return
            progress, self.unwritten = self.unwritten, None
            self._written_at = time.monotonic()
        try:
            with self._fenced():
                self._ledger.attempts.save_progress(self.id, self.token, *progress)
        except DatabaseUnavailable as error:
            logger.warning("The progress of job %s is not written yet: %s", self.id, error)
            with self._lock:
                self.unwritten = self.unwritten or progress
                self._written_at = time.monotonic()

    def check_time(self) -> None:
        """Raise TaskTimeout if the job has timed out. In a thread no signal can interrupt the task, so it ends here."""
        if self.deadline is not None and time.monotonic() >= self.deadline:
            raise self.timed_out()

    def timed_out(self) -> TaskTimeout:
        """Return the exception for the job's timeout."""
        return TaskTimeout(f"Timed out: it ran longer than its timeout of {self.timeout_s:g} s.")

    @contextlib.contextmanager
    def _fenced(self) -> Iterator[None]:
        try:
            yield
        except FenceRefused as refused:
            raise ClaimLost(str(refused)) from refused


def _checked(name: str) -> str:
    """Return a step's name as it is stored. Raises TypeError."""
    if not issubclass(type(name), str):
        raise TypeError(f"The step name {shown(name)} is not text. Give text, for example f'window:{{i}}'.")
    return name_of(name, STEP)


_current: ContextVar[CurrentJob | None] = ContextVar("current_job", default=None)


def current_job() -> CurrentJob:
    """Return the job that the calling code works for. Outside a worker, return an inert job.

    Example::

        @huey.task()
        def analyse(tickers):
            job = current_job()
            prices = job.step("prices", fetch_prices, tickers)  # saved: not fetched again after a crash
            job.progress(1, 2, "optimising")

    A thread that a task starts has no current job. Pass it the task's.
    """
    return _current.get() or CurrentJob()


@contextlib.contextmanager
def working_for(job: CurrentJob) -> Iterator[None]:
    """Make `job` the current job inside the block."""
    before = _current.set(job)
    try:
        yield
    finally:
        _current.reset(before)


_bars: dict[str, Any] = {}


def _notebook_bar(done: float, total: float, note: str) -> None:
    """Update the progress bar of the running cell. Start a new bar after a complete one."""
    try:
        with warnings.catch_warnings(action="ignore"):  # without widgets the bar is plain text
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
