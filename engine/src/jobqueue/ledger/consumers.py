"""Consumers: register, renew leases, requeue the jobs of dead workers, and queue jobs that are due.

Any consumer may requeue the jobs of any other whose leases ran out.
"""

import json
import math
from collections.abc import Sequence

from jobqueue.database.database import Database, Row
from jobqueue.ledger.dependents import after_failure
from jobqueue.ledger.records import Notify
from jobqueue.ledger.releasing import KILLED, LEASE_EXPIRED, SET_RELEASED, mark_lost
from jobqueue.ledger.sql import AFTER, CLOCK, QUEUED_TASKS, event

SWEEP_LIMIT = 200  # the most jobs that one statement queues
RESCUE_LIMIT = 20  # the most jobs that one transaction rescues or fails, each with statements of its own
CONSUMER_FORGOTTEN = 24 * 3600  # seconds without a heartbeat after which a consumer is deleted from the list

# --- register and heartbeat ---

REGISTER_CONSUMER = """
INSERT INTO consumers (id, host, pid, workers, tasks, queues, version, started_at, seen_at)
VALUES (:id, :host, :pid, :workers, :tasks, :queues, :version, NOW, NOW)
ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at
"""

PRUNE_CONSUMERS = "DELETE FROM consumers WHERE seen_at < NOW - :age"

# Set `seen_at` too: up to this moment a consumer had its tasks, which matters to `fail_unknown`.
DEREGISTER_CONSUMER = "UPDATE consumers SET left_at = NOW, seen_at = NOW WHERE id = :id"

# A locked row belongs to a job that is just ending.
RENEW_LEASES = """
WITH held AS MATERIALIZED (
    SELECT seq FROM jobs WHERE token IN EACH(:tokens) FOR UPDATE SKIP LOCKED)
UPDATE jobs SET lease_until = NOW + :lease WHERE seq IN (SELECT seq FROM held)
"""

TOUCH_CONSUMER = "UPDATE consumers SET seen_at = NOW, draining = :draining, processes = :processes WHERE id = :id"

CONSUMERS = """
SELECT id, host, pid, workers, tasks, queues, version, draining, processes, started_at, seen_at,
       NOW - seen_at AS silent_s
FROM consumers WHERE left_at IS NULL ORDER BY started_at
"""

HELD_BY_CONSUMERS = """
SELECT id, task, consumer, worker FROM jobs WHERE consumer IN EACH(:consumers) AND state = 'running'
"""

HELD_BY_CONSUMER = "SELECT token FROM jobs WHERE consumer = :consumer AND state = 'running'"

# --- sweeps ---

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

HELD_BY_WORKER = "SELECT id, token FROM jobs WHERE consumer = :consumer AND worker = :worker AND state = 'running'"

RELEASE_UNHEARD = f"""
UPDATE jobs {SET_RELEASED}
WHERE consumer = :consumer AND worker IN EACH(:workers) AND NOT token IN EACH(:known)
  AND lease_until < NOW + :left AND state = 'running'
RETURNING id, queue
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


class Consumers:
    """The consumers of one database.

    A sweep judges the silence of other consumers. The calling consumer gives its estimate of the database's time for that:
    while the database's clock is ahead of the estimate, it has jumped, and silence by that clock alone means nothing.

    :param notify: called with the queue of each job that was requeued or became ready.
    :param max_losses: attempts of a job that may die with their worker before the job fails.
    """

    def __init__(self, database: Database, notify: Notify, max_losses: int) -> None:
        self.database = database
        self.notify = notify
        self.max_losses = max_losses

    # --- register and heartbeat ---

    def register(
        self,
        consumer: str,
        host: str,
        pid: int,
        workers: int,
        tasks: Sequence[str],
        queues: Sequence[str] | None = None,
        version: str | None = None,
    ) -> None:
        """Add a consumer to the list, unless it is there, and delete those without a heartbeat for a day.

        :param tasks: the tasks in its code.
        :param queues: the queues that its workers serve; None for every queue.
        :param version: the version of its code.
        """
        columns = {
            "id": consumer,
            "host": host,
            "pid": pid,
            "workers": workers,
            "tasks": json.dumps(sorted(tasks)),
            "queues": None if queues is None else json.dumps(sorted(queues)),
            "version": version,
        }
        with self.database.transaction() as tx:
            tx.run(REGISTER_CONSUMER, **columns)
            tx.run(PRUNE_CONSUMERS, age=CONSUMER_FORGOTTEN)

    def deregister(self, consumer: str) -> None:
        """Remove a consumer that stops from the list."""
        with self.database.statement() as tx:
            tx.run(DEREGISTER_CONSUMER, id=consumer)

    def heartbeat(
        self, consumer: str, tokens: Sequence[str], lease_s: float, processes: str = "[]", draining: bool = False
    ) -> float:
        """Renew the leases of a consumer's claims, and update its entry in the list.

        :param tokens: the tokens that its live workers hold.
        :param lease_s: seconds from now until the leases run out.
        :param processes: the status of its workers, as a JSON list.
        :param draining: whether it takes no more jobs, because it is about to stop.
        :returns: the database's time, in seconds since the epoch.
        """
        with self.database.transaction() as tx:
            tx.run(RENEW_LEASES, tokens=list(tokens), lease=lease_s)
            tx.run(TOUCH_CONSUMER, id=consumer, processes=processes, draining=draining)
            clock = tx.one(CLOCK)
            assert clock is not None
            return float(clock["now"])

    def all(self) -> list[Row]:
        """Return the consumers in the list, in the order of their start. `silent_s` is the time since the last heartbeat."""
        with self.database.statement() as tx:
            return tx.all(CONSUMERS)

    def held_by(self, consumers: Sequence[str]) -> list[Row]:
        """Return the running jobs of these consumers: `id`, `task`, `consumer` and `worker` of each."""
        with self.database.statement() as tx:
            return tx.all(HELD_BY_CONSUMERS, consumers=list(consumers))

    def held_tokens(self, consumer: str) -> set[str]:
        """Return the tokens of a consumer's claims."""
        with self.database.statement() as tx:
            return {row["token"] for row in tx.all(HELD_BY_CONSUMER, consumer=consumer)}

    # --- sweeps: each returns the ids of the jobs that it changed ---

    def promote(self) -> int:
        """Queue scheduled jobs that are due, at most SWEEP_LIMIT. Return how many."""
        with self.database.statement() as tx:
            if tx.one(ANY_DUE) is None:
                return 0
            due = tx.all(PROMOTE, limit=SWEEP_LIMIT)
        return len(self._notify_of(due))

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
        return self._notify_of(rows)

    def mark_worker_lost(self, consumer: str, worker: str, how: str = LEASE_EXPIRED, advice: str = KILLED) -> list[str]:
        """Requeue the jobs of a worker that died, or fail those with too many losses. Return their ids.

        :param how: how it died.
        :param advice: what the author of the task can do about it.
        """
        with self.database.transaction() as tx:
            held = tx.all(HELD_BY_WORKER, consumer=consumer, worker=worker)
            rows = [mark_lost(tx, row["id"], row["token"], self.max_losses, worker, how, advice) for row in held]
        return self._notify_of(rows)

    def release_unheard(self, consumer: str, workers: Sequence[str], known: Sequence[str], left_s: float) -> list[str]:
        """Requeue jobs that were claimed for live workers under tokens which the workers do not know.

        This happens when a worker stops waiting for a claim that the database carries out later.

        :param known: the tokens that the workers hold or have requested.
        :param left_s: only consider leases with less than this many seconds left, since `known` may lack the newest tokens.
        """
        with self.database.statement() as tx:
            rows = tx.all(RELEASE_UNHEARD, consumer=consumer, workers=list(workers), known=list(known), left=left_s)
        return self._notify_of(rows)

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

    def _notify_of(self, rows: Sequence[Row | None]) -> list[str]:
        """Notify workers of jobs that were queued. Return the ids of these jobs."""
        queued = [row for row in rows if row is not None]
        self.notify([row["queue"] for row in queued])
        return [row["id"] for row in queued]
