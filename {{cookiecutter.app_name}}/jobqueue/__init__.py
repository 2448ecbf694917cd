"""A durable job queue for Dash apps: Huey on a ledger in a SQL database. These are its public names."""

from jobqueue.checks import Check
from jobqueue.codec import ResultNotEncodable
from jobqueue.context import current_job
from jobqueue.database import DatabaseUnavailable
from jobqueue.handle import Job, JobHandle, JobNotFound, Progress, Unreadable
from jobqueue.huey import DurableHuey
from jobqueue.interrupts import ClaimLost
from jobqueue.ledger import State

__all__ = [
    "Check",
    "ClaimLost",
    "DatabaseUnavailable",
    "DurableHuey",
    "Job",
    "JobHandle",
    "JobNotFound",
    "Progress",
    "ResultNotEncodable",
    "State",
    "Unreadable",
    "current_job",
]
