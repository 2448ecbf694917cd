"""Submitting: from the call of a task to rows of the ledger, with its options, pipelines, groups and chords.

A submit is one transaction: the job and every job that follows it are accepted together or not at all. This package also
finds the modules that define tasks.
"""

from jobqueue.tasks.submission import ArgumentsTooLarge
from jobqueue.tasks.submitter import QueueUnavailable, Submitter
from jobqueue.tasks.task import DurableTaskWrapper

__all__ = ["ArgumentsTooLarge", "DurableTaskWrapper", "QueueUnavailable", "Submitter"]
