"""A durable job queue for Dash apps: Huey on a ledger in a SQL database. These are its public names."""

from jobqueue.checks import Check
from jobqueue.codec import ResultNotEncodable, ResultTooLarge
from jobqueue.context import current_job
from jobqueue.database import DatabaseUnavailable
from jobqueue.handle import Job, JobHandle, JobNotFound, Progress, Unreadable
from jobqueue.huey import DurableHuey
from jobqueue.interrupts import ClaimLost
from jobqueue.ledger import State
from jobqueue.plan import ArgumentsTooLarge, QueueUnavailable

__all__ = [
    "ArgumentsTooLarge",
    "Check",
    "ClaimLost",
    "DatabaseUnavailable",
    "DurableHuey",
    "Job",
    "JobHandle",
    "JobNotFound",
    "Progress",
    "QueueUnavailable",
    "ResultNotEncodable",
    "ResultTooLarge",
    "State",
    "Unreadable",
    "current_job",
]
