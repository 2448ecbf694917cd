"""A worker: it claims a job, runs it and writes its end. Without a job it waits for the notifier."""

import contextlib
import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

from huey.api import Task
from huey.consumer import Worker, WorkerRecycle

from jobqueue.consumer.asking import IDLE, Asking
from jobqueue.consumer.shared_token import SharedToken
from jobqueue.database.database import DatabaseUnavailable
from jobqueue.database.problems import Reminder
from jobqueue.execution.attempt import Attempt
from jobqueue.execution.executor import Executed, Executor
from jobqueue.ledger.ledger import Ledger
from jobqueue.ledger.queues import DEFAULT
from jobqueue.ledger.records import ClaimRequest
from jobqueue.messages.messages import Messages
from jobqueue.monitoring.workers import memory
from jobqueue.notifier.notifier import Heard, Notifier

logger = logging.getLogger("jobqueue.consumer")

YIELD = 0.25  # seconds that a worker ignores notifications after it passed one on to workers with other code


class DurableWorker(Worker):
    """One worker of a consumer, in a process or a thread of its own.

    :param consumer: the id of its consumer.
    :param name: its name within the consumer, such as "worker-1".
    :param parent: the process id of the consumer's main process.
    :param queues: the queues that it serves. None for every queue.
    :param asking: when to ask for jobs, shared with the consumer's other workers of these queues.
    :param max_memory: the resident memory in bytes above which it claims no more jobs and ends, so that the consumer replaces
        it. None for no limit.
    """

    def __init__(
        self,
        *,
        consumer: str,
        name: str,
        parent: int,
        queues: list[str] | None,
        asking: Asking,
        ledger: Ledger,
        executor: Executor,
        messages: Messages,
        notifier: Notifier,
        max_memory: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.consumer = consumer
        self.name = name
        self.parent = parent
        self.queues = queues
        self.asking = asking
        self.ledger = ledger
        self.executor = executor
        self.messages = messages
        self.notifier = notifier
        self.max_memory = max_memory
        self.lately: list[str] = []  # queues of its recent jobs, the latest last
        # Shared with the main process:
        self.held_token = SharedToken()  # of the job that it runs; empty if it runs none
        self.requested_token = SharedToken()  # of its last request for a job
        self.deadline = multiprocessing.RawValue("d", 0.0)  # its job's timeout, by time.monotonic(); 0 for none
        self.made_at = time.monotonic()
        self._reminder = Reminder(self._logger)
        self.claim_in_doubt = False  # a claim was sent without an answer, so the database may have given it a job
        self._heard: Heard | None = None  # how its wait ended, if it waited since its last request

    def loop(self, now: Any = None) -> None:
        if self._is_orphan:
            sys.exit("The consumer's main process has ended, so its worker exits too.")
        interval = self.asking.interval(self.notifier.hears)
        if self._heard is Heard.NOTHING and not self.asking.takes_turn(interval):
            self._heard = self._wait(IDLE)  # another worker asks, and wakes this one when it gets a job
            return
        try:
            if self.claim_in_doubt:
                self.ledger.release(self.consumer, self.name)
            self.claim_in_doubt = True
            task = self.executor.claim(self._request, self._holding)
            self.claim_in_doubt = False
            self.asking.note(task is not None)
            for_other_code = (
                task is None
                and self._heard is Heard.ALONE
                and self.ledger.reading.any_queued_but(self.messages.task_names())
            )
        except DatabaseUnavailable as error:
            self._reminder.warn("Cannot claim a job: %s", error, about=error.name)
            self.requested_token.value = ""
            self._heard = None
            self.sleep()
            return
        if task is None:
            if for_other_code:  # only other code knows the queued task: notify its workers, and stay out of their way
                self.notifier.notify(self.queues or [DEFAULT])
                self.stop_flag.wait(YIELD)
            self._heard = self._wait(interval)
            return
        self._heard = None
        self.notifier.wake_another(self.queues)
        self.delay = self.default_delay
        while task is not None:
            task = self._next_after(self._execute(task))
        if self._is_worn_out:
            taken = (memory(os.getpid()) or 0) / 1e6
            logger.info("%s is replaced: it has run %s jobs, and takes %.0f MB.", self.name, self.task_count, taken)
            raise WorkerRecycle

    def _wait(self, seconds: float) -> Heard:
        return self.notifier.wait(seconds, self.stop_flag.wait, self.queues)

    def _request(self) -> ClaimRequest:
        return self.executor.request(self.consumer, self.name, self._announce, self.queues, self.lately)

    def _next_request(self) -> ClaimRequest | None:
        if self.stop_flag.is_set() or self._is_orphan or self._is_worn_out:
            return None
        return self._request()

    def _announce(self, token: str) -> None:
        self.requested_token.value = token

    def _execute(self, task: Task) -> Executed:
        attempt: Attempt = task.attempt
        self.task_count += 1
        self.lately = [*(queue for queue in self.lately if queue != attempt.queue), attempt.queue]
        with self._holding(attempt.token):
            return self.executor.execute(task, self._next_request)

    @contextlib.contextmanager
    def _holding(self, token: str) -> Iterator[None]:
        self.held_token.value = token
        try:
            yield
        finally:
            self.held_token.value = ""

    def _next_after(self, executed: Executed) -> Task | None:
        """Return the job that was claimed together with the end of the last one, or None."""
        self.claim_in_doubt = executed.claim_in_doubt
        self.asking.note(True)  # the end may have released jobs that wait for it, also if it claimed none
        if executed.next is None:
            return None
        self.claim_in_doubt = True
        try:
            task = self.executor.task_of(executed.next, self._holding)
        except DatabaseUnavailable as error:
            self._logger.warning("The claimed job is released: %s", error)
            return None
        self.claim_in_doubt = False
        return task

    def shutdown(self) -> None:
        if self.claim_in_doubt:
            with contextlib.suppress(DatabaseUnavailable):
                self.ledger.release(self.consumer, self.name)
        super().shutdown()

    @property
    def _is_orphan(self) -> bool:
        return os.getpid() != self.parent and os.getppid() != self.parent

    @property
    def _is_worn_out(self) -> bool:
        if self.max_tasks and self.task_count >= self.max_tasks:
            return True
        return self.max_memory is not None and (memory(os.getpid()) or 0) > self.max_memory
