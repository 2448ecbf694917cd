"""Retry failed and cancelled jobs at a user's request, together with the jobs that were cancelled because of them.

The delay of an automatic retry is computed in jobqueue.execution.retry.
"""

from jobqueue.database.database import Row, Transaction
from jobqueue.ledger.results import DELETE_RESULT
from jobqueue.ledger.sql import AFTER, OPEN_STATES, event

UNSUCCESSFUL_BEFORE = """
SELECT before.id FROM jobs AS job JOIN jobs AS before ON before.id = job.follows
WHERE job.id = :id AND job.state IN ('failed', 'cancelled') AND job.pending > 0
  AND before.state IN ('failed', 'cancelled')
"""

RETRY_JOB = f"""
UPDATE jobs
SET state = CASE WHEN pending > 0 THEN 'waiting' ELSE 'queued' END,
    error = '', ended_at = NULL, run_at = NULL, queued_at = NOW, losses = 0, done = NULL, total = NULL, note = '',
    events = {event("put back")}
WHERE id = :id AND state IN ('failed', 'cancelled')
  AND NOT EXISTS (SELECT 1 FROM jobs AS other WHERE other.unique_key = jobs.unique_key AND other.state IN {OPEN_STATES})
RETURNING {AFTER}, counted
"""

WAIT_AGAIN = f"""
UPDATE jobs SET state = 'waiting', error = '', ended_at = NULL, events = {event("put back")}
WHERE id = :id AND state = 'cancelled' AND pending > 0
RETURNING {AFTER}, counted
"""

AWAIT_ONE_MORE = "UPDATE jobs SET pending = pending + 1 WHERE id = :id AND state = 'waiting'"
UNCOUNT_CHORD_MEMBER = "UPDATE jobs SET counted = FALSE WHERE id = :id"


def retry(tx: Transaction, job_id: str) -> Row | None:
    """Requeue a failed or cancelled job, or the earliest job of its pipeline that did not succeed.

    The jobs after it in the pipeline that were cancelled because of it wait again.

    :returns: the row of the job that is queued again. None if it neither failed nor was cancelled, or if another run has its key.
    """
    while (before := tx.one(UNSUCCESSFUL_BEFORE, id=job_id)) is not None:
        job_id = before["id"]
    row = requeued = tx.one(RETRY_JOB, id=job_id)
    while row is not None:
        tx.run(DELETE_RESULT, id=row["id"])
        if row["counted"] and tx.run(AWAIT_ONE_MORE, id=row["follower"]):
            tx.run(
                UNCOUNT_CHORD_MEMBER, id=row["id"]
            )  # the chord's callback has not run yet, and waits for this job again
        row = tx.one(WAIT_AGAIN, id=row["follower"])
    return requeued
