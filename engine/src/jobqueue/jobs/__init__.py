"""Submitted jobs: handles, the present state of a job, and its history.

Reading never changes a job, and never removes its result. An id that does not exist raises JobNotFound, whatever it contains.
"""

from jobqueue.jobs.handle import JobHandle
from jobqueue.jobs.history import Event
from jobqueue.jobs.job import Job, JobNotFound, Progress, Unreadable

__all__ = ["Event", "Job", "JobHandle", "JobNotFound", "Progress", "Unreadable"]
