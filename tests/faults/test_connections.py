"""Tests of the number of Postgres connections.

The smallest hosted plans have 20, and during a deploy the old and the new processes run together.
"""

import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace

import psutil
import psycopg
import pytest

from jobqueue import DurableHuey, State
from tests.baking import TEMPLATE
from tests.engine.consumers import consumer_process, environment, kill, wait_until
from tests.faults.conftest import KIT, StartConsumer
from tests.servers import FAST, PostgresServer, fresh_database
from tests.storages import Storage

on_each = pytest.mark.parametrize("storage", ["postgres", "postgres+valkey"], indirect=True)

THREADS = 8  # in a web process
WORKERS = 4  # in a consumer


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """Yield a server that only these tests use, so that all of its connections can be counted."""
    with PostgresServer(FAST) as server:
        yield server


@pytest.fixture
def storage(request: pytest.FixtureRequest, server: PostgresServer) -> Iterator[Storage]:
    with fresh_database(server.url) as url:
        with_valkey = request.param == "postgres+valkey"
        yield Storage(url, request.getfixturevalue("valkey").url if with_valkey else None)


WEB = """
import json, signal, sys, threading
from jobqueue import DurableHuey
from tests.faults.fault_jobs import tasks_on
tasks = tasks_on(huey := DurableHuey("faults", **json.loads(sys.argv[1]), secret_key="a key for tests"))
together = threading.Barrier(int(sys.argv[2]))
def serve():
    together.wait(10)
    for number in range(10):
        assert tasks.quick(number).get(blocking=True, timeout=10) == number
        huey.jobs()
threads = [threading.Thread(target=serve) for _ in range(int(sys.argv[2]))]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print("served", flush=True)
signal.pause()
"""


class Census:
    """A count of the server's connections: `most` is the most at one time, without its own."""

    def __init__(self, server: PostgresServer) -> None:
        self.most = 0
        self.over = Event()
        self.counts = psycopg.connect(server.url, autocommit=True)
        self.thread = Thread(target=self.count)

    def __enter__(self) -> "Census":
        self.thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.over.set()
        self.thread.join()
        self.counts.close()

    def now(self) -> int:
        row = self.counts.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        ).fetchone()
        assert row is not None
        return int(row[0])

    def count(self) -> None:
        while not self.over.is_set():
            self.most = max(self.most, self.now())
            self.over.wait(0.005)


@on_each
def test_connections_of_a_deploy_fit_in_the_smallest_plan(
    huey: DurableHuey, server: PostgresServer, storage: Storage, start: StartConsumer, tmp_path: Path
) -> None:
    consumer = WORKERS + (1 if storage.redis_url else 2)
    webs = 2 * 2
    start(workers=WORKERS)
    huey.storage.close()
    with Census(server) as census, ExitStack() as stack:
        for number in range(2):
            command = ["-c", WEB, json.dumps(storage._asdict()), str(THREADS)]
            stack.enter_context(
                consumer_process(command, tmp_path / f"web {number}", env=environment(KIT), cwd=tmp_path)
            )
        wait_until(lambda: all("served" in (tmp_path / f"web {n}").read_text() for n in range(2)))
        wait_until(lambda: census.now() == consumer + webs)
        assert census.most == consumer + webs <= 10
        start(workers=WORKERS)
        # A starting process closes connections too, so wait for the final number.
        # The census and this process have one connection each.
        wait_until(lambda: f" {2 * consumer + webs + 2} of " in connections_check(huey))
        detail = connections_check(huey)
        assert f"{WORKERS} workers opens up to {consumer} connections, a web process {webs // 2}." in detail
        assert f"A deploy runs both twice and needs {2 * consumer + webs}." in detail
        assert 2 * consumer + webs <= 16


def connections_check(huey: DurableHuey) -> str:
    return next(check for check in huey.check(WORKERS) if check.name == "connections").detail


@pytest.mark.parametrize("storage", ["postgres"], indirect=True)
def test_worker_inherits_no_connection(server: PostgresServer, start: StartConsumer, tasks: SimpleNamespace) -> None:
    consumer = start(workers=2)
    for _ in range(2):  # at the start, and after a main process with connections has forked
        processes = [consumer.pid, *consumer.worker_pids()]
        wait_until(lambda: [len(connections(pid, server)) for pid in processes] == [2, 1, 1])  # noqa: B023
        assert len(set().union(*(connections(pid, server) for pid in processes))) == 2 + 1 + 1
        kill(processes[-1])
        wait_until(lambda: len(pids := consumer.worker_pids()) == 2 and processes[-1] not in pids)  # noqa: B023
    assert tasks.quick(1).get(blocking=True, timeout=5) == 1


def connections(pid: int, server: PostgresServer) -> set[int]:
    """Return the local ports of a process's connections to the server."""
    found = psutil.Process(pid).net_connections("tcp")
    return {one.laddr.port for one in found if one.raddr and one.raddr.port == server.port}


@pytest.mark.parametrize("storage", ["postgres"], indirect=True)
def test_forked_child_opens_its_own_connection(huey: DurableHuey, server: PostgresServer) -> None:
    def report() -> None:
        own = connections(os.getpid(), server)
        huey.ledger.reading.count(State.QUEUED)
        answers.put((own, connections(os.getpid(), server)))

    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    huey.ledger.reading.count(State.QUEUED)
    mine = connections(os.getpid(), server)
    child = context.Process(target=report)
    child.start()
    before, after = answers.get()
    child.join()
    assert child.exitcode == 0
    assert mine <= before
    assert len(after - before) == 1
    huey.ledger.reading.count(State.QUEUED)
    assert connections(os.getpid(), server) == mine


IMPORT = """
import importlib, pkgutil, psutil
import app, app.web
from app.jobs import huey
huey.discover()
for module in pkgutil.walk_packages(app.__path__, "app."):
    if module.name != "app.__main__":
        importlib.import_module(module.name)
print(psutil.Process().net_connections())
"""


@on_each
def test_importing_the_app_opens_no_connection(storage: Storage, tmp_path: Path) -> None:
    urls = {"DATABASE_URL": storage.database_url, "REDIS_URL": storage.redis_url or "", "SECRET_KEY": "a key for tests"}
    run = subprocess.run(
        [sys.executable, "-c", IMPORT], env=environment(TEMPLATE, **urls), cwd=tmp_path, capture_output=True, text=True
    )
    assert (run.stdout, run.returncode) == ("[]\n", 0), run.stderr
