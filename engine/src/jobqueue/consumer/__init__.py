"""A main process that never runs jobs, and workers that do.

The main process renews leases, requeues the jobs of dead workers, fires schedules and prunes. At a stop, running jobs get a
grace period before they are released.
"""

from jobqueue.consumer.consumer import DurableConsumer

__all__ = ["DurableConsumer"]
