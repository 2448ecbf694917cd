"""Tests of many consumers behind one pooler that has few connections.

`make many` runs them with 64 consumers and 1,000 workers; by themselves they run with fewer.
"""

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from jobqueue import DurableHuey
from jobqueue.guard import Guard
from tests.engine.consumers import environment, wait_until
from tests.faults.conftest import KIT
from tests.faults.fault_jobs import notes, tasks_on
from tests.pgbouncer import PgBouncerServer
from tests.servers import FAST, PostgresServer
from tests.storages import Storage, migrate

pytestmark = pytest.mark.alone

CONSUMERS = int(os.environ.get("CONSUMERS", "12"))
WORKERS = int(os.environ.get("WORKERS", "120"))  # of all consumers in the test of their number
JOBS = int(os.environ.get("JOBS", "300"))
IDLE_FOR = float(os.environ.get("IDLE_FOR", "10"))  # seconds
KILLED = max(CONSUMERS * 10 // 64, 2)
STARTS_IN = ENDS_IN = 60.0 + CONSUMERS * 2  # seconds

LEASE: dict[str, Any] = {"lease_s": 10.0, "renew_s": 3.0, "grace_s": 5.0}
EACH_SECOND = MappingProxyType({"tick": "every second"})
PACE = 100  # jobs a second that are submitted to many workers
NAP = 0.05  # seconds that each of these jobs takes
CLAIMED_IN = 1.0  # seconds within which 99 of 100 of them are claimed
IDLE_COST = 0.2  # processors that Postgres may take for all idle workers


class Consumers:
    """Consumers that one process has started. They end with the test."""

    def __init__(
        self,
        stack: ExitStack,
        folder: Path,
        storage: Storage,
        workers: Mapping[str, int],
        schedules: Mapping[str, str] = EACH_SECOND,
    ) -> None:
        options = {
            "storage": storage._asdict(),
            "workers": dict(workers),
            "settings": LEASE,
            "schedules": dict(schedules),
        }
        self.lines = folder / f"{next(iter(workers))}.txt"
        self.log = folder / f"{next(iter(workers))}.log"
        guard = Guard()
        with self.lines.open("wb") as lines, self.log.open("wb") as log:
            process = subprocess.Popen(
                [*guard.command, sys.executable, "-m", "tests.faults.run_many", json.dumps(options)],
                stdout=lines,
                stderr=log,
                env=environment(KIT),
                cwd=folder,
                **guard.options,
            )
        stack.callback(guard.kill, process)

    def _read(self, what: str) -> dict[str, int]:
        words = [line.split() for line in self.lines.read_text().splitlines()]
        return {host: int(number) for host, kind, number in words if kind == what}

    @property
    def pids(self) -> dict[str, int]:
        """Return the process id of each consumer by its host name."""
        return self._read("started")

    @property
    def exit_codes(self) -> dict[str, int]:
        """Return the exit code of each consumer that has ended, by its host name."""
        return self._read("ended")


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    with PostgresServer(FAST | {"max_connections": "100"}) as server:
        yield server


@pytest.fixture
def pooled(server: PostgresServer) -> Iterator[Storage]:
    """Yield a database behind a pooler that opens at most 40 connections."""
    migrate(server.url)
    with PgBouncerServer(server.url, "transaction", default_pool_size=40) as pooler:
        yield Storage(pooler.url)


@pytest.fixture
def huey(pooled: Storage) -> Iterator[DurableHuey]:
    huey = DurableHuey("faults", **pooled._asdict(), secret_key="a key for tests", **LEASE)
    with closing(huey.storage):
        yield huey


def spread(workers: int, name: str = "host") -> dict[str, int]:
    """Return the number of workers of each consumer, by its host name."""
    return {f"{name}-{number}": (workers + number) // CONSUMERS for number in range(CONSUMERS)}


def asleep(server: PostgresServer) -> bool:
    """Return whether the start is over: Postgres has used less than half of a processor for a second."""
    before, began = cpu_of(server), time.monotonic()
    time.sleep(1)
    return cpu_of(server) - before < (time.monotonic() - began) / 2


def cpu_of(server: PostgresServer) -> float:
    """Return the seconds of processor time that the server's processes have taken."""
    times = [process.cpu_times() for process in server.processes()]
    return sum(each.user + each.system + each.children_user + each.children_system for each in times)


def count(huey: DurableHuey, where: str) -> int:
    """Return how many of the test's own jobs match a condition. The ticks of the schedule are others."""
    with huey.ledger.database.statement() as tx:
        row = tx.one(f"SELECT count(*) AS n FROM jobs WHERE id LIKE 'job %' AND {where}")
    assert row is not None
    return int(row["n"])


def test_many_consumers_run_each_job_once_while_they_are_killed_and_deployed(
    huey: DurableHuey, pooled: Storage, tmp_path: Path, dice: random.Random
) -> None:
    tasks = tasks_on(huey)
    # Each job has a folder of its own. Hundreds of processes that write into one file wait seconds for its lock on a busy machine.
    paths = [tmp_path / f"job-{number}" / "notes.txt" for number in range(JOBS)]
    for path in paths:
        path.parent.mkdir()
    with ExitStack() as stack:
        old = Consumers(stack, tmp_path, pooled, spread(2 * CONSUMERS, "old"))
        wait_until(lambda: len(huey.ledger.consumers.all()) == CONSUMERS, STARTS_IN)
        huey.enqueue_many([tasks.errand.s(str(path), n, 1, NAP, id=f"job {n}") for n, path in enumerate(paths)])
        doomed = dice.sample(sorted(old.pids), KILLED)
        for number, host in enumerate(doomed):
            part = JOBS * number / len(doomed) / 2
            wait_until(lambda part=part: count(huey, "state = 'succeeded'") > part, ENDS_IN)  # type: ignore[misc]
            os.kill(old.pids[host], signal.SIGKILL)
        new = Consumers(stack, tmp_path, pooled, spread(2 * CONSUMERS, "new"))
        wait_until(lambda: "new" in {row["host"].partition("-")[0] for row in huey.ledger.consumers.all()}, STARTS_IN)
        assert count(huey, "state != 'succeeded'") > 0, "the deploy came too late"
        for host in old.pids.keys() - doomed:
            os.kill(old.pids[host], signal.SIGTERM)
        wait_until(lambda: len(old.exit_codes) == CONSUMERS, ENDS_IN)
        wait_until(lambda: count(huey, "state = 'succeeded'") == JOBS, ENDS_IN)
        last_fire = time.time()
        assert Counter(old.exit_codes.values()) == {-signal.SIGKILL: KILLED, 0: CONSUMERS - KILLED}
        wait_until(lambda: len(new.pids) == CONSUMERS, STARTS_IN)
        assert new.exit_codes == {}
    again = []
    for number, path in enumerate(paths):
        job = huey.get_job(f"job {number}")
        began = [words[0] for words in notes(path)].count("attempt")
        assert 1 <= began <= job.attempt == 1 + job.losses + job.returns, job
        if job.attempt > 1:
            again.append(job)
    # Each of the killed consumers ran two jobs at most.
    assert len(again) <= 2 * KILLED, [huey.history(job.id) for job in again]
    ticks = huey.jobs(limit=10_000)
    dues = sorted(tick.due_at.timestamp() for tick in ticks if tick.due_at)
    assert dues == [dues[0] + n for n in range(len(dues))]
    assert dues[-1] > last_fire - 3


def test_many_workers_share_few_connections(
    huey: DurableHuey, server: PostgresServer, pooled: Storage, tmp_path: Path
) -> None:
    """They are all listed, claim their jobs in time, and cost next to nothing while they are idle."""
    tasks = tasks_on(huey)
    with ExitStack() as stack:
        Consumers(stack, tmp_path, pooled, spread(WORKERS), schedules={})
        wait_until(lambda: len(huey.workers()) == WORKERS, STARTS_IN)
        wait_until(lambda: asleep(server), STARTS_IN)
        before, began = cpu_of(server), time.monotonic()
        time.sleep(IDLE_FOR)  # the load to measure: nothing
        idle = (cpu_of(server) - before) / (time.monotonic() - began)
        begin = time.monotonic()
        for number in range(JOBS):
            time.sleep(max(0.0, begin + number / PACE - time.monotonic()))
            huey.enqueue(tasks.naps.s(NAP, id=f"job {number}"))
        wait_until(lambda: count(huey, "state = 'succeeded'") == JOBS, ENDS_IN)
        took = time.monotonic() - begin
    with huey.ledger.database.statement() as tx:
        waited = sorted(row["waited"] for row in tx.all("SELECT claimed_at - queued_at AS waited FROM jobs"))
    p99 = waited[int(0.99 * JOBS)]
    print(
        f"{WORKERS} workers of {CONSUMERS} consumers cost Postgres {idle:.3f} processors while idle. {JOBS} jobs took {took:.0f} s: "
        f"claimed within {1000 * statistics.median(waited):.0f} ms (median), {1000 * p99:.0f} ms (p99), "
        f"{1000 * waited[-1]:.0f} ms (most)."
    )
    assert count(huey, "losses = 0 AND attempt = 1 + returns") == JOBS
    assert idle < IDLE_COST
    assert p99 < CLAIMED_IN
