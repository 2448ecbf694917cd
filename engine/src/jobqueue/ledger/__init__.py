"""Keep the state of every job in SQL: submit, claim, end, leases, and queries.

Each transition names the state that it expects, and for a running job the token of its claim. If they do not match, it changes
nothing. All times are the database's, and each statement stands beside the method that runs it.

The modules build on each other in this order: `states`, `queues`, `sql` → `records`, `limits`, `unique` → `results`, `entries`,
`dataset_versions`, `submitting`, `claiming` → `dependents` → `ending`, `releasing`, `retrying` → `shared_runs` → `reading`,
`consumers`, `attempts`, `retention` → `ledger`.
"""

from jobqueue.ledger.ledger import Ledger
from jobqueue.ledger.records import ClaimRequest, FenceRefused, NewJob, NewVersion, Outcome, Retry
from jobqueue.ledger.states import TRANSITIONS, State

__all__ = ["ClaimRequest", "FenceRefused", "Ledger", "NewJob", "NewVersion", "Outcome", "Retry", "State", "TRANSITIONS"]
