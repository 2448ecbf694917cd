"""A durable job queue for Dash apps: Huey on a ledger in a SQL database. These are its public names."""

from jobqueue.checks import Check
from jobqueue.codec import ResultNotEncodable, ResultTooLarge
from jobqueue.context import current_job
from jobqueue.database import DatabaseUnavailable
from jobqueue.dataset import Dataset, DatasetInfo, EmptyDataset, NotReady, VersionNotFound
from jobqueue.handle import Job, JobHandle, JobNotFound, Progress, Unreadable
from jobqueue.history import Event
from jobqueue.huey import DurableHuey
from jobqueue.interrupts import ClaimLost
from jobqueue.ledger import State
from jobqueue.logs import LogLine
from jobqueue.phrases import NotUnderstood
from jobqueue.plan import ArgumentsTooLarge, QueueUnavailable
from jobqueue.schedule import Schedule, cron, every
from jobqueue.timetable import ScheduleLook, ScheduleNotFound
from jobqueue.workers import Worker

__version__ = "0.1.0"  # in the addresses of what a browser loads from here

__all__ = [
    "ArgumentsTooLarge",
    "Check",
    "ClaimLost",
    "DatabaseUnavailable",
    "Dataset",
    "DatasetInfo",
    "DurableHuey",
    "EmptyDataset",
    "Event",
    "Job",
    "JobHandle",
    "JobNotFound",
    "LogLine",
    "NotReady",
    "NotUnderstood",
    "Progress",
    "QueueUnavailable",
    "ResultNotEncodable",
    "ResultTooLarge",
    "Schedule",
    "ScheduleLook",
    "ScheduleNotFound",
    "State",
    "Unreadable",
    "VersionNotFound",
    "Worker",
    "cron",
    "current_job",
    "every",
]
