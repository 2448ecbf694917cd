"""The jobs of benchmarks/capacity_runs.py, and programs that submit them.

The database is in BENCH_DATABASE_URL, and BENCH_REDIS_URL may name a Redis.
"""

import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator

from benchmarks.capacity import Load
from jobqueue import DurableHuey, current_job

huey = DurableHuey(
    "bench", os.environ["BENCH_DATABASE_URL"], os.environ.get("BENCH_REDIS_URL"), secret_key="a key for benchmarks"
)


@huey.task()
def work(seconds: float = 0.0, steps: float = 0, progress: float = 0, result_kb: float = 0) -> str:
    """Sleep for so many seconds, with steps and calls of progress at even intervals."""
    job, passed = current_job(), 0.0
    moments = [(n / steps, "step") for n in range(int(steps))] + [(n / progress, "call") for n in range(int(progress))]
    for number, (moment, what) in enumerate(sorted(moments)):
        time.sleep((moment - passed) * seconds)
        passed = moment
        if what == "step":
            job.step(f"step {number}", str, number)
        else:
            job.progress(number, len(moments), "working")
    time.sleep((1 - passed) * seconds)
    return random.randbytes(round(result_kb * 500)).hex()


def main() -> None:
    """Submit jobs and read them, as often as the load in the first argument says, until SIGTERM."""
    load = Load(**json.loads(sys.argv[1]))
    latest = work(load.seconds, load.steps, load.progress, load.result_kb)
    if load.users:
        threading.Thread(target=lambda: read(load.users, lambda: latest.id), daemon=True).start()
    for _ in moments(load.rate):
        latest = work(load.seconds, load.steps, load.progress, load.result_kb)


def read(rate: float, job_id: Callable[[], str]) -> None:
    """Read the job that `job_id` returns, so many times a second."""
    for _ in moments(rate):
        huey.get_job(job_id())


def fill(jobs: int) -> None:
    """Submit jobs that do nothing, one by one."""
    for _ in range(jobs):
        work()


def moments(rate: float) -> Iterator[None]:
    """Yield at random moments, `rate` a second on average. Late moments are made up at once."""
    chance, due = random.Random(7), time.monotonic()
    while True:
        due += chance.expovariate(rate)
        time.sleep(max(0.0, due - time.monotonic()))
        yield
