"""Tests that readers of a dataset get a complete version, old or new, despite kills during saves and Redis failures."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from jobqueue import Dataset, DurableHuey
from jobqueue.datasets import cache
from tests.engine.consumers import wait_until, work
from tests.faults.conftest import SETTINGS, StartConsumer, steadily
from tests.faults.fault_jobs import TABLE_ROWS, table_on
from tests.servers import ValkeyServer, fresh_database, redis_client, shared_postgres
from tests.storages import Storage

ENDED = 40.0  # seconds within which a refresh ends on a busy machine
MARGIN = 0.75  # seconds for a busy machine

with_redis = pytest.mark.parametrize("storage", ["postgres+valkey"], indirect=True)


@pytest.fixture
def storage(valkey: ValkeyServer, shared: Path, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    """Yield a storage whose Redis these tests may stop."""
    if request.param == "sqlite":
        yield Storage(f"sqlite:///{tmp_path}/ledger/jobs.sqlite")
        return
    with fresh_database(shared_postgres(shared)) as database_url:
        yield Storage(database_url, valkey.url)


@pytest.fixture
def table(huey: DurableHuey) -> Dataset[Any]:
    return table_on(huey)


@contextmanager
def reader(storage: Storage) -> Iterator[Dataset[Any]]:
    """Yield the dataset as a web process that has just started reads it."""
    huey = DurableHuey("faults", **storage._asdict(), secret_key="a key for tests", **SETTINGS)
    try:
        yield table_on(huey)
    finally:
        huey.storage.close()


def whole(table: Dataset[Any]) -> int:
    """Read the dataset. Return the number of its version, which every cell contains."""
    cells = table.read()
    assert cells.shape == (TABLE_ROWS, 10)
    assert (cells == cells[0, 0]).all()
    return int(cells[0, 0])


@pytest.mark.parametrize(
    ("storage", "moment"),
    [
        ("sqlite", "SAVE_VERSION"),
        ("postgres+valkey", "SAVE_VERSION"),
        ("postgres+valkey", "ended"),
        ("postgres+valkey", "copying"),
    ],
    indirect=["storage"],
    ids=["in SQLite", "in Postgres", "between Postgres and Redis", "amid the copy to Redis"],
)
def test_worker_killed_during_a_save_leaves_one_complete_version(
    huey: DurableHuey, table: Dataset[Any], storage: Storage, start: StartConsumer, tmp_path: Path, moment: str
) -> None:
    table.refresh()
    work(huey)
    start(table=True, at={moment: ("dies", str(tmp_path / "died"))})
    handle = table.refresh()
    seen = []
    with steadily(lambda: seen.append(whole(table)), 0.05):
        wait_until(lambda: (tmp_path / "died").exists(), ENDED)
        with reader(storage) as another:
            assert whole(another) in ((1,) if moment == "SAVE_VERSION" else (2,)) or handle.state.ended
        handle.get(blocking=True, timeout=ENDED)
    assert set(seen) <= {1, 2} and seen == sorted(seen)
    assert whole(table) == 2
    with reader(storage) as another:
        assert whole(another) == 2
    assert huey.get_job(handle.id).attempt == (2 if moment == "SAVE_VERSION" else 1)
    if storage.redis_url is not None:
        with redis_client(storage.redis_url, timeout=10) as client:
            copy = client.get(f"jobqueue:faults:dataset:{table.name}")
        assert isinstance(copy, bytes)
        row = huey.ledger.versions.get(table.name, 2 if moment == "SAVE_VERSION" else 1)
        assert row is not None and cache.digest_of(copy) == row["digest"]


@with_redis
def test_hanging_redis_delays_only_the_first_read_of_a_version(
    huey: DurableHuey, table: Dataset[Any], storage: Storage, valkey: ValkeyServer
) -> None:
    table.refresh()
    work(huey)
    with reader(Storage(storage.database_url)) as without, reader(storage) as another:
        assert another.info().version and without.info().version  # both are connected
        plain = seconds(without)
        valkey.pause()
        try:
            assert seconds(another) < plain + cache.CONNECT + cache.ANSWER + MARGIN
            copies = another._cache()
            assert copies is not None and copies._breaker.is_open
        finally:
            valkey.resume()
        assert cache.CONNECT + cache.ANSWER <= 0.1


def seconds(table: Dataset[Any]) -> float:
    begun = time.monotonic()
    assert len(table.read()) == TABLE_ROWS
    return time.monotonic() - begun
