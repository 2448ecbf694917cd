"""The loss of a worker, as its consumer or another one's sweep writes it, without a process that dies."""

from jobqueue.ledger import releasing
from jobqueue.ledger.ledger import Ledger


def mark_lost(ledger: Ledger, job_id: str, token: str, worker: str) -> bool:
    """Requeue a job whose worker died, or fail it after too many losses. Return False if the token no longer holds it."""
    with ledger.database.transaction() as tx:
        return releasing.mark_lost(tx, job_id, token, ledger.max_losses, worker) is not None
