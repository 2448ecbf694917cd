"""Leases: renew those of this consumer's workers, and requeue the jobs whose lease ran out elsewhere."""

import logging
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from jobqueue.consumer.processes import is_stopped
from jobqueue.consumer.worker import DurableWorker
from jobqueue.ledger.consumers import SWEEP_LIMIT
from jobqueue.ledger.ledger import Ledger
from jobqueue.monitoring.workers import Process, dump_processes, memory

logger = logging.getLogger("jobqueue.consumer")

PROMOTE_FOR = 0.2  # seconds, at most, in which one sweep queues due jobs
FAIL_UNKNOWN_EVERY = 60.0  # seconds between two searches for jobs whose task no consumer knows


class Leases:
    """The leases of one consumer.

    :param consumer: its id.
    :param living: returns its live workers with their processes.
    :param lease_s: seconds that a claim holds unless it is renewed.
    :param unknown_after_s: seconds that a job may wait for a consumer that knows its task.
    """

    def __init__(
        self,
        consumer: str,
        ledger: Ledger,
        living: Callable[[], Sequence[tuple[DurableWorker, Any]]],
        *,
        lease_s: float,
        unknown_after_s: float,
    ) -> None:
        self._consumer = consumer
        self._ledger = ledger
        self._living = living
        self._lease_s = lease_s
        self._unknown_after_s = max(unknown_after_s, lease_s)  # a live consumer has been seen within a lease
        self._in_touch_since: float | None = None  # the database's time since which no lease of ours was late
        self._last_contact = 0.0  # the database's time of the last renewal
        self._ahead = 0.0  # of the database's time before time.monotonic()
        self._searched_at = 0.0  # for unknown tasks, by time.monotonic()

    def now(self) -> float:
        """Return the database's time, counted on from the last renewal."""
        return self._ahead + time.monotonic()

    def renew(self, draining: bool) -> None:
        """Renew all leases and report the workers. Raises DatabaseUnavailable."""
        started = time.monotonic()
        processes = dump_processes(self._processes())
        now = self._ledger.consumers.heartbeat(self._consumer, self.held_tokens(), self._lease_s, processes, draining)
        slow = time.monotonic() - started > self._lease_s
        late = slow or now - self._last_contact > self._lease_s  # after an outage, or because this machine slept
        if self._in_touch_since is None or late:
            self._in_touch_since = now
        self._last_contact = now
        self._ahead = now - time.monotonic()
        self._release_unheard()

    def sweep(self) -> None:
        """Do what any consumer does for all: queue due jobs, and requeue the jobs of dead consumers.

        Requeue nothing for a full lease after this consumer came (back) in touch with the database. In that time the others
        renew theirs, so an outage requeues no live job. Raises DatabaseUnavailable.
        """
        until = time.monotonic() + PROMOTE_FOR
        while self._ledger.consumers.promote() == SWEEP_LIMIT and time.monotonic() < until:
            pass
        if self._in_touch_since is not None and self._last_contact - self._in_touch_since >= self._lease_s:
            for job_id in self._ledger.consumers.rescue(self.held_tokens()):
                logger.warning("Job %s is requeued: its lease ran out.", job_id)
            self._fail_unknown()

    def lost_touch(self) -> None:
        """Note that the database did not answer."""
        self._in_touch_since = None

    def held_tokens(self) -> list[str]:
        """Return the tokens that live workers hold, or will hold once their request is answered.

        A worker that was stopped (SIGSTOP) does not count: it does nothing with its job, and may never continue.
        """
        return [
            token.value.decode()
            for worker, process in self._living()
            for token in (worker.holds, worker.asks)
            if token.value and not is_stopped(process)
        ]

    def _processes(self) -> list[Process]:
        return [
            Process(name=worker.name, pid=pid, age_s=time.monotonic() - worker.made_at, memory=memory(pid))
            for worker, process in self._living()
            for pid in [getattr(process, "pid", None) or os.getpid()]  # a thread has its consumer's
        ]

    def _release_unheard(self) -> None:
        """Requeue jobs claimed for live workers that gave up waiting, for example when a delayed query reached the database."""
        living = [worker for worker, _ in self._living()]
        known = [token.value.decode() for worker in living for token in (worker.holds, worker.asks)]
        names = [worker.name for worker in living]
        for job_id in self._ledger.consumers.release_unheard(self._consumer, names, known, self._lease_s / 2):
            logger.warning("Job %s is requeued: its worker never heard of the claim.", job_id)

    def _fail_unknown(self) -> None:
        if time.monotonic() < self._searched_at + min(FAIL_UNKNOWN_EVERY, self._unknown_after_s):
            return
        failed = self._ledger.consumers.fail_unknown(self._unknown_after_s)
        for job_id in failed:
            logger.warning("Job %s fails: no worker knows its task.", job_id)
        if len(failed) < SWEEP_LIMIT:  # else there are more, for the next sweep
            self._searched_at = time.monotonic()
