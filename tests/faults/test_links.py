"""Tests of a database link that is slow or cut during a large value: it arrives once and delays no other work."""

import random
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import psycopg
import pytest

from jobqueue import DurableHuey, State
from jobqueue.jobs.handle import JobHandle
from tests.engine.consumers import wait_until
from tests.faults.conftest import LEASE, PATIENCE, StartConsumer
from tests.faults.fault_jobs import notes
from tests.proxy import Proxy
from tests.storages import Storage

pytestmark = pytest.mark.parametrize("storage", ["postgres"], indirect=True)

SPEED = 1_000_000  # bytes a second
HOWS = ("a result", "a step", "a version", "the first of a pipeline")


class Measures(NamedTuple):
    """The size of a value, and timeouts that fit it."""

    size: int  # bytes
    cut_s: float  # seconds for which the link is cut
    postgres: Mapping[str, float]  # replacements for constants of jobqueue.database.postgres
    settings: Mapping[str, Any]

    @property
    def patience(self) -> float:
        """Return the seconds in which the value can be sent twice."""
        return 2 * self.size / SPEED + 2 * self.cut_s + 10


# A value takes longer than a lease and every timeout, and so does the cut.
SCALED = Measures(
    size=3_000_000,
    cut_s=2.5,
    postgres={"SILENCE": 1.0, "CONNECT": 2, "HELD": 1},
    settings={"lease_s": LEASE, "renew_s": 0.25},
)
AS_DEPLOYED = Measures(size=60_000_000, cut_s=20.0, postgres=PATIENCE, settings={"lease_s": 15.0, "renew_s": 5.0})
both = pytest.mark.parametrize(
    "measures", [SCALED, pytest.param(AS_DEPLOYED, marks=pytest.mark.long)], ids=["scaled", "as-deployed"]
)


@pytest.fixture
def link(storage: Storage) -> Iterator[Proxy]:
    with Proxy(int(urlsplit(storage.database_url).port or 0), bytes_per_s=SPEED) as link:
        yield link


@pytest.fixture
def slow(storage: Storage, link: Proxy) -> Storage:
    """Return the storage's URLs through the link."""
    address = urlsplit(storage.database_url)
    netloc = f"{address.netloc.rpartition(':')[0]}:{link.port}"
    return Storage(address._replace(netloc=netloc).geturl())


def body(size: int) -> bytes:
    """Return the value that the task `makes` returns."""
    return random.Random(1).randbytes(size)


def assert_undisturbed(*handles: JobHandle) -> None:
    for handle in handles:
        job = handle.get_job()
        assert (job.state, job.attempt, job.losses, job.returns) == (State.SUCCEEDED, 1, 0, 0), job


@both
def test_large_result_over_a_slow_link_ends_once_while_leases_are_renewed_and_short_jobs_end(
    huey: DurableHuey,
    start: StartConsumer,
    slow: Storage,
    link: Proxy,
    tasks: SimpleNamespace,
    path: str,
    measures: Measures,
) -> None:
    slow_one = start(workers=2, through=slow, postgres=measures.postgres, **measures.settings)
    start(workers=1, lacks=("makes", "quick"), **measures.settings)  # it would rescue a job whose lease ran out
    large = tasks.makes(path, measures.size, "a result")
    wait_until(lambda: notes(Path(path)))
    short: list[JobHandle] = []
    while not large.state.ended:
        asked = time.monotonic()
        short.append(tasks.quick(len(short)))
        assert short[-1].get(blocking=True, timeout=measures.patience) == len(short) - 1
        assert time.monotonic() - asked < 2
        (silent_s,) = [row["silent_s"] for row in huey.ledger.consumers.all() if row["pid"] == slow_one.pid]
        assert silent_s < measures.settings["lease_s"]
    assert len(short) > measures.size / SPEED / 2
    assert large.get() == body(measures.size)
    assert_undisturbed(large, *short)
    assert len(notes(Path(path))) == 1
    assert link.passed["up"] < 1.3 * measures.size


def test_job_does_not_wait_while_a_large_result_is_written(
    huey: DurableHuey, start: StartConsumer, storage: Storage, tasks: SimpleNamespace, path: str
) -> None:
    large = tasks.makes(path, SCALED.size, "a result")
    short = tasks.quick(1)
    with psycopg.connect(storage.database_url) as connection:  # its row keeps the large result waiting
        connection.execute(
            "INSERT INTO results (job_id, media_type, body, saved_at) VALUES (%s, '', '', 0)", (large.id,)
        )
        start(workers=1, postgres={"HELD": 60})  # so it does not begin anew
        wait_until(lambda: is_blocked(huey))
        assert large.state is State.RUNNING
        start(workers=1)
        assert short.get(blocking=True, timeout=10) == 1
        connection.rollback()
    assert large.get(blocking=True, timeout=10) == body(SCALED.size)
    assert_undisturbed(large, short)


def is_blocked(huey: DurableHuey) -> bool:
    """Return whether a connection to the test's database waits for another transaction."""
    with huey.ledger.database.statement() as tx:
        waits = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        return tx.one(waits) is not None


def test_every_kind_of_large_value_over_a_slow_link_is_written_once(
    huey: DurableHuey, start: StartConsumer, slow: Storage, link: Proxy, tasks: SimpleNamespace, path: str
) -> None:
    size = SCALED.size // 2
    start(workers=len(HOWS), through=slow, postgres=SCALED.postgres, **SCALED.settings)
    start(workers=1, lacks=("makes",), **SCALED.settings)
    handles = [tasks.makes(path, size, how) for how in HOWS[:-1]]
    handles += huey.enqueue(tasks.makes.s(path, size, HOWS[-1]).then(tasks.measures))
    values = [handle.get(blocking=True, timeout=SCALED.patience + 10) for handle in handles]
    assert values == [body(size), size, size, body(size), size]
    version = huey.ledger.versions.get("large", 1)
    assert version is not None and version["body"] == body(size)
    assert_undisturbed(*handles)
    assert len(notes(Path(path))) == len(HOWS)
    assert link.passed["up"] < 1.3 * size * len(HOWS)


@both
def test_large_result_survives_a_cut_of_the_link(
    start: StartConsumer, slow: Storage, link: Proxy, tasks: SimpleNamespace, path: str, measures: Measures
) -> None:
    consumer = start(workers=2, through=slow, postgres=measures.postgres, **measures.settings)
    workers = consumer.worker_pids()
    size = measures.size // 2
    large = tasks.makes(path, size, "a result")
    wait_until(lambda: link.passed["up"] > size / 3, measures.patience)
    link.cut()
    cut_at = time.monotonic()
    for line in ("cannot reach its database", f"Job {large.id} waits for its database"):  # main process and worker
        wait_until(lambda: line in consumer.log.read_text(), cut_at + 20 - time.monotonic())  # noqa: B023
    wait_until(lambda: time.monotonic() > cut_at + measures.cut_s, 30)
    assert large.state is State.RUNNING
    link.join()
    assert large.get(blocking=True, timeout=measures.patience) == body(size)
    assert_undisturbed(large)
    assert len(notes(Path(path))) == 1
    assert tasks.quick(1).get(blocking=True, timeout=5) == 1
    assert consumer.worker_pids() == workers


@both
def test_large_result_is_read_over_a_slow_link(
    start: StartConsumer,
    slow: Storage,
    link: Proxy,
    tasks: SimpleNamespace,
    path: str,
    measures: Measures,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in measures.postgres.items():
        monkeypatch.setattr(f"jobqueue.database.postgres.{name}", value)
    start()
    large = tasks.makes(path, measures.size // 2, "a result")
    assert len(large.get(blocking=True, timeout=20)) == measures.size // 2
    web = DurableHuey("faults", slow.database_url, secret_key="a key for tests")
    web.migrate()
    began = time.monotonic()
    assert web.result(large.id) == large.get()
    assert measures.size / SPEED / 2 < time.monotonic() - began < 1.5 * measures.size / SPEED / 2 + 1
    assert link.passed["down"] < 1.3 * measures.size / 2  # it was sent once
    web.storage.close()
