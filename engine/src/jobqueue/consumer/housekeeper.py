"""The housekeeper: sweeps and pruning, which one consumer at a time does for all."""

import logging
import time

from jobqueue.consumer.leases import Leases
from jobqueue.consumer.pruner import Pruner
from jobqueue.ledger.housekeeping import RESCUE_LIMIT, SWEEP_LIMIT, Housekeeping

logger = logging.getLogger("jobqueue.consumer")

SWEEP_FOR = 0.3  # seconds after which a sweep leaves the remaining jobs to the next one
FAIL_UNKNOWN_EVERY = 60.0  # seconds between two searches for jobs whose task no consumer knows


class Housekeeper:
    """The housekeeping of one consumer: all of it while the consumer is elected, else nothing.

    :param consumer: its id.
    :param lease_s: seconds after which a consumer without a heartbeat counts as dead.
    :param unknown_after_s: seconds that a job may wait for a consumer that knows its task.
    """

    def __init__(
        self,
        consumer: str,
        housekeeping: Housekeeping,
        leases: Leases,
        pruner: Pruner,
        *,
        lease_s: float,
        unknown_after_s: float,
    ) -> None:
        self._consumer = consumer
        self._housekeeping = housekeeping
        self._leases = leases
        self._pruner = pruner
        self._unknown_after_s = max(unknown_after_s, lease_s)  # a live consumer has been seen within a lease
        self._elected = False
        self._searched_at = 0.0  # time.monotonic() of the last search for unknown tasks

    def sweep(self) -> None:
        """Queue due jobs. Requeue the jobs of dead consumers, if this one may judge. Raises DatabaseUnavailable."""
        may_judge = self._leases.may_judge
        was_elected, self._elected = self._elected, False  # unless the database says so
        self._elected = self._housekeeping.elect(self._consumer, may_rescue=may_judge)
        if not self._elected:
            return
        if not was_elected:
            logger.debug("Consumer %s is elected for the housekeeping.", self._consumer)
        until = time.monotonic() + SWEEP_FOR
        while self._housekeeping.promote() == SWEEP_LIMIT and time.monotonic() < until:
            pass
        if may_judge:
            self._rescue(until)
            self._fail_unknown()

    def prune_batch(self) -> None:
        """Prune the next batch, if one is due. Raises DatabaseUnavailable."""
        if self._elected:
            self._pruner.prune_batch()

    def _rescue(self, until: float) -> None:
        while True:
            rescued = self._housekeeping.rescue(self._leases.held_tokens(), self._leases.now())
            for job_id in rescued:
                logger.warning("Job %s is requeued: its lease expired.", job_id)
            if len(rescued) < RESCUE_LIMIT or time.monotonic() >= until:
                break

    def _fail_unknown(self) -> None:
        if time.monotonic() < self._searched_at + min(FAIL_UNKNOWN_EVERY, self._unknown_after_s):
            return
        failed = self._housekeeping.fail_unknown(self._unknown_after_s, self._leases.now())
        for job_id in failed:
            logger.warning("Job %s fails: no worker knows its task.", job_id)
        if len(failed) < RESCUE_LIMIT:  # otherwise the next sweep continues
            self._searched_at = time.monotonic()
