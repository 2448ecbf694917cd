"""The state of every job, in SQL: submit, claim, end, leases, and reads.

Each transition names the state that it expects, and for a running job the token of its claim; otherwise it changes nothing.
Each statement stands beside the method that runs it. All times are the database's.
"""

from jobqueue.ledger.ledger import Ledger
from jobqueue.ledger.records import ClaimRequest, FenceRefused, NewJob, NewVersion, Outcome, Retry
from jobqueue.ledger.states import TRANSITIONS, State

__all__ = ["ClaimRequest", "FenceRefused", "Ledger", "NewJob", "NewVersion", "Outcome", "Retry", "State", "TRANSITIONS"]
