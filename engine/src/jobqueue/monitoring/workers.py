"""Who works: what each consumer says of its workers whenever it renews their leases."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from jobqueue.database.database import Row
from jobqueue.ledger.consumers import Consumers

VERSIONS = ("HEROKU_SLUG_COMMIT", "SOURCE_VERSION", "GIT_REV")  # where hosts say which code runs


@dataclass(frozen=True, kw_only=True)
class Worker:
    """One worker of a consumer that is alive. Times are aware, in UTC."""

    name: str  # "worker-1", within its consumer
    consumer: str
    host: str
    pid: int  # of its process; a worker that is a thread has its consumer's
    version: str | None  # of its code, where that is known
    started_at: datetime
    seen_at: datetime  # when its consumer last wrote
    draining: bool  # takes no more jobs, as its consumer was told to stop
    memory: int | None  # bytes that its process holds in RAM
    job: str | None  # the id of the one that it runs
    task: str | None  # of that job, as Huey registers it


@dataclass(frozen=True, kw_only=True)
class Process:
    """What a consumer says of one of its workers."""

    name: str
    pid: int
    age_s: float
    memory: int | None


def code_version() -> str | None:
    """As the host says it, in the environment."""
    return next((os.environ[name] for name in VERSIONS if os.environ.get(name)), None)


def memory(pid: int) -> int | None:
    """The bytes that a process holds in RAM; None if it is gone."""
    import psutil

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return None


def dump_processes(processes: Sequence[Process]) -> str:
    return json.dumps([vars(process) for process in processes])


def workers_of(consumers: Sequence[Row], running: Sequence[Row]) -> list[Worker]:
    """Return the workers of these consumers. `running`: the jobs that they hold."""
    held = {(row["consumer"], row["worker"]): row for row in running}
    return [
        Worker(
            name=process.name,
            consumer=consumer["id"],
            host=consumer["host"],
            pid=process.pid,
            version=consumer["version"],
            started_at=datetime.fromtimestamp(consumer["seen_at"] - process.age_s, UTC),
            seen_at=datetime.fromtimestamp(consumer["seen_at"], UTC),
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
    """Return the workers of all consumers that were seen in the last `lease_s` seconds."""
    alive = [row for row in consumers.all() if row["silent_s"] < lease_s]
    return workers_of(alive, consumers.held_by([row["id"] for row in alive]))
