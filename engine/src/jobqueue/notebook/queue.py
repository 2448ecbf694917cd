"""A queue for prototypes: its ledger is in the kernel's memory, and its workers are threads of the kernel."""

import sys
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any

from huey.api import Task
from huey.constants import WORKER_THREAD

from jobqueue.consumer.consumer import DurableConsumer
from jobqueue.database.database import MEMORY
from jobqueue.huey import DurableHuey
from jobqueue.jobs.handle import JobHandle
from jobqueue.jobs.job import Job, JobNotFound
from jobqueue.notebook.output import JobOutput, kept
from jobqueue.notebook.watching import Raised, watch
from jobqueue.text import from_the_task, trace_of

WORKERS = 2
KEPT_ERRORS = 100  # exceptions to keep; each keeps the variables of its frames


class NotebookConsumer(DurableConsumer):
    """A consumer in a thread of the kernel. The kernel keeps its signals: they interrupt a cell, never a job."""

    def _set_signal_handlers(self) -> None: ...

    def serve(self) -> None:
        super().serve()
        self.stop()


class NotebookQueue(DurableHuey):
    """A DurableHuey that lives as long as the kernel. Everything that works with `huey` works with it.

    Example::

        @queue.task(retries=2, retry_delay=5)     # run the cell again after an edit
        def total_sales(region: str) -> float: ...

        handle = total_sales("north")             # a thread of this kernel runs it
        queue.watch(handle)                       # progress, attempts and log, then the value
        total_sales.call_local("north")           # here and now, for breakpoint()

    The workers start with the first job or schedule. Jobs end with the kernel. A thread cannot be interrupted: a timeout or a
    cancel takes effect at the job's next `progress` or `step`.
    """

    def __init__(self) -> None:
        super().__init__("notebook", MEMORY)
        self._registry.replaces = True  # a promoted job's too, whose module is not the notebook
        self._starting = threading.RLock()
        self._consumer: NotebookConsumer | None = None
        self._thread: threading.Thread | None = None
        self._stopped = False  # by `stop`, until `start`
        self._errors: dict[str, Raised] = {}  # the last exception of each job that raised one
        self._outputs: list[JobOutput] = []

    def start(self) -> None:
        """Start the workers, unless they run. The first job or schedule does so too."""
        with self._starting:
            self._stopped = False
            if self._thread is not None and self._thread.is_alive():
                return
            self._consumer = NotebookConsumer(self, workers=WORKERS, worker_type=WORKER_THREAD)
            self._redirect()
            self._consumer.start()
            self._thread = threading.Thread(target=self._consumer.serve, name="notebook-consumer", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Stop the workers. Jobs that run go back to the queue, and run again after `start`."""
        with self._starting:
            self._stopped = True
            if self._consumer is None or self._thread is None:
                return
            self._consumer.stop_flag.set()
            self.storage.notifier.wake_all()
            self._thread.join()
            self._consumer = self._thread = None
            self._restore()

    def watch(self, job: JobHandle | str) -> Any:
        """Show a job until it ends, and return its value. Interrupt the cell to stop watching: the job continues.

        A failed attempt that is tried again is one line. Lines that the job prints or logs appear below the cell.

        :param job: a handle, or a job's id. It may be a handle of the app's own queue.

        Raises the exception that the job raised in its last attempt, with its traceback. For a job that another process ran
        it is a huey.exceptions.TaskException. Raises JobNotFound, and RuntimeError if the workers are stopped.
        """
        handle = self.job(job) if isinstance(job, str) else job
        if self._stopped and handle.huey is self:
            raise RuntimeError("The notebook's queue is stopped, so no job runs. Start it: queue.start()")
        return watch(handle, self._errors)

    def get_job(self, job_id: str) -> Job:
        try:
            return super().get_job(job_id)
        except JobNotFound as error:
            raise JobNotFound(f"Jobs of the notebook's queue end with the kernel. Job {job_id} is gone.") from error

    def periodic_task(self, validate_datetime: Callable[[datetime], bool], *args: Any, **options: Any) -> Any:
        decorate = super().periodic_task(validate_datetime, *args, **options)

        def define(function: Callable[..., Any]) -> Any:
            task = decorate(function)
            self._start_unless_stopped()
            return task

        return define

    # --- the hooks of DurableHuey ---

    def _run_immediately(self) -> None:
        """Start the workers: jobs were submitted."""
        if self.immediate:
            super()._run_immediately()
        else:
            self._start_unless_stopped()

    def _check_name(self, name: str) -> None:
        """Accept every task. The workers are threads of the kernel, so they know what its cells define."""

    def build_error_result(self, task: Task, exception: BaseException) -> dict[str, Any]:
        self._errors[task.id] = exception, from_the_task(trace_of(exception))  # the attempt's end drops the traceback
        while len(self._errors) > KEPT_ERRORS:
            del self._errors[next(iter(self._errors))]
        return super().build_error_result(task, exception)

    def execute_as_huey(self, task: Task, timestamp: datetime) -> Any:
        with kept(task.attempt.job.log):
            return super().execute_as_huey(task, timestamp)

    def _start_unless_stopped(self) -> None:
        if not self._stopped:
            self.start()

    def _redirect(self) -> None:
        """Send what jobs print to their logs. Other threads print as before."""
        sys.stdout = JobOutput(sys.stdout, "stdout")
        sys.stderr = JobOutput(sys.stderr, "stderr")
        self._outputs = [sys.stdout, sys.stderr]

    def _restore(self) -> None:
        for name, output in zip(("stdout", "stderr"), self._outputs, strict=True):
            if getattr(sys, name) is output:
                setattr(sys, name, output.beside)
        self._outputs = []
