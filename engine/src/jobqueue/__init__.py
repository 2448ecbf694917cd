"""A durable job queue for Dash apps: Huey on a ledger in a SQL database.

This package re-exports the public names. Import them from here: the modules below may move. Values of the public classes are
stored in messages, so each class is pickled as `jobqueue.<name>`, which earlier and later versions of the code have too.
"""

from jobqueue.codec.values import ResultNotEncodable, ResultTooLarge
from jobqueue.database.database import DatabaseUnavailable
from jobqueue.datasets.dataset import Dataset, DatasetInfo, EmptyDataset, NotReady, VersionNotFound
from jobqueue.execution.current_job import SubmitRefused, current_job
from jobqueue.execution.dask_client import DaskUnavailable
from jobqueue.execution.job_log import LogLine
from jobqueue.files.file import File
from jobqueue.files.refusals import EmptyFile, FileMissing, FileRefused, FileTooLarge
from jobqueue.huey import DurableHuey
from jobqueue.interrupts import ClaimLost
from jobqueue.jobs.handle import JobHandle
from jobqueue.jobs.history import Event
from jobqueue.jobs.job import Job, JobNotFound, Progress, Unreadable
from jobqueue.jobs.waiting import NoFreeWorker
from jobqueue.ledger.states import State
from jobqueue.monitoring.health import Check
from jobqueue.monitoring.workers import Worker
from jobqueue.overrides import NotebookTask
from jobqueue.schedules.phrases import NotUnderstood
from jobqueue.schedules.schedule import Schedule, cron, every
from jobqueue.schedules.timetable import ScheduleNotFound, ScheduleStatus
from jobqueue.tasks.submission import ArgumentsTooLarge
from jobqueue.tasks.submitter import QueueUnavailable

__version__ = "0.3.0"  # part of the addresses of the engine's browser assets

__all__ = [
    "ArgumentsTooLarge",
    "Check",
    "ClaimLost",
    "DaskUnavailable",
    "DatabaseUnavailable",
    "Dataset",
    "DatasetInfo",
    "DurableHuey",
    "EmptyDataset",
    "EmptyFile",
    "Event",
    "File",
    "FileMissing",
    "FileRefused",
    "FileTooLarge",
    "Job",
    "JobHandle",
    "JobNotFound",
    "LogLine",
    "NoFreeWorker",
    "NotReady",
    "NotebookTask",
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

# Pickle names a class by its module. Values of these classes are task arguments in stored messages. During a deploy both old and
# new code must find them, so they are pickled under this package, wherever their modules are.
for _name in __all__:
    _value = globals()[_name]
    if isinstance(_value, type) and _value.__module__.startswith("jobqueue."):
        _value.__module__ = "jobqueue"
del _name, _value
