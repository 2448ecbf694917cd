"""Dramatiq on Redis, with its middleware for results. By default it acknowledges late and retries failed jobs."""

import os
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from benchmarks import work
from benchmarks.queues import PATIENCE, WORKERS

CONSUMER = ["dramatiq", "benchmarks.queues.on_dramatiq", "--processes", str(WORKERS), "--threads", "1"]

broker = RedisBroker(url=os.environ["BENCH_REDIS_URL"])
broker.add_middleware(Results(backend=RedisBackend(url=os.environ["BENCH_REDIS_URL"])))
dramatiq.set_broker(broker)
submit = dramatiq.actor(store_results=True)(work.work).send


def prepare() -> None:
    pass


def wait(submitted: Any) -> None:
    submitted.get_result(block=True, timeout=PATIENCE * 1000)


def kept() -> int:
    """Return the number of jobs that are queued, or claimed by a worker and not acknowledged."""
    acks = broker.client.scan_iter("dramatiq:__acks__.*")
    return int(broker.client.llen("dramatiq:default")) + sum(broker.client.scard(key) for key in acks)
