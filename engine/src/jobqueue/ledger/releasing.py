"""Return running jobs to the queue: released by a consumer that stops, or lost with their worker.

A release does not count against the job. A loss does: a job that kills its worker each time fails after `max_losses` losses.
"""

from collections.abc import Sequence

from jobqueue.database.database import Row, Transaction
from jobqueue.ledger.dependents import after_failure
from jobqueue.ledger.records import Notify
from jobqueue.ledger.sql import AFTER, event
from jobqueue.ledger.states import State

LEASE_EXPIRED = "its lease expired"
KILLED = "It may need more memory than the machine has, or crash the interpreter."

SET_RELEASED = f"""
SET state = 'queued', queued_at = NOW, returns = returns + 1, token = NULL, lease_until = NULL,
    events = {event("given back")}
""".strip()

RELEASE_CLAIM = f"""
UPDATE jobs {SET_RELEASED}
WHERE id = :id AND token = :token
RETURNING id
"""

RELEASE_WORKER = f"""
UPDATE jobs {SET_RELEASED}
WHERE consumer = :consumer AND worker = :worker AND state = 'running'
RETURNING id, queue
"""

RELEASE_CONSUMER = f"""
UPDATE jobs {SET_RELEASED}
WHERE consumer = :consumer AND state = 'running'
RETURNING id, queue
"""

MARK_LOST = f"""
UPDATE jobs
SET state = CASE WHEN losses + 1 >= :max_losses THEN 'failed' ELSE 'queued' END,
    ended_at = CASE WHEN losses + 1 >= :max_losses THEN NOW END,
    error = CASE WHEN losses + 1 >= :max_losses THEN :poison ELSE error END,
    losses = losses + 1, queued_at = NOW, token = NULL, lease_until = NULL, events = {event("lost", error=":how")}
WHERE id = :id AND token = :token
RETURNING {AFTER}
"""


def release_claim(tx: Transaction, job_id: str, token: str) -> bool:
    """Requeue a job if the token holds it. Return whether it did."""
    return tx.one(RELEASE_CLAIM, id=job_id, token=token) is not None


def release_all(tx: Transaction, consumer: str, worker: str | None) -> list[Row]:
    """Requeue the jobs that a worker holds, or all jobs of a consumer. Return `id` and `queue` of each."""
    if worker is None:
        return tx.all(RELEASE_CONSUMER, consumer=consumer)
    return tx.all(RELEASE_WORKER, consumer=consumer, worker=worker)


def mark_lost(
    tx: Transaction,
    job_id: str,
    token: str,
    max_losses: int,
    worker: str,
    how: str = LEASE_EXPIRED,
    advice: str = KILLED,
) -> Row | None:
    """Requeue a job whose worker died, or fail it if this is loss number `max_losses`.

    :param how: how the worker died.
    :param advice: what the author of the task can do about it.
    :returns: the job's row, or None if the token no longer holds the job.
    """
    poison = (
        f"Its worker died {max_losses} times while it ran this job (last: {worker}, {how}), so the job is not retried. "
        f"{advice} Fix that, then retry the job."
    )
    row = tx.one(MARK_LOST, id=job_id, token=token, max_losses=max_losses, poison=poison, how=f"{worker}: {how}.")
    if row is not None and row["state"] == State.FAILED:
        after_failure(tx, row, poison)
    return row


def notify_of(notify: Notify, rows: Sequence[Row | None]) -> list[str]:
    """Notify workers of jobs that were requeued, after the commit. Return the ids of these jobs."""
    queued = [row for row in rows if row is not None]
    notify([row["queue"] for row in queued])
    return [row["id"] for row in queued]
