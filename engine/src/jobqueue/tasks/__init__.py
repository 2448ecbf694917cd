"""From the call of a task to rows of the ledger: options, pipelines, groups and chords.

One submit is one transaction. The modules that define tasks are found here too.
"""

from jobqueue.tasks.submission import ArgumentsTooLarge
from jobqueue.tasks.submitter import QueueUnavailable, Submitter
from jobqueue.tasks.task import DurableTaskWrapper

__all__ = ["ArgumentsTooLarge", "DurableTaskWrapper", "QueueUnavailable", "Submitter"]
