"""Worker status: what each consumer reports about its workers when it renews their leases."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from jobqueue.database.database import Row
from jobqueue.database.times import utc
from jobqueue.ledger.consumers import Consumers

VERSIONS = ("HEROKU_SLUG_COMMIT", "SOURCE_VERSION", "GIT_REV")  # environment variables in which hosts put the commit


@dataclass(frozen=True, kw_only=True)
class Worker:
    """A worker of a live consumer. Times are aware, in UTC."""

    name: str  # within its consumer, such as "worker-1"
    consumer: str
    host: str
    pid: int  # of its process; a worker thread has its consumer's
    version: str | None  # of its code; None if the host does not say
    started_at: datetime
    seen_at: datetime  # the last heartbeat of its consumer
    draining: bool  # claims no more jobs, because its consumer is stopping
    memory: int | None  # bytes of RAM that its process uses
    job: str | None  # the id of the job that it runs
    task: str | None  # the full name of that job's task


@dataclass(frozen=True, kw_only=True)
class Process:
    """A consumer's report about one of its workers."""

    name: str
    pid: int
    age_s: float
    memory: int | None


def code_version() -> str | None:
    """Return the version of the running code from the host's environment variables, or None."""
    return next((os.environ[name] for name in VERSIONS if os.environ.get(name)), None)


def memory(pid: int) -> int | None:
    """Return the bytes of RAM that a process uses, or None if it has ended."""
    import psutil

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return None


def dump_processes(processes: Sequence[Process]) -> str:
    """Return the reports as JSON, as the ledger stores them."""
    return json.dumps([vars(process) for process in processes])


def workers_of(consumers: Sequence[Row], running: Sequence[Row]) -> list[Worker]:
    """Return the workers of these consumers. `running`: rows of the jobs that they run."""
    held = {(row["consumer"], row["worker"]): row for row in running}
    return [
        Worker(
            name=process.name,
            consumer=consumer["id"],
            host=consumer["host"],
            pid=process.pid,
            version=consumer["version"],
            started_at=utc(consumer["seen_at"] - process.age_s),
            seen_at=utc(consumer["seen_at"]),
            draining=bool(consumer["draining"]),
            memory=process.memory,
            job=job["id"] if job else None,
            task=job["task"] if job else None,
        )
        for consumer in consumers
        for process in (Process(**fields) for fields in json.loads(consumer["processes"]))
        for job in [held.get((consumer["id"], process.name))]
    ]


def live_workers(consumers: Consumers, lease_s: float) -> list[Worker]:
    """Return the workers of all consumers that sent a heartbeat in the last `lease_s` seconds."""
    alive = [row for row in consumers.all() if row["silent_s"] < lease_s]
    return workers_of(alive, consumers.held_by([row["id"] for row in alive]))
