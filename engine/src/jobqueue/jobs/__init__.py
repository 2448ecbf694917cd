"""What a submit returns: a handle, the job as it is now, and its history.

Reading never removes a result. Errors say what to do.
"""

from jobqueue.jobs.handle import JobHandle
from jobqueue.jobs.history import Event
from jobqueue.jobs.job import Job, JobNotFound, Progress, Unreadable

__all__ = ["Event", "Job", "JobHandle", "JobNotFound", "Progress", "Unreadable"]
