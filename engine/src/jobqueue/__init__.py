"""A durable job queue for Dash apps: Huey on a ledger in a SQL database. These are its public names."""

from jobqueue.codec.values import ResultNotEncodable, ResultTooLarge
from jobqueue.database.database import DatabaseUnavailable
from jobqueue.datasets.dataset import Dataset, DatasetInfo, EmptyDataset, NotReady, VersionNotFound
from jobqueue.execution.current_job import SubmitRefused, current_job
from jobqueue.execution.job_log import LogLine
from jobqueue.huey import DurableHuey
from jobqueue.interrupts import ClaimLost
from jobqueue.jobs.handle import JobHandle
from jobqueue.jobs.history import Event
from jobqueue.jobs.job import Job, JobNotFound, Progress, Unreadable
from jobqueue.ledger.states import State
from jobqueue.monitoring.health import Check
from jobqueue.monitoring.workers import Worker
from jobqueue.schedules.phrases import NotUnderstood
from jobqueue.schedules.schedule import Schedule, cron, every
from jobqueue.schedules.timetable import ScheduleNotFound, ScheduleStatus
from jobqueue.tasks.submission import ArgumentsTooLarge
from jobqueue.tasks.submitter import QueueUnavailable

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
    "ScheduleStatus",
    "ScheduleNotFound",
    "State",
    "SubmitRefused",
    "Unreadable",
    "VersionNotFound",
    "Worker",
    "cron",
    "current_job",
    "every",
]
