"""The methods of Huey that a ledger changes.

Huey runs the task and then writes a result, a retry and more, one after the other. These overrides collect all of it on the
attempt, and the executor writes it with the end, in one transaction.
"""

import contextlib
import logging
import os
import socket
import threading
import uuid
from datetime import datetime
from typing import Any

from huey import signals
from huey.api import Huey, Task, TaskWrapper
from huey.constants import EmptyData
from huey.utils import Error

from jobqueue.execution.attempt import REPORTS, Attempt, current_attempt, describe, ending_attempt
from jobqueue.execution.current_job import current_job
from jobqueue.execution.executor import Executor
from jobqueue.execution.retry import next_retry
from jobqueue.files.files import Files
from jobqueue.jobs.handle import JobHandle
from jobqueue.kernel import in_kernel
from jobqueue.ledger.ledger import Ledger
from jobqueue.messages.messages import Messages
from jobqueue.storage import LedgerStorage
from jobqueue.tasks.task import DurableTaskWrapper

logger = logging.getLogger("jobqueue.huey")


class NotebookTask(ValueError):
    """A submit of a task that a notebook's cell defines. Nothing was submitted."""


class LedgerHuey(Huey):
    """Huey on a ledger, without the entry points of DurableHuey, which creates the executor and the messages."""

    storage: LedgerStorage
    executor: Executor
    messages: Messages
    max_file: int
    _immediate_lock: threading.RLock

    @property
    def ledger(self) -> Ledger:
        """The ledger. In immediate mode it is another one, in memory."""
        return self.storage.ledger

    @property
    def files(self) -> Files:
        """The files of the calling user or job: `file = huey.files.save(contents, filename)`, to be a job's argument or result."""
        job = current_job()
        return Files(self.ledger.files, self.max_file, job, job.owner)

    def get_task_wrapper_class(self) -> type[TaskWrapper]:
        return DurableTaskWrapper

    # --- submitting and claiming ---

    def _submit_message(self, data: bytes, priority: float | None, ts: datetime | None) -> None:
        """Submit a message from Huey's storage interface."""
        task = self.deserialize_task(data)
        task.priority = task.priority if priority is None else priority
        task.eta = task.eta if ts is None else ts
        self.enqueue(task)

    def _check_name(self, name: str) -> None:
        """Refuse a task of a notebook's cell, which no worker's code has. Raises NotebookTask."""
        module, _, short = name.rpartition(".")
        if module == "__main__" and in_kernel() and not self.immediate:
            raise NotebookTask(
                f"{short} is defined in this notebook, so no worker can run it. Use the notebook's queue (@queue.task, from "
                f"jobqueue.notebook import queue), or promote it: python -m app promote NOTEBOOK {short}"
            )

    def dequeue(self) -> Task | None:
        """Claim the next due job for the calling thread. A consumer's workers use the executor instead."""
        return self.claim(f"{socket.gethostname()}-{os.getpid()}", threading.current_thread().name)

    def claim(self, consumer: str, worker: str) -> Task | None:
        """Claim the next due job for a worker. Return None if there is no such job."""
        return self.executor.claim(lambda: self.executor.request(consumer, worker))

    def _claim_message(self) -> bytes | None:
        task = self.dequeue()
        return None if task is None else self.serialize_task(task)

    def _run_immediately(self) -> None:
        """Run all queued jobs and the jobs that they queue, before the submit returns. Do so in immediate mode only."""
        if self.immediate:
            with self._immediate_lock:  # another thread that runs jobs finishes them first
                while (task := self.claim("immediate", uuid.uuid4().hex)) is not None:
                    self.execute(task)

    # --- running ---

    def execute(self, task: Task, timestamp: datetime | None = None) -> Any:
        if hasattr(task, "attempt"):
            return self.executor.execute(task).value
        return super().execute(task, timestamp)

    def limit_time(self, seconds: float) -> contextlib.AbstractContextManager[None]:
        handler = self._timeout_handler
        return contextlib.nullcontext() if handler is None else handler(seconds)

    # --- Huey's calls at an attempt's end, collected on the attempt ---

    def execute_as_huey(self, task: Task, timestamp: datetime) -> Any:
        return super().execute(task, timestamp)

    def _emit(self, signal: str, task: Task, *args: Any, **kwargs: Any) -> None:
        attempt: Attempt | None = getattr(task, "attempt", None)
        if attempt is not None and signal in REPORTS:
            attempt.signal = signal
            attempt.ending = True
        super()._emit(signal, task, *args, **kwargs)

    def build_error_result(self, task: Task, exception: BaseException) -> dict[str, Any]:
        """Return the metadata of an error, as `get` raises it. Override this to add to it, as in Huey.

        Added values are kept if a result may have their type.
        """
        attempt: Attempt | None = getattr(task, "attempt", None)
        known = None if attempt is None else attempt.description
        description = known or describe(exception)
        metadata = description.metadata(task)
        if attempt is not None:
            metadata |= attempt.job.with_error
            attempt.description = description  # an interrupt as the task returned is not described before
            attempt.failure = metadata
            attempt.exception = exception if attempt.exception is None else attempt.exception
        return metadata

    def put_result(self, key: str, data: Any) -> None:
        """Keep a result. Override this to change it first, as in Huey. A job that follows gets the changed value too.

        Raises ResultNotEncodable, which fails the job.
        """
        attempt = ending_attempt()
        if attempt is None or key != attempt.id:
            super().put_result(key, data)
        elif isinstance(data, Error):
            attempt.failure = dict(data.metadata)
        elif getattr(self.put_result, "__func__", None) is not LedgerHuey.put_result:
            attempt.keep(data)  # which an override may have changed

    def _abort_chord_member(self, task: Task, value: Any) -> None:
        """Note the final error, which Huey passes on here even if it keeps no results. The ledger counts chord members."""
        if isinstance(value, Error):
            task.attempt.failure = dict(value.metadata)

    def delete(self, key: str) -> Any:
        attempt = current_attempt.get()
        if attempt is None:
            return super().delete(key)
        if attempt.started and not attempt.ending:
            return attempt.job.patiently(lambda: self.ledger.entries.release_lock(key, attempt.token))
        attempt.deleted.append(key)  # the end deletes the revocation that this attempt used
        return True

    def revoke(self, task: Any, revoke_until: Any = None, revoke_once: bool = False) -> None:
        """Revoke a task, as Huey does. A unique job that others submitted too continues for them."""
        if not self.ledger.detach(task.id):
            super().revoke(task, revoke_until, revoke_once)

    def is_revoked(self, task: Any, timestamp: datetime | None = None, peek: bool = True) -> bool:
        attempt: Attempt | None = getattr(task, "attempt", None)
        if attempt is not None and not attempt.revoked:
            return False  # the claim has checked
        return bool(super().is_revoked(task, timestamp, peek))

    def _requeue_task(self, task: Task, timestamp: datetime, retry_eta: datetime | None = None) -> None:
        self.schedule_retry(task, None if retry_eta is None else self.messages.to_epoch(retry_eta))

    def schedule_retry(self, task: Task, at: float | None = None) -> None:
        """Note on the attempt that its job is tried again. The ledger's clock counts the pause."""
        attempt: Attempt = task.attempt
        task.retries -= 1
        retry = attempt.retry = next_retry(task, attempt.exception, at)
        logger.info("Job %s is tried again; %s retries are left after that.", attempt.id, task.retries)
        self._emit(signals.SIGNAL_SCHEDULED if retry.at or retry.delay else signals.SIGNAL_ENQUEUED, task)

    # --- results and locks ---

    def result(self, id: str, *args: Any, **kwargs: Any) -> Any:
        return JobHandle(self, Task(id=id)).get(*args, **kwargs)

    def _result_handle(self, task: Task) -> JobHandle:
        return JobHandle(self, task)

    def _result_bytes(self, key: str) -> Any:
        """Return a job's result in Huey's serialized form, for callers of the storage."""
        value = JobHandle(self, Task(id=key))._get()
        return value if value is EmptyData else self.serializer.serialize(value)

    def flush_locks(self, *names: str) -> set[str]:
        """Delete locks that no live job holds, such as those of a killed consumer. Return the names of the deleted ones."""
        keys = {*self._locks, *(f"{self.name}.lock.{name.strip()}" for name in names)}
        return {key.split(".lock.", 1)[-1] for key in keys if self.ledger.entries.delete_stale_lock(key)}
