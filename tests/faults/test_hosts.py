"""Tests of two hosts with separate links to the servers. A disconnected host loses its jobs to the other."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest

from jobqueue import DurableHuey, State
from tests.engine.consumers import wait_until
from tests.faults.conftest import LEASE, StartConsumer, contents
from tests.faults.fault_jobs import LATE, notes
from tests.proxy import Proxy
from tests.storages import Storage

pytestmark = pytest.mark.parametrize("storage", ["postgres", "postgres+valkey"], indirect=True)

SHORT = {"SILENCE": 1.0, "CONNECT": 2}  # seconds; psycopg's shortest connect timeout is two


class Host:
    """A host that reaches the servers through its own proxies."""

    def __init__(self, storage: Storage, stack: ExitStack) -> None:
        self.proxies: list[Proxy] = []

        def through_a_proxy(url: str | None) -> str | None:
            if url is None:
                return None
            address = urlsplit(url)
            assert address.port is not None
            self.proxies.append(stack.enter_context(Proxy(address.port)))
            host = address.netloc.rpartition(":")[0]
            return address._replace(netloc=f"{host}:{self.proxies[-1].port}").geturl()

        self.storage = Storage(str(through_a_proxy(storage.database_url)), through_a_proxy(storage.redis_url))

    def cut(self) -> None:
        for proxy in self.proxies:
            proxy.cut()

    def join(self) -> None:
        for proxy in self.proxies:
            proxy.join()


@pytest.fixture
def hosts(storage: Storage) -> Iterator[list[Host]]:
    with ExitStack() as stack:
        yield [Host(storage, stack) for _ in range(2)]


def test_late_writes_of_a_disconnected_host_are_refused(
    huey: DurableHuey,
    hosts: list[Host],
    start: StartConsumer,
    tasks: SimpleNamespace,
    path: str,
    go: Path,
) -> None:
    one, other = hosts
    cut_off = start(workers=len(LATE), through=one.storage, postgres=SHORT)
    pipelines = [
        huey.enqueue(
            tasks.late.s(what, path, str(go), retries=2 * (what == "retry")).then(tasks.quick).error(tasks.told, path)
        )
        for what in LATE
    ]
    wait_until(lambda: len(notes(Path(path))) == len(LATE))
    workers = cut_off.worker_pids()
    start(workers=2, through=other.storage, postgres=SHORT)
    one.cut()
    go.touch()  # the jobs act while their host is disconnected
    for late, follower in pipelines:
        assert late.get(blocking=True, timeout=10) == "the second"
        assert follower.get(blocking=True, timeout=5) == "the second"
    before = contents(huey)
    one.join()

    all_workers = len(LATE) + 2
    meeting = [tasks.meets(path, all_workers) for _ in range(all_workers)]  # one for each worker of both hosts
    assert set(workers) < {handle.get(blocking=True, timeout=10) for handle in meeting}
    assert contents(huey)[: len(before)] == before
    for late, _ in pipelines:
        job = late.get_job()
        assert (job.state, job.attempt, job.losses, job.returns) == (State.SUCCEEDED, 2, 1, 0)
        assert (job.note, job.error) == ("attempt 2", "")
        assert huey.ledger.attempts.step_names(late.id) == {"a step"}
    assert len(huey.jobs()) == 2 * len(LATE) + all_workers  # a late error has started no handler
    noted = [words[:-1] for words in notes(Path(path)) if int(words[-1]) in workers and words[0] != "here"]
    assert sorted(words[1] for words in noted if words[0] == "began") == sorted(LATE)  # each ran once there
    assert cut_off.worker_pids() == workers


def test_host_disconnected_for_less_than_a_lease_keeps_its_jobs(
    huey: DurableHuey,
    hosts: list[Host],
    start: StartConsumer,
    tasks: SimpleNamespace,
    path: str,
    go: Path,
) -> None:
    one, other = hosts
    leases: dict[str, Any] = {"lease_s": 4 * LEASE, "renew_s": LEASE / 4}
    cut_off = start(workers=2, through=one.storage, postgres=SHORT, **leases)
    handles = [huey.enqueue(tasks.waits.s(path, str(go)).then(tasks.quick)) for _ in range(2)]
    wait_until(lambda: len(notes(Path(path))) == 2)
    start(workers=2, through=other.storage, postgres=SHORT, **leases)
    one.cut()
    wait_until(lambda: "cannot reach its database" in cut_off.log.read_text())
    go.touch()
    one.join()
    joined = time.monotonic()
    for handle, follower in handles:
        assert (handle.get(blocking=True, timeout=5), follower.get(blocking=True, timeout=5)) == (1, 1)
    assert time.monotonic() - joined < 2 * LEASE
    assert {(job.state, job.attempt, job.losses, job.returns) for job in huey.jobs()} == {(State.SUCCEEDED, 1, 0, 0)}
    assert len(notes(Path(path))) == 2
