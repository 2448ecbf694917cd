"""Celery with late acknowledgement, as its docs recommend for jobs that must run and may run twice.

`task_reject_on_worker_lost` requeues the job of a killed worker process. The visibility timeout keeps its default of an
hour, because a shorter one runs longer jobs twice.
"""

import os
from typing import Any

import redis
from celery import Celery

from benchmarks import work
from benchmarks.queues import PATIENCE, WORKERS

CONSUMER = ["celery", "--app", "benchmarks.queues.on_celery", "worker", "--pool", "prefork",
            "--concurrency", str(WORKERS), "--loglevel", "WARNING"]  # fmt: skip

app = Celery("bench", broker=os.environ["BENCH_REDIS_URL"], backend=os.environ["BENCH_REDIS_URL"])
app.conf.task_acks_late = True
app.conf.task_reject_on_worker_lost = True
app.conf.worker_prefetch_multiplier = 1
submit = app.task(work.work).delay


def prepare() -> None:
    pass


def wait(submitted: Any) -> None:
    submitted.get(timeout=PATIENCE)


def kept() -> int:
    with redis.Redis.from_url(os.environ["BENCH_REDIS_URL"]) as client:
        return int(client.llen("celery")) + int(client.hlen("unacked"))
