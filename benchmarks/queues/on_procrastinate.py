"""Procrastinate, with the periodic task from its docs that tries jobs of dead workers again.

Its worker is one process that waits on many things at once. For process workers there are four, each with one job at a time.
"""

import os
import time
from typing import Any

import procrastinate

from benchmarks import work
from benchmarks.queues import PATIENCE, WORKERS

CONSUMER = ["procrastinate", "--app", "benchmarks.queues.on_procrastinate.app", "worker", "--concurrency", "1"]
PROCESSES = WORKERS
LOOK = 0.005  # seconds between two looks whether a job has ended: it keeps no results, and nothing waits for an end

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=os.environ["BENCH_DATABASE_URL"]))
task = app.task(work.work)


@app.periodic(cron="*/10 * * * *")
@app.task(queueing_lock="retry_stalled_jobs", pass_context=True)
async def retry_stalled_jobs(context: Any, timestamp: int) -> None:
    for job in await app.job_manager.get_stalled_jobs():
        await app.job_manager.retry_job(job)


def prepare() -> None:
    with app.open():
        app.schema_manager.apply_schema()


def submit(job: str, seconds: float = 0, gate: str = "") -> int:
    app.open()  # once is enough, and it may be again
    return int(task.defer(job=job, seconds=seconds, gate=gate))


def wait(submitted: int) -> None:
    until = time.monotonic() + PATIENCE
    while app.job_manager.get_job_status(submitted).value in ("todo", "doing"):
        if time.monotonic() > until:
            raise TimeoutError(f"Job {submitted} has not ended.")
        time.sleep(LOOK)


def kept() -> int:
    app.open()
    jobs = app.job_manager.list_jobs(task=task.name)
    return sum(job.status in ("todo", "doing") for job in jobs)
