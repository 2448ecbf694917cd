"""Huey on its own Redis or SQLite storage. Its docs have no setting that keeps the job of a dead worker.

Results notify, as its docs recommend for programs that wait for them.
"""

import os
from typing import Any

from huey import RedisHuey, SqliteHuey

from benchmarks import work
from benchmarks.queues import PATIENCE, WORKERS

CONSUMER = ["huey_consumer", "benchmarks.queues.stock_huey.huey", "-k", "process", "-w", str(WORKERS), "-q"]

if "BENCH_REDIS_URL" in os.environ:
    huey = RedisHuey("bench", url=os.environ["BENCH_REDIS_URL"], notify_result=True)
else:
    huey = SqliteHuey("bench", filename=os.path.join(os.environ["BENCH_FOLDER"], "huey.sqlite"), fsync=True)
submit = huey.task()(work.work)


def prepare() -> None:
    pass


def wait(submitted: Any) -> None:
    submitted.get(blocking=True, timeout=PATIENCE)


def kept() -> int:
    return int(huey.pending_count() + huey.scheduled_count())
