"""Leases: renew the leases of this consumer's workers, and estimate the database's time from the answers."""

import logging
import math
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from jobqueue.consumer.processes import is_stopped
from jobqueue.consumer.worker import DurableWorker
from jobqueue.ledger.ledger import Ledger
from jobqueue.monitoring.workers import Process, dump_processes, memory

logger = logging.getLogger("jobqueue.consumer")

JUMP = 1.0  # seconds by which the database's clock may differ from the estimate before it counts as a jump


class Leases:
    """The leases of one consumer.

    :param consumer: its id.
    :param live_workers: returns its live workers with their processes.
    :param lease_s: seconds that a claim holds unless it is renewed.
    """

    def __init__(
        self,
        consumer: str,
        ledger: Ledger,
        live_workers: Callable[[], Sequence[tuple[DurableWorker, Any]]],
        *,
        lease_s: float,
    ) -> None:
        self._consumer = consumer
        self._ledger = ledger
        self._live_workers = live_workers
        self._lease_s = lease_s
        self._in_touch_since: float | None = (
            None  # the database's time since which this consumer renewed every lease in time
        )
        self._last_contact = 0.0  # the database's time of the last renewal
        self.consumers = 1  # number of live consumers at the last renewal
        # Seconds to add to time.monotonic() to get the database's time: at least, and at most. The database reads its clock at some
        # moment between the request and the answer.
        self._offset, self._offset_at_most = 0.0, math.inf

    def now(self) -> float:
        """Return the database's time, extrapolated from the last renewal. It is this time or somewhat later."""
        return self._offset + time.monotonic()

    def renew(self, draining: bool) -> None:
        """Renew all leases, and report the workers' processes. Raises DatabaseUnavailable."""
        asked = time.monotonic()
        processes = dump_processes(self._processes())
        now, self.consumers = self._ledger.consumers.heartbeat(
            self._consumer, self.held_tokens(), self._lease_s, processes, draining
        )
        answered = time.monotonic()
        slow = answered - asked > self._lease_s
        late = slow or now - self._last_contact > self._lease_s  # after an outage, or after this process stood still
        jump = now - answered - self._offset_at_most
        if jumped := jump > JUMP:
            logger.warning("The database's clock jumped forward by %.0f s.", jump)
        if self._in_touch_since is None or late or jumped:
            self._in_touch_since = now
        self._last_contact = now
        self._offset, self._offset_at_most = now - answered, now - asked
        self._release_unheard()

    @property
    def may_judge(self) -> bool:
        """Return whether this consumer may call others dead: it has renewed in time for a full lease.

        After an outage or a jump of the database's clock, the others renew their leases within that time.
        """
        return self._in_touch_since is not None and self._last_contact - self._in_touch_since >= self._lease_s

    def lost_touch(self) -> None:
        """Note that the database did not answer."""
        self._in_touch_since = None

    def held_tokens(self) -> list[str]:
        """Return the tokens that live workers hold, and those of claims that they wait for.

        Leave out workers that were stopped (SIGSTOP): such a worker makes no progress, and may never continue.
        """
        return [
            token
            for worker, process in self._live_workers()
            for token in (worker.held_token.value, worker.requested_token.value)
            if token and not is_stopped(process)
        ]

    def _processes(self) -> list[Process]:
        return [
            Process(name=worker.name, pid=pid, age_s=time.monotonic() - worker.made_at, memory=memory(pid))
            for worker, process in self._live_workers()
            for pid in [getattr(process, "pid", None) or os.getpid()]  # a thread runs in the consumer's process
        ]

    def _release_unheard(self) -> None:
        """Requeue jobs that were claimed for a live worker after it had stopped waiting for the claim.

        This happens, for example, when a delayed query reaches the database late.
        """
        now, workers = self.now(), [worker for worker, _ in self._live_workers()]
        known = [token for worker in workers for token in (worker.held_token.value, worker.requested_token.value)]
        names = [worker.name for worker in workers]
        for job_id in self._ledger.consumers.release_unheard(self._consumer, names, known, self._lease_s / 2, now):
            logger.warning("Job %s is requeued: its worker did not receive the claim.", job_id)
