"""Everything between a claim and its end: the attempt, the current job, steps, progress, logs and retries.

An attempt's end is one transaction: its state, result, retry and follow-ups are written together or not at all. This package
knows neither worker processes nor pages.
"""

from jobqueue.execution.current_job import current_job
from jobqueue.execution.executor import Executor

__all__ = ["Executor", "current_job"]
