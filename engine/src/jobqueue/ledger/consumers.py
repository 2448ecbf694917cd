"""Consumers: register, renew leases, and requeue the jobs of their own dead workers. See `housekeeping` for those of other consumers."""

import json
import math
from collections.abc import Sequence
from typing import NamedTuple

from jobqueue.database.database import Database, Row
from jobqueue.ledger.records import Notify
from jobqueue.ledger.releasing import KILLED, LEASE_EXPIRED, SET_RELEASED, mark_lost, notify_of

CONSUMER_FORGOTTEN = 24 * 3600  # seconds without a heartbeat after which a consumer is deleted from the list

# --- register and heartbeat ---

REGISTER_CONSUMER = """
INSERT INTO consumers (id, host, pid, workers, tasks, queues, version, started_at, seen_at)
VALUES (:id, :host, :pid, :workers, :tasks, :queues, :version, NOW, NOW)
ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at
"""

# Here and not in the migration, so that a database whose rows were deleted has it again.
ADD_HOUSEKEEPING = """
INSERT INTO housekeeping (id, consumer, may_rescue, until) VALUES (1, '', 0, 0) ON CONFLICT (id) DO NOTHING
"""

PRUNE_CONSUMERS = "DELETE FROM consumers WHERE seen_at < NOW - :age"

# Set `seen_at` too: up to this moment a consumer had its tasks, which matters to `fail_unknown`.
DEREGISTER_CONSUMER = "UPDATE consumers SET left_at = NOW, seen_at = NOW WHERE id = :id"

RESIGN = "UPDATE housekeeping SET until = 0 WHERE consumer = :id"

# A locked row belongs to a job that is just ending.
RENEW_LEASES = """
WITH held AS MATERIALIZED (
    SELECT seq FROM jobs WHERE token IN EACH(:tokens) FOR UPDATE SKIP LOCKED)
UPDATE jobs SET lease_until = NOW + :lease WHERE seq IN (SELECT seq FROM held)
"""

TOUCH_CONSUMER = "UPDATE consumers SET seen_at = NOW, draining = :draining, processes = :processes WHERE id = :id"

COUNT_CONSUMERS = """
SELECT NOW AS now, count(*) AS consumers FROM consumers WHERE left_at IS NULL AND seen_at > NOW - :age
"""

CONSUMERS = """
SELECT id, host, pid, workers, tasks, queues, version, draining, processes, started_at, seen_at,
       NOW - seen_at AS silent_s
FROM consumers WHERE left_at IS NULL ORDER BY started_at
"""

HELD_BY_CONSUMERS = """
SELECT id, task, consumer, worker FROM jobs WHERE consumer IN EACH(:consumers) AND state = 'running'
"""

HELD_BY_CONSUMER = "SELECT token FROM jobs WHERE consumer = :consumer AND state = 'running'"

HELD_BY_WORKER = "SELECT id, token FROM jobs WHERE consumer = :consumer AND worker = :worker AND state = 'running'"

RELEASE_UNHEARD = f"""
UPDATE jobs {SET_RELEASED}
WHERE consumer = :consumer AND worker IN EACH(:workers) AND NOT token IN EACH(:known)
  AND lease_until < NOW + :left AND lease_until < :now + :left AND state = 'running'
RETURNING id, queue
"""


class Contact(NamedTuple):
    """The answer to a heartbeat.

    :param now: the database's time, in seconds since the epoch.
    :param consumers: the number of consumers that were heard of within a lease, the caller among them.
    """

    now: float
    consumers: int


class Consumers:
    """The consumers of one database.

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
            tx.run(ADD_HOUSEKEEPING)
            tx.run(PRUNE_CONSUMERS, age=CONSUMER_FORGOTTEN)

    def deregister(self, consumer: str) -> None:
        """Remove a consumer that stops from the list. Another one can be elected for the housekeeping at once."""
        with self.database.transaction() as tx:
            tx.run(DEREGISTER_CONSUMER, id=consumer)
            tx.run(RESIGN, id=consumer)

    def heartbeat(
        self, consumer: str, tokens: Sequence[str], lease_s: float, processes: str = "[]", draining: bool = False
    ) -> Contact:
        """Renew the leases of a consumer's claims, and update its entry in the list.

        :param tokens: the tokens that its live workers hold.
        :param lease_s: seconds from now until the leases run out.
        :param processes: the status of its workers, as a JSON list.
        :param draining: whether it takes no more jobs, because it is about to stop.
        """
        with self.database.transaction() as tx:
            tx.run(RENEW_LEASES, tokens=list(tokens), lease=lease_s)
            tx.run(TOUCH_CONSUMER, id=consumer, processes=processes, draining=draining)
            row = tx.one(COUNT_CONSUMERS, age=lease_s)
            assert row is not None
            return Contact(**row)

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

    # --- the jobs of this consumer's workers ---

    def mark_worker_lost(self, consumer: str, worker: str, how: str = LEASE_EXPIRED, advice: str = KILLED) -> list[str]:
        """Requeue the jobs of a worker that died, or fail those with too many losses. Return their ids.

        :param how: how it died.
        :param advice: what the author of the task can do about it.
        """
        with self.database.transaction() as tx:
            held = tx.all(HELD_BY_WORKER, consumer=consumer, worker=worker)
            rows = [mark_lost(tx, row["id"], row["token"], self.max_losses, worker, how, advice) for row in held]
        return notify_of(self.notify, rows)

    def release_unheard(
        self, consumer: str, workers: Sequence[str], known: Sequence[str], left_s: float, now: float = math.inf
    ) -> list[str]:
        """Requeue jobs that were claimed for live workers under tokens which the workers do not know.

        This happens when a worker stops waiting for a claim that the database carries out later.

        :param known: the tokens that the workers hold or have requested.
        :param left_s: only consider leases with less than this many seconds left, since `known` may lack the newest tokens.
        :param now: the estimate of the database's time at which `known` was read. A slow database carries this out much later.
        """
        with self.database.statement() as tx:
            rows = tx.all(
                RELEASE_UNHEARD, consumer=consumer, workers=list(workers), known=list(known), left=left_s, now=now
            )
        return notify_of(self.notify, rows)
