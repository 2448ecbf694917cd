"""Everything that takes a job out of `running`, or ends it: the statements, and what happens to the jobs that follow it.

Whoever ends a job (its worker, a cancel, the sweep of a consumer) runs `after_end` in the same transaction.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

from jobqueue.database.database import Row, Transaction, storable
from jobqueue.ledger.claiming import CLAIM_STATEMENT, NEXT
from jobqueue.ledger.records import ERROR, Outcome, error_result
from jobqueue.ledger.sql import AFTER, OPEN_STATES, event
from jobqueue.ledger.states import State

RELEASED = "CASE WHEN run_at > NOW THEN 'scheduled' ELSE 'queued' END"
REPLACE_LOG = "ON CONFLICT (job_id) DO UPDATE SET lines = excluded.lines"

REPLACE_RESULT = """
ON CONFLICT (job_id) DO UPDATE SET media_type = excluded.media_type, body = excluded.body, saved_at = excluded.saved_at
""".strip()

_END = f"""
UPDATE jobs
SET state = :state, error = :error, ended_at = NOW, token = NULL, lease_until = NULL,
    done = COALESCE(:done, done), total = COALESCE(:total, total), note = COALESCE(:note, note),
    events = {event("ended", state=":state", error=":error", traceback=":traceback")}
WHERE id = :id AND token = :token
"""

END = f"{_END}RETURNING {AFTER}"

# Most jobs have nothing that follows them. Where the database is a trip away, their end and what comes with it is one.
_END_ALONE = f"""
WITH ended AS ({_END} AND follower IS NULL RETURNING {AFTER}),
     deleted AS (DELETE FROM entries WHERE key IN EACH(:deleted) AND EXISTS (SELECT 1 FROM ended)),
     saved AS (
         INSERT INTO results (job_id, media_type, body, saved_at)
         SELECT id, CAST(:media_type AS text), CAST(:body AS bytea), NOW FROM ended
         WHERE CAST(:media_type AS text) IS NOT NULL
         {REPLACE_RESULT}),
     logged AS (
         INSERT INTO logs (job_id, lines)
         SELECT id, CAST(:log AS text) FROM ended WHERE CAST(:log AS text) IS NOT NULL
         {REPLACE_LOG})
""".rstrip()

END_ALONE = f"{_END_ALONE}\nSELECT {AFTER} FROM ended"

# Together with the claim of its worker's next job: whoever may not write the end is given nothing.
END_AND_CLAIM = f"""{_END_ALONE},
     claimed AS ({CLAIM_STATEMENT.format(provided="EXISTS (SELECT 1 FROM ended) AND ", next=NEXT).replace(":token", ":next_token")})
SELECT claimed.* FROM ended LEFT JOIN claimed ON TRUE
"""

RETRY = f"""
UPDATE jobs
SET state = CASE WHEN COALESCE(:at, NOW + :delay) > NOW THEN 'scheduled' ELSE 'queued' END,
    run_at = COALESCE(:at, NOW + :delay), queued_at = NOW, retries = :retries, retry_delay = :retry_delay,
    done = COALESCE(:done, done), total = COALESCE(:total, total), note = COALESCE(:note, note),
    error = :error, token = NULL, lease_until = NULL,
    events = {event("retried", error=":error", traceback=":traceback")}
WHERE id = :id AND token = :token
RETURNING {AFTER}
"""

MARK_LOST = f"""
UPDATE jobs
SET state = CASE WHEN losses + 1 >= :max_losses THEN 'failed' ELSE 'queued' END,
    ended_at = CASE WHEN losses + 1 >= :max_losses THEN NOW END,
    error = CASE WHEN losses + 1 >= :max_losses THEN :poison ELSE error END,
    losses = losses + 1, queued_at = NOW, token = NULL, lease_until = NULL, events = {event("lost")}
WHERE id = :id AND token = :token
RETURNING {AFTER}
"""

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

CANCEL = f"""
UPDATE jobs
SET state = 'cancelled', error = :reason, ended_at = NOW, token = NULL, lease_until = NULL,
    events = {event("cancelled", error=":reason")}
WHERE id = :id AND state IN {OPEN_STATES}
RETURNING {AFTER}
"""

COUNT_CHORD_MEMBER = "UPDATE jobs SET counted = TRUE WHERE id = :id AND NOT counted"

RELEASE_DEPENDENT = f"""
UPDATE jobs
SET pending = pending - 1,
    state = CASE WHEN state = 'waiting' AND pending <= 1 THEN {RELEASED} ELSE state END,
    queued_at = CASE WHEN state = 'waiting' AND pending <= 1 THEN NOW ELSE queued_at END,
    events = CASE WHEN state = 'waiting' AND pending <= 1 THEN {event("released")} ELSE events END
WHERE id = :id
RETURNING queue
"""

CANCEL_DEPENDENT = f"""
UPDATE jobs SET state = 'cancelled', error = :error, ended_at = NOW, events = {event("abandoned", error=":error")}
WHERE id = :id AND state = 'waiting'
RETURNING {AFTER}
"""

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
SET_FOLLOWER = "UPDATE jobs SET follower = :follower, chord_index = :chord_index WHERE id = :id"
REPOINT_FOLLOWS = "UPDATE jobs SET follows = :after WHERE id = :id AND follows = :before"
RETRIES_LEFT = "SELECT id, retries, retry_delay FROM jobs WHERE token = :token"
SAVE_LOG_AT_END = f"INSERT INTO logs (job_id, lines) VALUES (:id, :lines) {REPLACE_LOG}"

SAVE_RESULT = f"""
INSERT INTO results (job_id, media_type, body, saved_at) VALUES (:id, :media_type, :body, NOW)
{REPLACE_RESULT}
"""

DELETE_RESULT = "DELETE FROM results WHERE job_id = :id"

Notify = Callable[[Sequence[str]], object]  # is told the queues into which jobs may have come, one for each job

TRACEBACK = 4_000  # characters that are kept of each attempt's


def end_values(job_id: str, token: str, outcome: Outcome) -> dict[str, Any]:
    """What an attempt's end writes to its job."""
    done, total, note = outcome.progress or (None, None, None)
    return {
        "id": job_id,
        "token": token,
        "state": outcome.state,
        "error": outcome.error,
        "done": done,
        "total": total,
        "note": note,
        "traceback": _traceback(outcome.result),
    }


def saved_values(outcome: Outcome) -> dict[str, Any]:
    """What the end of a job that nothing follows writes besides."""
    media_type, body = outcome.result or (None, None)
    return {"deleted": outcome.deleted, "media_type": media_type, "body": body, "log": outcome.log}


def _traceback(result: tuple[str, bytes] | None) -> str:
    """What is behind an attempt's error; of a long one its end, which tells the most."""
    if result is None or result[0] != ERROR:
        return ""
    return storable(json.loads(result[1])["traceback"])[-TRACEBACK:]


def retry(tx: Transaction, job_id: str) -> Row | None:
    """The job that is in the queue again: this one, or the one before it that did not succeed."""
    while (before := tx.one(UNSUCCESSFUL_BEFORE, id=job_id)) is not None:
        job_id = before["id"]
    row = first = tx.one(RETRY_JOB, id=job_id)
    while row is not None:
        tx.run(DELETE_RESULT, id=row["id"])
        if row["counted"] and tx.run(AWAIT_ONE_MORE, id=row["follower"]):
            tx.run(UNCOUNT_CHORD_MEMBER, id=row["id"])  # its chord has not fired yet, and waits for it again
        row = tx.one(WAIT_AGAIN, id=row["follower"])
    return first


def save_result(tx: Transaction, job_id: str, result: tuple[str, bytes]) -> None:
    tx.run(SAVE_RESULT, id=job_id, media_type=result[0], body=result[1])


def after_failure(tx: Transaction, row: Row, error: str) -> list[str]:
    """The job failed without having run to its end. Returns as after_end does."""
    save_result(tx, row["id"], error_result(error, row["id"]))
    return after_end(tx, row, Outcome(state=State.FAILED, error=error))


def after_end(tx: Transaction, row: Row, outcome: Outcome) -> list[str]:
    """Tell what waits for a job that has ended; whoever ended it (a worker, a cancel, the sweep) comes through here.

    Returns the queues of what may run now.
    """
    state = outcome.state
    while row["follower"] is not None:
        # A chord takes a failed member's error for its result, as Huey has it.
        if row["chord_index"] is not None or state is State.SUCCEEDED:
            if tx.run(COUNT_CHORD_MEMBER, id=row["id"]):
                return [released["queue"] for released in tx.all(RELEASE_DEPENDENT, id=row["follower"])]
            return []
        error = f"Not run: the job before it, {row['id']}, was {state}. {outcome.error}".strip()
        abandoned = tx.one(CANCEL_DEPENDENT, id=row["follower"], error=error)
        if abandoned is None:
            return []
        if outcome.result is not None:
            save_result(tx, abandoned["id"], outcome.result)
        row, state = abandoned, State.CANCELLED
    return []


def mark_lost(tx: Transaction, job_id: str, token: str, max_losses: int, worker: str) -> Row | None:
    """Requeue a job whose worker died, or fail it when this was the last time. Return its row, or None if the claim was over."""
    poison = (
        f"Its worker died {max_losses} times while running this job (last: {worker}), so it is not tried "
        "again. It may need more memory than there is, or crash the interpreter."
    )
    row = tx.one(MARK_LOST, id=job_id, token=token, max_losses=max_losses, poison=poison)
    if row is not None and row["state"] == State.FAILED:
        after_failure(tx, row, poison)
    return row
