"""Wake idle workers when jobs are queued: through Redis, Postgres NOTIFY, or the data version of the SQLite file.

A notification carries no data, so a lost one costs at most a second. A server that fails never makes a submit fail. A circuit
breaker stops the use of a failing Redis for a few seconds.
"""

from jobqueue.notifier.notifier import Notifier, notifier_for

__all__ = ["Notifier", "notifier_for"]
