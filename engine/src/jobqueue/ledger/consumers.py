"""Consumers and the leases of their workers: register, renew, and requeue the jobs of workers that died.

Any consumer may requeue the jobs of any other whose lease ran out.
"""

import json
from collections.abc import Sequence

from jobqueue.database.database import Database, Row
from jobqueue.ledger.ending import SET_RELEASED, Notify, after_failure, mark_lost
from jobqueue.ledger.reading import QUEUED_TASKS
from jobqueue.ledger.sql import AFTER, CLOCK, event

RELEASE_UNHEARD = f"""
UPDATE jobs {SET_RELEASED}
WHERE consumer = :consumer AND worker IN EACH(:workers) AND NOT token IN EACH(:known)
  AND lease_until < NOW + :left AND state = 'running'
RETURNING id, queue
"""

REGISTER_CONSUMER = """
INSERT INTO consumers (id, host, pid, workers, tasks, queues, version, started_at, seen_at)
VALUES (:id, :host, :pid, :workers, :tasks, :queues, :version, NOW, NOW)
"""

PRUNE_CONSUMERS = "DELETE FROM consumers WHERE seen_at < NOW - :age"
DEREGISTER_CONSUMER = (
    "UPDATE consumers SET left_at = NOW, seen_at = NOW WHERE id = :id"  # until now somebody knew its tasks
)
TOUCH_CONSUMER = "UPDATE consumers SET seen_at = NOW, draining = :draining, processes = :processes WHERE id = :id"

CONSUMERS = """
SELECT id, host, pid, workers, tasks, queues, version, draining, processes, started_at, seen_at,
       NOW - seen_at AS silent_s
FROM consumers WHERE left_at IS NULL ORDER BY started_at
"""

RENEW_LEASES = """
WITH held AS MATERIALIZED (
    SELECT seq FROM jobs WHERE token IN EACH(:tokens) FOR UPDATE SKIP LOCKED)
UPDATE jobs SET lease_until = NOW + :lease WHERE seq IN (SELECT seq FROM held)
"""  # a row that is locked belongs to a job that ends just now

HELD_BY_CONSUMERS = """
SELECT id, task, consumer, worker FROM jobs WHERE consumer IN EACH(:consumers) AND state = 'running'
"""

HELD_BY_CONSUMER = "SELECT token FROM jobs WHERE consumer = :consumer AND state = 'running'"
HELD_BY_WORKER = "SELECT id, token FROM jobs WHERE consumer = :consumer AND worker = :worker AND state = 'running'"

LAPSED = """
SELECT id, token, worker FROM jobs
WHERE lease_until < NOW AND NOT token IN EACH(:held)
ORDER BY lease_until LIMIT :limit FOR UPDATE SKIP LOCKED
"""

ANY_DUE = "SELECT 1 FROM jobs WHERE state = 'scheduled' AND run_at <= NOW LIMIT 1"

PROMOTE = f"""
WITH due AS MATERIALIZED (
    SELECT seq FROM jobs WHERE state = 'scheduled' AND run_at <= NOW
    ORDER BY run_at LIMIT :limit FOR UPDATE SKIP LOCKED)
UPDATE jobs SET state = 'queued', queued_at = NOW, events = {event("due")} WHERE seq IN (SELECT seq FROM due)
RETURNING id, queue
"""


KNOWN_TASKS = "SELECT tasks FROM consumers WHERE seen_at > NOW - :age"

UNKNOWN = """
SELECT id FROM jobs WHERE state = 'queued' AND task = :task AND queued_at > 0 AND queued_at < NOW - :age
ORDER BY queued_at LIMIT :limit FOR UPDATE SKIP LOCKED
"""  # locked, so that what is found unknown is still queued when it fails

FAIL_UNKNOWN = f"""
UPDATE jobs SET state = 'failed', error = :error, ended_at = NOW, events = {event("unknown", error=":error")} WHERE id = :id
RETURNING {AFTER}
"""

SWEEP_LIMIT = 200  # jobs that one sweep touches at most
CONSUMER_FORGOTTEN = 24 * 3600  # seconds after which a consumer that was never seen again leaves the list


class Consumers:
    """The consumers of one database, and what each does for its workers and for those of dead consumers.

    :param notify: called with the queues into which jobs came back.
    :param max_losses: workers that may die on one job before it fails.
    """

    def __init__(self, database: Database, notify: Notify, max_losses: int) -> None:
        self.database = database
        self.notify = notify
        self.max_losses = max_losses

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
        """queues: those that its workers serve; None for every queue. version: of its code."""
        me = {"id": consumer, "host": host, "pid": pid, "workers": workers, "version": version}
        lists = {
            "tasks": json.dumps(sorted(tasks)),
            "queues": None if queues is None else json.dumps(sorted(queues)),
        }
        with self.database.transaction() as tx:
            tx.run(REGISTER_CONSUMER, **me, **lists)
            tx.run(PRUNE_CONSUMERS, age=CONSUMER_FORGOTTEN)

    def deregister(self, consumer: str) -> None:
        """It is no longer among `consumers`; what it knew counts as known until now."""
        with self.database.statement() as tx:
            tx.run(DEREGISTER_CONSUMER, id=consumer)

    def heartbeat(
        self, consumer: str, tokens: Sequence[str], lease_s: float, processes: str = "[]", draining: bool = False
    ) -> float:
        """Renew the leases of a consumer's claims, and what it says of its workers. Returns the database's time."""
        with self.database.transaction() as tx:
            tx.run(RENEW_LEASES, tokens=list(tokens), lease=lease_s)
            tx.run(TOUCH_CONSUMER, id=consumer, processes=processes, draining=draining)
            clock = tx.one(CLOCK)
            assert clock is not None
            return float(clock["now"])

    def held_tokens(self, consumer: str) -> set[str]:
        """The tokens under which a consumer's workers hold jobs."""
        with self.database.statement() as tx:
            return {row["token"] for row in tx.all(HELD_BY_CONSUMER, consumer=consumer)}

    def promote(self) -> int:
        """Queue the jobs whose time has come."""
        with self.database.statement() as tx:
            if tx.one(ANY_DUE) is None:
                return 0
            due = tx.all(PROMOTE, limit=SWEEP_LIMIT)
        return len(self._notify_of(due))

    def rescue(self, held: Sequence[str]) -> list[str]:
        """Take back the jobs whose lease ran out: whoever held them is dead, or cut off. Returns their ids.

        Not those under these tokens, which whoever asks knows to be held: there it was a renewal that took longer than a
        lease.
        """
        with self.database.statement() as tx:
            if not tx.all(LAPSED, held=list(held), limit=1):
                return []
        with self.database.transaction() as tx:
            lapsed = tx.all(LAPSED, held=list(held), limit=SWEEP_LIMIT)
            rows = [
                mark_lost(tx, row["id"], row["token"], self.max_losses, f"worker {row['worker']}") for row in lapsed
            ]
        return self._notify_of(rows)

    def fail_unknown(self, age_s: float) -> list[str]:
        """Fail jobs that have waited so long for code that has their task; no consumer that was seen since has it.

        At most SWEEP_LIMIT. Returns their ids.
        """
        with self.database.transaction() as tx:
            known = {task for row in tx.all(KNOWN_TASKS, age=age_s) for task in json.loads(row["tasks"])}
            unknown = [row["task"] for row in tx.all(QUEUED_TASKS) if row["task"] not in known]
            error = (
                f"No worker knew its task for {age_s:g} s: the code of a running consumer has to have it, "
                "under the name that it was submitted with. Deploy that code, then try the job again."
            )
            failed: list[str] = []
            rung: list[str] = []
            for task in unknown:
                for found in tx.all(UNKNOWN, task=task, age=age_s, limit=SWEEP_LIMIT - len(failed)):
                    row = tx.one(FAIL_UNKNOWN, id=found["id"], error=error)
                    assert row is not None, "it is locked"
                    rung += after_failure(tx, row, error)
                    failed.append(row["id"])
        self.notify(rung)
        return failed

    def all(self) -> list[Row]:
        with self.database.statement() as tx:
            return tx.all(CONSUMERS)

    def held_by(self, consumers: Sequence[str]) -> list[Row]:
        """The jobs that these run: id, task, consumer, worker."""
        with self.database.statement() as tx:
            return tx.all(HELD_BY_CONSUMERS, consumers=list(consumers))

    def release_unheard(self, consumer: str, workers: Sequence[str], known: Sequence[str], left_s: float) -> list[str]:
        """What these living workers were given, under other tokens than those that they know, goes back to the queue.

        Not while the lease has more than `left_s` seconds left: whoever asks may not know of the newest tokens.
        """
        with self.database.statement() as tx:
            rows = tx.all(RELEASE_UNHEARD, consumer=consumer, workers=list(workers), known=list(known), left=left_s)
        return self._notify_of(rows)

    def mark_worker_lost(self, consumer: str, worker: str) -> list[str]:
        """A worker died: what it held is lost. Returns the ids."""
        with self.database.transaction() as tx:
            held = tx.all(HELD_BY_WORKER, consumer=consumer, worker=worker)
            rows = [mark_lost(tx, row["id"], row["token"], self.max_losses, f"worker {worker}") for row in held]
        return self._notify_of(rows)

    def _notify_of(self, rows: Sequence[Row | None]) -> list[str]:
        """Notify workers of jobs that came back into their queues. Return the ids of these jobs."""
        requeued = [row for row in rows if row is not None]
        self.notify([row["queue"] for row in requeued])
        return [row["id"] for row in requeued]
