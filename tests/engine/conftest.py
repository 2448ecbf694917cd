"""Fixtures: a new ledger for each test, on each storage."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huey import SqliteHuey
from huey.api import Huey

from jobqueue import DurableHuey
from jobqueue.database.database import Transaction
from tests.moved_clock import MovedClock, moved_clock
from tests.storages import Storage, run_on_each, storage_for

HueyFactory = Callable[..., DurableHuey]


# Folders and files whose tests run SQL that each storage has in its own way: they always run on both. The others run on
# SQLite, and on both with `--storages sqlite,postgres`.
ON_BOTH = (
    "consumer/test_end_and_claim.py",
    "consumer/test_scheduler.py",
    "dash/test_callback_updates.py",
    "database",
    "datasets",
    "execution/test_ends.py",
    "files/test_keeping.py",
    "ledger",
    "monitoring",
    "notifier",
    "schedules",
    "tasks/test_chains.py",
    "tasks/test_many.py",
    "telemetry/test_metrics.py",
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    path = metafunc.definition.path.relative_to(Path(__file__).parent).as_posix()
    run_on_each(metafunc, default=["sqlite", "postgres"] if path.startswith(ON_BOTH) else ["sqlite"])


@pytest.fixture
def storage_or_stock(request: pytest.FixtureRequest, tmp_path: Path, shared: Path) -> Iterator[Storage | None]:
    """Return a storage, or None for Huey's own."""
    if request.param == "stock":
        yield None
    else:
        with storage_for(request, request.param, tmp_path, shared) as storage:
            yield storage


@pytest.fixture
def hueys() -> Iterator[list[Huey]]:
    """Collect the Hueys that a test makes, and close them at its end."""
    made: list[Huey] = []
    yield made
    for huey in made:
        huey.storage.close()


@pytest.fixture
def make_huey(storage: Storage, hueys: list[Huey]) -> HueyFactory:
    """Return a function that makes another DurableHuey on the same database, like a second process."""

    def make(**options: Any) -> DurableHuey:
        return durable(hueys, **(storage._asdict() | options))

    return make


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect every SQL statement that is executed from now on."""
    executed: list[str] = []
    execute = Transaction._execute

    def record(self: Transaction, sql: str, params: dict[str, Any]) -> None:
        executed.append(sql)
        execute(self, sql, params)

    monkeypatch.setattr(Transaction, "_execute", record)
    return executed


@pytest.fixture
def clock(huey: DurableHuey) -> Iterator[MovedClock]:
    """Return the database's clock, which the test may move."""
    with moved_clock(huey.ledger.database) as clock:
        yield clock


@pytest.fixture
def huey(make_huey: HueyFactory) -> DurableHuey:
    return make_huey()


@pytest.fixture
def make_any_huey(storage_or_stock: Storage | None, tmp_path: Path, hueys: list[Huey]) -> Callable[..., Huey]:
    """Return a function that makes a Huey: its own SqliteHuey, then DurableHuey. Both must behave as Huey documents."""

    def make(**options: Any) -> Huey:
        if storage_or_stock is not None:
            return durable(hueys, **storage_or_stock._asdict(), **options)
        hueys.append(SqliteHuey("tests", filename=str(tmp_path / "stock.sqlite"), **options))
        return hueys[-1]

    return make


@pytest.fixture
def any_huey(make_any_huey: Callable[..., Huey]) -> Huey:
    return make_any_huey()


def durable(hueys: list[Huey], **options: Any) -> DurableHuey:
    """Make a DurableHuey that the test closes at its end."""
    huey = DurableHuey("tests", **({"secret_key": "a key for tests"} | options))
    hueys.append(huey)
    return huey


@pytest.fixture
def running_loop() -> Iterator[None]:
    """Let an event loop run in this thread, as in a notebook's kernel."""
    before, loop = asyncio._get_running_loop(), asyncio.new_event_loop()
    asyncio._set_running_loop(loop)
    yield
    asyncio._set_running_loop(before)
    loop.close()
