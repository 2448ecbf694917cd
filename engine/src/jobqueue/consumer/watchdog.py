"""Interrupt worker processes that no longer own their job, and kill those that do not react."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from jobqueue.consumer.processes import ask_to_check_claim
from jobqueue.consumer.timeouts import TIMEOUT_GRACE
from jobqueue.consumer.worker import DurableWorker
from jobqueue.ledger.ledger import Ledger

logger = logging.getLogger("jobqueue.consumer")

CANCEL_GRACE = 5.0  # seconds from the first interrupt of a worker that lost its claim until it is killed


class Watchdog:
    """Watches the worker processes of one consumer. Threads are not watched: they check their claim at each step.

    :param consumer: the consumer's id.
    :param workers: returns the workers with their processes.
    """

    def __init__(
        self, consumer: str, ledger: Ledger, workers: Callable[[], Sequence[tuple[DurableWorker, Any]]]
    ) -> None:
        self._consumer = consumer
        self._ledger = ledger
        self._workers = workers
        self._lost_since: dict[str, float] = {}  # by token: the time.monotonic() at which its claim was found lost

    def check(self) -> None:
        """Check the claim and the timeout of every running job. Raises DatabaseUnavailable."""
        self._kill_overdue()
        self._interrupt_lost()

    def _kill_overdue(self) -> None:
        """Kill workers that run past their job's timeout.

        A worker interrupts its own job at the timeout. It cannot do so during a long call into C.
        """
        for worker, process in self._workers():
            token = worker.held_token.value
            deadline = worker.deadline.value  # read after the token, so that it belongs to this job or a later one
            if not deadline or not token or time.monotonic() < deadline + TIMEOUT_GRACE:
                continue
            if self._ledger.time_out(token):
                logger.warning("Worker process %s does not react to its job's timeout; killing it.", process.pid)
                process.kill()

    def _interrupt_lost(self) -> None:
        """Interrupt workers that run a cancelled or requeued job. Kill those that still run it after CANCEL_GRACE."""
        running = {token: process for worker, process in self._workers() if (token := worker.held_token.value)}
        if not running:
            self._lost_since.clear()
            return
        held = self._ledger.consumers.held_tokens(self._consumer)
        now = time.monotonic()
        self._lost_since = {token: self._lost_since.get(token, now) for token in running.keys() - held}
        for token, since in self._lost_since.items():
            process = running[token]
            if now < since + CANCEL_GRACE:
                ask_to_check_claim(process)
            else:
                logger.warning("Worker process %s still runs a job that it lost; killing it.", process.pid)
                process.kill()
