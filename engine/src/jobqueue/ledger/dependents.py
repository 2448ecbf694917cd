"""Update the jobs that wait for another job when it ends.

A job names one follower: the next job of a pipeline, or the callback of a chord. The follower counts in `pending` the jobs that it
still waits for. The end of a job releases its follower, or cancels it together with the rest of the pipeline.
"""

from jobqueue.database.database import Row, Transaction
from jobqueue.ledger.records import Outcome, error_result
from jobqueue.ledger.results import save_result
from jobqueue.ledger.sql import AFTER, event
from jobqueue.ledger.states import State
from jobqueue.text import ERROR, cut

RELEASED = "CASE WHEN run_at > NOW THEN 'scheduled' ELSE 'queued' END"

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


def after_end(tx: Transaction, row: Row, outcome: Outcome) -> list[str]:
    """Release or cancel the dependents of a job that has ended. Everything that ends a job calls this.

    :param row: the columns AFTER of the job that has ended.
    :returns: the queue of each job that may be ready to run now.
    """
    state = outcome.state
    while row["follower"] is not None:
        # As in Huey, a chord's callback runs after a failed member too, and gets its error.
        if row["chord_index"] is not None or state is State.SUCCEEDED:
            if tx.run(COUNT_CHORD_MEMBER, id=row["id"]):
                return [released["queue"] for released in tx.all(RELEASE_DEPENDENT, id=row["follower"])]
            return []
        ending = "failed" if state is State.FAILED else "was cancelled"
        error = cut(f"Not run: the job before it ({row['id']}) {ending}. {outcome.error}".strip(), ERROR)
        cancelled = tx.one(CANCEL_DEPENDENT, id=row["follower"], error=error)
        if cancelled is None:
            return []
        if outcome.result is not None:
            save_result(tx, cancelled["id"], outcome.result)
        row, state = cancelled, State.CANCELLED
    return []


def after_failure(tx: Transaction, row: Row, error: str) -> list[str]:
    """Save the error of a job that failed without an outcome of its own, and update its dependents as `after_end` does."""
    save_result(tx, row["id"], error_result(error, row["id"]))
    return after_end(tx, row, Outcome(state=State.FAILED, error=error))


# --- a new job in the place of another ---

SET_FOLLOWER = "UPDATE jobs SET follower = :follower, chord_index = :chord_index WHERE id = :id"
REPOINT_FOLLOWS = "UPDATE jobs SET follows = :after WHERE id = :id AND follows = :before"


def move_follower(tx: Transaction, old: Row, new_id: str) -> None:
    """Make the follower of one job, if it has one, wait for another job instead."""
    tx.run(SET_FOLLOWER, id=new_id, follower=old["follower"], chord_index=old["chord_index"])
    tx.run(SET_FOLLOWER, id=old["id"], follower=None, chord_index=None)
    tx.run(REPOINT_FOLLOWS, id=old["follower"], before=old["id"], after=new_id)
