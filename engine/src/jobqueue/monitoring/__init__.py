"""Read-only views for people: search, statistics, workers and health checks.

Every query reads a bounded number of rows, however many jobs the ledger holds. Nothing here changes a job.
"""

from jobqueue.monitoring.health import Check
from jobqueue.monitoring.workers import Worker

__all__ = ["Check", "Worker"]
