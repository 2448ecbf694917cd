"""Wake idle workers when jobs were queued: through Redis, Postgres NOTIFY, or the version of the SQLite file.

A notification carries no data, so a lost one only costs a second. A Redis that fails is left alone for a while.
"""

from jobqueue.notifier.notifier import Notifier, notifier_for

__all__ = ["Notifier", "notifier_for"]
