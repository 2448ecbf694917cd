"""Procrastinate, with the periodic task from its docs that retries jobs of dead workers.

Its worker is one asynchronous process. To compare process workers, there are four of them, each with one job at a time.
"""

import os
import time
from typing import Any

import procrastinate

from benchmarks import work
from benchmarks.queues import PATIENCE, WORKERS

CONSUMER = ["procrastinate", "--app", "benchmarks.queues.on_procrastinate.app", "worker", "--concurrency", "1"]
PROCESSES = WORKERS
# Seconds between two checks whether a job has ended. Procrastinate keeps no results, and has no way to wait for an end.
POLL = 0.005

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
    app.open()  # has an effect only once
    return int(task.defer(job=job, seconds=seconds, gate=gate))


def wait(submitted: int) -> None:
    until = time.monotonic() + PATIENCE
    while app.job_manager.get_job_status(submitted).value in ("todo", "doing"):
        if time.monotonic() > until:
            raise TimeoutError(f"Job {submitted} has not ended.")
        time.sleep(POLL)


def kept() -> int:
    app.open()
    jobs = app.job_manager.list_jobs(task=task.name)
    return sum(job.status in ("todo", "doing") for job in jobs)
