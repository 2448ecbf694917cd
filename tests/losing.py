"""The loss of a worker without a dying process, written as its consumer or another consumer's sweep writes it."""

from jobqueue.ledger import releasing
from jobqueue.ledger.ledger import Ledger


def mark_lost(ledger: Ledger, job_id: str, token: str, worker: str) -> bool:
    """Requeue a job whose worker died, or fail it after too many losses. Return False if the token no longer holds it."""
    with ledger.database.transaction() as tx:
        return releasing.mark_lost(tx, job_id, token, ledger.max_losses, worker) is not None
