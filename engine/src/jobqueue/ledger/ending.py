"""End jobs: success, failure, a retry of the attempt, or a cancel.

An end names the token of the claim that it ends; a cancel needs none. Whatever ends a job also updates its dependents (see
`dependents.py`) in the same transaction.
"""

import json
from typing import Any

from jobqueue import text
from jobqueue.database.database import Row, Transaction
from jobqueue.files.stored import name_files
from jobqueue.ledger.claiming import CLAIM_STATEMENT, NEXT
from jobqueue.ledger.dataset_versions import save_version
from jobqueue.ledger.dependents import after_end
from jobqueue.ledger.entries import DELETE_ENTRY
from jobqueue.ledger.records import ERROR, ClaimRequest, FenceRefused, Outcome, Retry, error_result
from jobqueue.ledger.results import REPLACE_RESULT, save_result
from jobqueue.ledger.sql import AFTER, OPEN_STATES, REPLACE_LOG, event
from jobqueue.ledger.states import State
from jobqueue.ledger.submitting import insert

# --- the end of an attempt, with everything that is committed with it ---

_END = f"""
UPDATE jobs
SET state = :state, error = :error, ended_at = NOW, token = NULL, lease_until = NULL,
    done = COALESCE(:done, done), total = COALESCE(:total, total), note = COALESCE(:note, note),
    events = {event("ended", state=":state", error=":error", traceback=":traceback")}
WHERE id = :id AND token = :token
"""

_RETRY = f"""
UPDATE jobs
SET state = CASE WHEN COALESCE(:at, NOW + :delay) > NOW THEN 'scheduled' ELSE 'queued' END,
    run_at = COALESCE(:at, NOW + :delay), queued_at = NOW, retries = :retries, retry_delay = :retry_delay,
    done = COALESCE(:done, done), total = COALESCE(:total, total), note = COALESCE(:note, note),
    error = :error, token = NULL, lease_until = NULL,
    events = {event("retried", error=":error", traceback=":traceback")}
WHERE id = :id AND token = :token
"""

END = f"{_END}RETURNING {AFTER}"
RETRY = f"{_RETRY}RETURNING {AFTER}"
SAVE_LOG_AT_END = f"INSERT INTO logs (job_id, lines) VALUES (:id, :lines) {REPLACE_LOG}"


# The same with many writers: one round trip, and no row is locked until a large result has arrived.
_SAVING = f"""
WITH ended AS ({{update}} RETURNING {AFTER}),
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

END_AND_SAVE = f"{_SAVING.format(update=_END)}\nSELECT {AFTER} FROM ended"
RETRY_AND_SAVE = f"{_SAVING.format(update=_RETRY)}\nSELECT {AFTER} FROM ended"


def end_attempt(tx: Transaction, job_id: str, token: str, outcome: Outcome, one_writer: bool) -> tuple[Row, list[str]]:
    """End an attempt, and write everything that its outcome contains.

    :returns: the job's row, and the queue of each job that may be ready to run because of this.
    :raises FenceRefused: if the token no longer holds the job. The caller's transaction then changes nothing.
    """
    if outcome.version is not None:  # before the job's row is locked
        save_version(tx, job_id, outcome.version)
    row = (_end_step_by_step if one_writer else _end_and_save)(tx, job_id, token, outcome)
    name_files(tx, job_id, outcome.files)
    insert(tx, outcome.submitted)
    ready = [job.queue for job in outcome.submitted]
    if outcome.retry is None:
        ready += after_end(tx, row, outcome)
    return row, ready


def _end_step_by_step(tx: Transaction, job_id: str, token: str, outcome: Outcome) -> Row:
    values = _end_values(job_id, token, outcome)
    row = tx.one(END if outcome.retry is None else RETRY, **values)
    if row is None:
        raise FenceRefused.of(job_id, token)
    for key in outcome.deleted:
        tx.run(DELETE_ENTRY, key=key)
    if outcome.result is not None:
        save_result(tx, job_id, outcome.result)
    if outcome.log is not None:
        tx.run(SAVE_LOG_AT_END, id=job_id, lines=outcome.log)
    return row


def _end_and_save(tx: Transaction, job_id: str, token: str, outcome: Outcome) -> Row:
    values = _end_values(job_id, token, outcome) | _saved_values(outcome)
    row = tx.one(END_AND_SAVE if outcome.retry is None else RETRY_AND_SAVE, **values)
    if row is None:
        raise FenceRefused.of(job_id, token)
    return row


# --- the end of an attempt in a single statement, optionally with the worker's next claim ---

# Most jobs have no dependents. Over a network their end then takes one round trip instead of one for each statement.
_END_ALONE = _SAVING.format(update=f"{_END} AND follower IS NULL")

END_ALONE = f"{_END_ALONE}\nSELECT {AFTER} FROM ended"

# If the end is refused, nothing is claimed.
END_AND_CLAIM = f"""{_END_ALONE},
     claimed AS ({CLAIM_STATEMENT.format(provided="EXISTS (SELECT 1 FROM ended) AND ", next=NEXT).replace(":token", ":next_token")})
SELECT claimed.* FROM ended LEFT JOIN claimed ON TRUE
"""


def end_alone(tx: Transaction, job_id: str, token: str, outcome: Outcome) -> Row | None:
    """End the attempt of a job without dependents, in one statement.

    :param outcome: without a retry, submitted jobs or a dataset version.
    :returns: the job's row, or None if the job has dependents or the token no longer holds it. Then nothing was written.
    """
    return tx.one(END_ALONE, **_end_values(job_id, token, outcome), **_saved_values(outcome))


def end_and_claim(
    tx: Transaction, job_id: str, token: str, outcome: Outcome, request: ClaimRequest
) -> tuple[bool, Row | None]:
    """End an attempt as `end_alone` does, and claim the worker's next job, in one statement.

    :returns: whether the end was written, and the job that was claimed, if any.
    """
    values = _end_values(job_id, token, outcome) | _saved_values(outcome) | request.where | request.claimant
    row = tx.one(END_AND_CLAIM, **values, next_token=request.token)
    return row is not None, None if row is None or row["id"] is None else row


def _end_values(job_id: str, token: str, outcome: Outcome) -> dict[str, Any]:
    """Return the parameters of END, or of RETRY if the outcome is a retry."""
    done, total, note = outcome.progress or (None, None, None)
    retry = {} if outcome.retry is None else vars(outcome.retry)
    return retry | {
        "id": job_id,
        "token": token,
        "state": outcome.state,
        "error": text.storable(text.cut(outcome.error, text.ERROR)),
        "done": done,
        "total": total,
        "note": note,
        "traceback": _traceback(outcome.result),
    }


def _saved_values(outcome: Outcome) -> dict[str, Any]:
    """Return the further parameters of the statements that save too."""
    media_type, body = outcome.result or (None, None)
    return {"deleted": outcome.deleted, "media_type": media_type, "body": body, "log": outcome.log}


def _traceback(result: tuple[str, bytes] | None) -> str:
    """Return the traceback in a failed attempt's result, for the history."""
    if result is None or result[0] != ERROR:
        return ""
    return text.cut_start(text.storable(json.loads(result[1])["traceback"]), text.EARLIER_TRACEBACK)


# --- a timeout that the attempt itself did not notice ---

RETRIES_LEFT = "SELECT id, retries, retry_delay FROM jobs WHERE token = :token"


def timed_out(tx: Transaction, token: str) -> tuple[str, Outcome] | None:
    """Return the job that a token holds, and the outcome of its timeout: a retry, or a failure. None if the claim is over."""
    row = tx.one(RETRIES_LEFT, token=token)
    if row is None:
        return None
    error = "Timed out: the attempt exceeded its timeout in a call that could not be interrupted."
    outcome = Outcome(state=State.FAILED, error=error, result=error_result(error, row["id"], retries=row["retries"]))
    if row["retries"]:
        outcome.retry = Retry(delay=row["retry_delay"], retries=row["retries"] - 1, retry_delay=row["retry_delay"])
    return row["id"], outcome


# --- a cancel ---

CANCEL = f"""
UPDATE jobs
SET state = 'cancelled', error = :reason, ended_at = NOW, token = NULL, lease_until = NULL,
    events = {event("cancelled", error=":reason")}
WHERE id = :id AND state IN {OPEN_STATES}
RETURNING {AFTER}
"""


def cancel(tx: Transaction, job_id: str, reason: str) -> Row | None:
    """Cancel a job. Return its row, or None if it has ended already, or if there is no such job.

    The caller passes the row to `after_end`, except for a run that handles share, which has no dependents.
    """
    return tx.one(CANCEL, id=job_id, reason=text.storable(text.cut(reason, text.ERROR)))
