"""The handle that a submit returns."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

from huey.api import Result, Task
from huey.constants import EmptyData
from huey.exceptions import ResultTimeout
from huey.utils import Error

from jobqueue.execution.job_log import LogLine
from jobqueue.files.file import readable
from jobqueue.jobs import waiting
from jobqueue.jobs.history import Event
from jobqueue.jobs.job import Job, Progress
from jobqueue.ledger.ledger import Ledger
from jobqueue.ledger.results import value_of
from jobqueue.ledger.states import State


class Queue(Protocol):
    """The queue, as far as a handle calls it."""

    storage: Any
    lease_s: float

    @property
    def ledger(self) -> Ledger: ...

    def get_job(self, job_id: str) -> Job: ...

    def history(self, job_id: str) -> Sequence[Event]: ...

    def log(self, job_id: str) -> Sequence[LogLine]: ...

    def retry_job(self, job_id: str) -> bool: ...

    def reschedule(self, task: Task, **changes: Any) -> Any: ...


class JobHandle(Result):
    """A handle of a submitted job: Huey's Result, with the job's state, progress, history and log.

    Example::

        handle = analyse(["AAPL", "MSFT"])
        handle.id                               # keep it, for example in the page's address
        handle.state                            # State.QUEUED
        handle.get(blocking=True, timeout=60)   # the result, after at most 60 seconds

    `huey.job(handle.id)` returns such a handle in another process. Reading a result never removes it. `get` raises
    huey.exceptions.TaskException if the job failed, and huey.exceptions.ResultTimeout after `timeout` seconds. In
    a job it raises NoFreeWorker if the awaited job has no worker to run it, because all of them wait.
    """

    huey: Queue
    _result: Any

    def __init__(self, huey: Queue, task: Task) -> None:
        super().__init__(huey, task)

    def __repr__(self) -> str:
        return f"<JobHandle {self.id}>"

    def get_job(self) -> Job:
        """Return the job in its present state. Raises JobNotFound."""
        return self.huey.get_job(self.id)

    def history(self) -> Sequence[Event]:
        """Return the job's events, oldest first. Raises JobNotFound."""
        return self.huey.history(self.id)

    def log(self) -> Sequence[LogLine]:
        """Return the last lines that the job logged, oldest first. Raises JobNotFound."""
        return self.huey.log(self.id)

    @property
    def state(self) -> State:
        """The job's present state. Raises JobNotFound."""
        return self.get_job().state

    @property
    def progress(self) -> Progress | None:
        """The progress that the job reported last, or None if it reported none. Raises JobNotFound."""
        return self.get_job().progress

    @property
    def result(self) -> Any:
        """The job's result, or None until it has ended. Raises huey.exceptions.TaskException if it failed."""
        return self.get()

    def cancel(self) -> bool:
        """Cancel the job. Return False if it had ended.

        A running job is interrupted. A unique job that others submitted too continues for them; only this handle is
        cancelled.
        """
        return self.huey.ledger.cancel(self.id, "Cancelled.")

    def retry(self) -> bool:
        """Queue a failed or cancelled job again. Return False if it is in another state.

        The saved values of its steps are used again. If a unique job already runs again for others, this handle joins that
        run.
        """
        self.reset()
        return self.huey.retry_job(self.id)

    def reschedule(
        self,
        eta: datetime | None = None,
        delay: float | timedelta | None = None,
        expires: Any = None,
        priority: float | None = None,
        preserve_pipeline: bool = True,
    ) -> Any:
        """Run the job at another time: cancel it, and submit a new job in its place.

        :param eta: the new time, a datetime.
        :param delay: the new time, in seconds from now or as a timedelta. Without `eta` and `delay` the new job runs at once.
        :param expires: when the new job expires: seconds, a timedelta or a datetime. By default as before.
        :param priority: the new job's priority. By default as before.
        :param preserve_pipeline: whether jobs that follow the old job follow the new one.

        Return the new job's handle. Raises JobNotFound.
        """
        return self.huey.reschedule(
            self.task,
            eta=eta,
            delay=delay,
            expires=expires,
            priority=priority,
            preserve_pipeline=preserve_pipeline,
        )

    def is_ready(self) -> bool:
        return self._get() is not EmptyData

    def _get(self, preserve: bool = False) -> Any:
        """Return the result, or EmptyData. The result stays in the ledger, whatever `preserve` says."""
        if self._result is EmptyData:
            row = self.huey.ledger.reading.result(self.id)
            if row is not None and (row["body"] is not None or row["state"] == State.SUCCEEDED):
                with readable(self.huey.ledger.files.read):
                    value = value_of(row)
                if isinstance(value, Error) and value.metadata["task_id"] == row["id"]:
                    value.metadata["task_id"] = self.id  # a handle does not show the id of a run that it shares
                if not State(row["state"]).ended:
                    return value  # the error of an attempt that is tried again
                self._result = value
        return self._result

    def get_raw_result(
        self,
        blocking: bool = False,
        timeout: float | None = None,
        backoff: float = 1.15,
        max_delay: float = 1.0,
        revoke_on_timeout: bool = False,
        preserve: bool = False,
    ) -> Any:
        result = self._get()
        if result is not EmptyData:
            return result
        if not blocking:
            return None
        ledger, lease_s, storage = self.huey.ledger, self.huey.lease_s, self.huey.storage
        if waiting.wait(
            ledger, lease_s, self.id, timeout, lambda s: storage.wait_result(self.id, s, backoff, max_delay)
        ):
            result = self._get()
            if result is not EmptyData:
                return result
            job = self.get_job()  # it was cancelled, so it has no result
            return Error(
                {"error": f"The job was {job.state}. {job.error}", "retries": 0, "traceback": "", "task_id": self.id}
            )
        if revoke_on_timeout:
            self.revoke()
        job = self.get_job()  # raises JobNotFound for an unknown id
        raise ResultTimeout(f"Job {self.id} has no result after {timeout} s: it is {job.state}, attempt {job.attempt}.")
