"""The consumer: a main process that never runs jobs, and the workers that do.

The main process renews leases, requeues the jobs of dead workers, fires schedules and prunes. Nothing that a job does may stop
these duties. When a consumer stops, running jobs get a grace period before they are released.
"""

from jobqueue.consumer.consumer import DurableConsumer

__all__ = ["DurableConsumer"]
