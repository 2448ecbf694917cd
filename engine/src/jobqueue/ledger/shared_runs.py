"""Handles of a unique job: leave its run, join it again, and see it as its submitter does.

Several submissions of a unique job share one run. Each has a handle, which it can cancel without ending the run for others.
"""

from jobqueue.database.database import Row, Transaction
from jobqueue.ledger.ending import CANCEL, retry
from jobqueue.ledger.states import State
from jobqueue.ledger.submitting import OPEN_RUN, POINT_HANDLE_AT_RUN

RUN_OF_HANDLE = """
SELECT id, state, unique_key FROM jobs WHERE id = (SELECT job_id FROM handles WHERE id = :id) FOR UPDATE
"""

DETACH_HANDLE = "UPDATE handles SET let_go_at = NOW WHERE id = :id AND let_go_at IS NULL"
STILL_WANTED = "SELECT 1 FROM handles WHERE job_id = :run AND let_go_at IS NULL LIMIT 1"
REATTACH_HANDLE = "UPDATE handles SET let_go_at = NULL WHERE id = :id AND let_go_at IS NOT NULL"


def detach(tx: Transaction, handle: str, reason: str) -> tuple[bool, Row | None]:
    """Whether the handle was one of a run that had not ended, and that run if it has ended now, as nobody wants it."""
    run = tx.one(RUN_OF_HANDLE, id=handle)
    if run is None or State(run["state"]).ended or not tx.run(DETACH_HANDLE, id=handle):
        return False, None
    if tx.one(STILL_WANTED, run=run["id"]) is not None:
        return True, None
    return True, tx.one(CANCEL, id=run["id"], reason=reason)


def reattach(tx: Transaction, handle: str, run: Row) -> tuple[bool, Row | None]:
    """Whether the handle takes part in a run again, and that run if it is in the queue again for it."""
    if run["state"] not in (State.FAILED, State.CANCELLED):
        return bool(tx.run(REATTACH_HANDLE, id=handle)), None
    while (again := retry(tx, run["id"])) is None:
        other = tx.one(OPEN_RUN, unique_key=run["unique_key"])
        if other is not None:
            tx.run(POINT_HANDLE_AT_RUN, id=handle, run=other["id"])
            break
    tx.run(REATTACH_HANDLE, id=handle)
    return True, again


def as_seen_by_handle(row: Row) -> Row:
    """A shared run, as it is for a handle of it."""
    seen = dict(row) | {"id": row["handle"], "owner": row["handle_owner"], "created_at": row["asked_at"]}
    if row["let_go_at"] is None:
        return seen
    return seen | {"state": State.CANCELLED, "error": "Cancelled.", "ended_at": row["let_go_at"], "failure": None}
