"""The jobs of benchmarks/capacity_runs.py, and programs that submit them.

The database is in BENCH_DATABASE_URL, and BENCH_REDIS_URL may name a Redis.
"""

import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable

from benchmarks.capacity import Load
from jobqueue import DurableHuey, current_job

SUBMITTERS = 2  # threads
FOREVER = 1e6  # seconds

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
    latest = [submit(load)]

    def replace_latest() -> None:
        latest[0] = submit(load)

    for _ in range(SUBMITTERS):
        threading.Thread(target=often, args=[load.rate / SUBMITTERS, replace_latest], daemon=True).start()
    often(load.users, lambda: huey.get_job(latest[0]))


def submit(load: Load) -> str:
    """Submit a job of this load. Return its id."""
    return str(work(load.seconds, load.steps, load.progress, load.result_kb).id)


def often(rate: float, call: Callable[[], object]) -> None:
    """Call at random moments, `rate` times a second on average. Make up for late calls at once."""
    due = time.monotonic()
    while True:
        due += random.expovariate(rate) if rate else FOREVER
        time.sleep(max(0.0, due - time.monotonic()))
        call()


def fill(jobs: int) -> None:
    """Submit jobs that do nothing, one by one."""
    for _ in range(jobs):
        work()
