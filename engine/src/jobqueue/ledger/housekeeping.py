"""Housekeeping: what one consumer does for all. Queue due jobs, rescue jobs of dead consumers, fail jobs whose task nobody knows.

Consumers elect the one that does it by a lease of its own, in the only row of the table `housekeeping`. Every sweep is safe beside
another one's, so two housekeepers at a time do no harm: the election saves work, and no correctness depends on it.
"""

import json
import math
from collections.abc import Sequence

from jobqueue.database.database import Database
from jobqueue.ledger.dependents import after_failure
from jobqueue.ledger.records import Notify
from jobqueue.ledger.releasing import mark_lost, notify_of
from jobqueue.ledger.sql import AFTER, QUEUED_TASKS, event

TERM = 3.0  # seconds for which a consumer is elected; it extends them with each sweep
SWEEP_LIMIT = 200  # the most jobs that one statement queues
RESCUE_LIMIT = 20  # the most jobs that one transaction rescues or fails, each with statements of its own

# A statement that changes no row takes no lock and writes nothing, so the others may ask as often as the one that is elected. A term
# that ends later than a whole one from now was given before the clock went back.
ELECT = """
UPDATE housekeeping SET consumer = :consumer, may_rescue = :may_rescue, until = NOW + :term
WHERE consumer = :consumer OR until < NOW OR until > NOW + :term OR (may_rescue < :may_rescue)
RETURNING consumer
"""

ANY_DUE = "SELECT 1 FROM jobs WHERE state = 'scheduled' AND run_at <= NOW LIMIT 1"

PROMOTE = f"""
WITH due AS MATERIALIZED (
    SELECT seq FROM jobs WHERE state = 'scheduled' AND run_at <= NOW
    ORDER BY run_at LIMIT :limit FOR UPDATE SKIP LOCKED)
UPDATE jobs SET state = 'queued', queued_at = NOW, events = {event("due")} WHERE seq IN (SELECT seq FROM due)
RETURNING id, queue
"""

LAPSED = """
SELECT id, token, worker FROM jobs
WHERE lease_until < NOW AND lease_until < :now AND NOT token IN EACH(:held)
ORDER BY lease_until LIMIT :limit FOR UPDATE SKIP LOCKED
"""

KNOWN_TASKS = "SELECT tasks FROM consumers WHERE seen_at > NOW - :age OR seen_at > :now - :age"

# Lock the jobs, so that they are still queued when FAIL_UNKNOWN runs.
UNKNOWN = """
SELECT id FROM jobs WHERE state = 'queued' AND task = :task AND queued_at > 0 AND queued_at < NOW - :age
  AND queued_at < :now - :age
ORDER BY queued_at LIMIT :limit FOR UPDATE SKIP LOCKED
"""

FAIL_UNKNOWN = f"""
UPDATE jobs SET state = 'failed', error = :error, ended_at = NOW, events = {event("unknown", error=":error")} WHERE id = :id
RETURNING {AFTER}
"""


class Housekeeping:
    """The sweeps of one database. Each returns the jobs that it changed.

    A sweep judges the silence of other consumers. The calling consumer gives its estimate of the database's time for that:
    while the database's clock is ahead of the estimate, it has jumped, and silence by that clock alone means nothing.

    :param notify: called with the queue of each job that was requeued or became ready.
    :param max_losses: attempts of a job that may die with their worker before the job fails.
    """

    def __init__(self, database: Database, notify: Notify, max_losses: int) -> None:
        self.database = database
        self.notify = notify
        self.max_losses = max_losses

    def elect(self, consumer: str, may_rescue: bool) -> bool:
        """Return whether this consumer is to sweep now. It is for TERM seconds, and again if it asks before they are over.

        On SQLite, where few consumers share one machine and a look costs less than a write, each of them is.

        :param may_rescue: whether it has run for long enough to judge other consumers. One that has replaces one that has not.
        """
        if self.database.dialect.one_writer:
            return True
        with self.database.statement() as tx:
            return tx.one(ELECT, consumer=consumer, may_rescue=int(may_rescue), term=TERM) is not None

    def promote(self) -> int:
        """Queue scheduled jobs that are due, at most SWEEP_LIMIT. Return how many."""
        with self.database.statement() as tx:
            if tx.one(ANY_DUE) is None:
                return 0
            due = tx.all(PROMOTE, limit=SWEEP_LIMIT)
        return len(notify_of(self.notify, due))

    def rescue(self, held: Sequence[str], now: float = math.inf) -> list[str]:
        """Requeue jobs whose lease ran out, because their consumer died or lost the database. At most RESCUE_LIMIT.

        :param held: tokens that live workers of the calling consumer hold. Their jobs are left alone: the lease ran out only
            because a renewal took longer than a lease.
        :param now: the calling consumer's estimate of the database's time.
        """
        with self.database.statement() as tx:
            if not tx.all(LAPSED, held=list(held), now=now, limit=1):
                return []
        with self.database.transaction() as tx:
            lapsed = tx.all(LAPSED, held=list(held), now=now, limit=RESCUE_LIMIT)
            rows = [mark_lost(tx, row["id"], row["token"], self.max_losses, row["worker"]) for row in lapsed]
        return notify_of(self.notify, rows)

    def fail_unknown(self, age_s: float, now: float = math.inf) -> list[str]:
        """Fail jobs that have been queued for `age_s` seconds while no consumer's code had their task. At most RESCUE_LIMIT.

        :param now: the calling consumer's estimate of the database's time.
        """
        with self.database.transaction() as tx:
            known = {task for row in tx.all(KNOWN_TASKS, age=age_s, now=now) for task in json.loads(row["tasks"])}
            unknown = [row["task"] for row in tx.all(QUEUED_TASKS) if row["task"] not in known]
            error = (
                f"No worker knew its task for {age_s:g} s. The code of a running consumer must contain the task, under the name "
                "that it had at the submit. Deploy that code, then retry the job."
            )
            failed: list[str] = []
            ready: list[str] = []
            for task in unknown:
                for found in tx.all(UNKNOWN, task=task, age=age_s, now=now, limit=RESCUE_LIMIT - len(failed)):
                    row = tx.one(FAIL_UNKNOWN, id=found["id"], error=error)
                    assert row is not None, "the row is locked"
                    ready += after_failure(tx, row, error)
                    failed.append(row["id"])
        self.notify(ready)
        return failed
