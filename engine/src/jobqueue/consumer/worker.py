"""A worker: claims a job, runs it, writes its end, and waits for the notifier when there is no job."""

import contextlib
import multiprocessing
import os
import sys
import time
from typing import Any

from huey.api import Task
from huey.consumer import Worker, WorkerRecycle

from jobqueue.database.database import DatabaseUnavailable
from jobqueue.execution.attempt import Attempt
from jobqueue.execution.executor import Executed, Executor
from jobqueue.ledger.ledger import Ledger
from jobqueue.ledger.queues import DEFAULT
from jobqueue.ledger.records import ClaimRequest
from jobqueue.messages.messages import Messages
from jobqueue.notifier.notifier import Notifier

IDLE = 1.0  # seconds that a worker waits for the notifier before it looks by itself
ASIDE = 0.25  # seconds for which a worker that passed a notification on does not listen
TOKEN = 32  # characters of a token


class DurableWorker(Worker):
    """One worker of a consumer, in a process or a thread of its own.

    :param consumer: the id of its consumer. `name`: its own, within the consumer.
    :param parent: the process id of the consumer's main process.
    :param queues: the queues that it serves; None for every queue.
    """

    def __init__(
        self,
        *,
        consumer: str,
        name: str,
        parent: int,
        queues: list[str] | None,
        ledger: Ledger,
        executor: Executor,
        messages: Messages,
        notifier: Notifier,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.consumer = consumer
        self.name = name
        self.parent = parent
        self.queues = queues
        self.ledger = ledger
        self.executor = executor
        self.messages = messages
        self.notifier = notifier
        self.lately: list[str] = []  # the queues of its last jobs, the last one last
        # Shared with the main process: the token that it works under, and the last under which it asked for a job.
        self.holds = multiprocessing.RawArray("c", TOKEN)
        self.asks = multiprocessing.RawArray("c", TOKEN)
        self.deadline = multiprocessing.RawValue("d", 0.0)  # of its job, by time.monotonic(); 0 for no deadline
        self.made_at = time.monotonic()
        self.unsure = False  # a claim may have been made whose answer never came
        self.notified = False  # alone, since the last claim: no other worker was notified

    def loop(self, now: Any = None) -> None:
        if self._is_orphan:
            sys.exit("The consumer is gone; its workers go with it.")
        try:
            if self.unsure:
                self.ledger.release(self.consumer, self.name)
            self.unsure = True
            task = self.executor.claim(self._request)
            self.unsure = False
            others_task = (
                task is None and self.notified and self.ledger.reading.any_queued_but(self.messages.task_names())
            )
        except DatabaseUnavailable as error:
            self._logger.warning("No claim: %s", error)
            self.asks.value = b""
            self.sleep()
            return
        if task is None:
            if others_task:  # other code knows it: notify a worker that has it, and do not compete with that worker
                self.notifier.notify(self.queues or [DEFAULT])
                self.stop_flag.wait(ASIDE)
            self.notified = self.notifier.wait(IDLE, self.stop_flag.wait, self.queues)
            return
        self.notified = False
        self.delay = self.default_delay
        while task is not None:
            task = self._next_after(self._execute(task))
        if self._is_worn_out:
            raise WorkerRecycle

    def _request(self) -> ClaimRequest:
        return self.executor.request(self.consumer, self.name, self._announce, self.queues, self.lately)

    def _next_request(self) -> ClaimRequest | None:
        if self.stop_flag.is_set() or self._is_orphan or self._is_worn_out:
            return None
        return self._request()

    def _announce(self, token: str) -> None:
        self.asks.value = token.encode()

    def _execute(self, task: Task) -> Executed:
        attempt: Attempt = task.attempt
        self.task_count += 1
        self.holds.value = attempt.token.encode()
        self.lately = [*(queue for queue in self.lately if queue != attempt.queue), attempt.queue]
        try:
            return self.executor.execute(task, self._next_request)
        finally:
            self.holds.value = b""

    def _next_after(self, executed: Executed) -> Task | None:
        """Return the job that was claimed together with the end of the last one."""
        self.unsure = executed.unsure
        if executed.next is None:
            return None
        self.unsure = True
        try:
            task = self.executor.task_of(executed.next)
        except DatabaseUnavailable as error:
            self._logger.warning("The claimed job is released: %s", error)
            return None
        self.unsure = False
        return task

    def shutdown(self) -> None:
        if self.unsure:
            with contextlib.suppress(DatabaseUnavailable):
                self.ledger.release(self.consumer, self.name)
        super().shutdown()

    @property
    def _is_orphan(self) -> bool:
        return os.getpid() != self.parent and os.getppid() != self.parent

    @property
    def _is_worn_out(self) -> bool:
        return bool(self.max_tasks) and self.task_count >= self.max_tasks
