"""This queue with process workers, as in the app: only the servers are set."""

import os
from typing import Any

from benchmarks import work
from benchmarks.queues import PATIENCE, WORKERS
from jobqueue import DurableHuey, State

CONSUMER = ["huey_consumer", "benchmarks.queues.ours.huey", "-k", os.environ.get("BENCH_WORKER_TYPE", "process"),
            "-w", str(WORKERS), "-q"]  # fmt: skip

huey = DurableHuey(
    "bench", os.environ["BENCH_DATABASE_URL"], os.environ.get("BENCH_REDIS_URL"), secret_key="a key for benchmarks"
)
submit = huey.task()(work.work)


def prepare() -> None:
    huey.migrate()


def wait(submitted: Any) -> None:
    submitted.get(blocking=True, timeout=PATIENCE)


def kept() -> int:
    return sum(huey.ledger.reading.count(state) for state in State if not state.ended)
