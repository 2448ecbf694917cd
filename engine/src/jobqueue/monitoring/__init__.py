"""Read-only views for people: search, statistics, workers and health.

Every query is bounded. Nothing here changes a job.
"""

from jobqueue.monitoring.health import Check
from jobqueue.monitoring.workers import Worker

__all__ = ["Check", "Worker"]
