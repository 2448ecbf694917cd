"""Handles of shared runs: detach one from its run, attach it again, and show a run as the owner of a handle sees it.

Several submissions of a unique job share one run. Each has a handle of its own. Cancelling a handle detaches it, and the run goes on
for the others.
"""

from jobqueue.database.database import Row, Transaction
from jobqueue.ledger.ending import cancel
from jobqueue.ledger.retrying import retry
from jobqueue.ledger.states import State
from jobqueue.ledger.submitting import OPEN_RUN, POINT_HANDLE_AT_RUN

RUN_OF_HANDLE = """
SELECT id, state, unique_key FROM jobs WHERE id = (SELECT job_id FROM handles WHERE id = :id) FOR UPDATE
"""

DETACH_HANDLE = "UPDATE handles SET let_go_at = NOW WHERE id = :id AND let_go_at IS NULL"
STILL_WANTED = "SELECT 1 FROM handles WHERE job_id = :run AND let_go_at IS NULL LIMIT 1"
REATTACH_HANDLE = "UPDATE handles SET let_go_at = NULL WHERE id = :id AND let_go_at IS NOT NULL"


def detach(tx: Transaction, handle: str, reason: str) -> tuple[bool, Row | None]:
    """Detach a handle from its run, and cancel the run if this was the last handle.

    :param reason: the error of a run that this cancels.
    :returns: whether the handle was attached to a run that had not ended, and the run's row if this cancelled it.
    """
    run = tx.one(RUN_OF_HANDLE, id=handle)
    if run is None or State(run["state"]).ended or not tx.run(DETACH_HANDLE, id=handle):
        return False, None
    if tx.one(STILL_WANTED, run=run["id"]) is not None:
        return True, None
    return True, cancel(tx, run["id"], reason)


def retry_job_or_handle(tx: Transaction, job_id: str) -> tuple[bool, Row | None]:
    """Retry a job by its own id, or by the id of a handle of a shared run.

    :returns: whether there was something to retry, and the row of the job that is queued again, if any.
    """
    run = tx.one(RUN_OF_HANDLE, id=job_id)
    if run is not None:
        return _reattach(tx, job_id, run)
    row = retry(tx, job_id)
    return row is not None, row


def _reattach(tx: Transaction, handle: str, run: Row) -> tuple[bool, Row | None]:
    """Attach a handle to its run again. Retry the run if it did not succeed, or join the newer run that has its key.

    :returns: as `retry_job_or_handle`.
    """
    if run["state"] not in (State.FAILED, State.CANCELLED):
        return bool(tx.run(REATTACH_HANDLE, id=handle)), None
    while (requeued := retry(tx, run["id"])) is None:
        newer = tx.one(OPEN_RUN, unique_key=run["unique_key"])
        if newer is not None:
            tx.run(POINT_HANDLE_AT_RUN, id=handle, run=newer["id"])
            break
    tx.run(REATTACH_HANDLE, id=handle)
    return True, requeued


def as_seen_by_handle(row: Row) -> Row:
    """Return a shared run as one of its handles shows it: with the handle's id and owner, and cancelled if it is detached."""
    seen = dict(row) | {"id": row["handle"], "owner": row["handle_owner"], "created_at": row["asked_at"]}
    if row["let_go_at"] is None:
        return seen
    return seen | {"state": State.CANCELLED, "error": "Cancelled.", "ended_at": row["let_go_at"], "failure": None}
