"""RQ with a `Retry` for each job: without it, a job fails when its worker dies. The pool replaces dead workers."""

import os
from typing import Any

import redis
from rq import Queue, Retry

from benchmarks import work
from benchmarks.queues import PATIENCE, WORKERS

CONSUMER = ["rq", "worker-pool", "--url", os.environ["BENCH_REDIS_URL"], "--num-workers", str(WORKERS),
            "--logging-level", "WARNING", "default"]  # fmt: skip

# The client's default timeout is shorter than a wait for a result.
queue = Queue(connection=redis.Redis.from_url(os.environ["BENCH_REDIS_URL"], socket_timeout=None))


def prepare() -> None:
    pass


def submit(*args: Any) -> Any:
    return queue.enqueue(work.work, *args, retry=Retry(max=3))


def wait(submitted: Any) -> None:
    if submitted.latest_result(timeout=PATIENCE) is None:
        raise TimeoutError(f"No result of {submitted}.")


def kept() -> int:
    return len(queue) + queue.started_job_registry.count + queue.scheduled_job_registry.count
