"""Everything between a claim and its end: the attempt, the current job, steps, progress, logs and retries.

An end is written once, together with everything that belongs to it. This package knows neither processes nor pages.
"""

from jobqueue.execution.current_job import current_job
from jobqueue.execution.executor import Executor

__all__ = ["Executor", "current_job"]
