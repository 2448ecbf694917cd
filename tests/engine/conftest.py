"""Fixtures: a new ledger for each test, on each storage."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from huey import SqliteHuey
from huey.api import Huey

from jobqueue import DurableHuey
from jobqueue.database.database import Transaction
from tests.storages import STORAGES, Storage, run_on_each

HueyFactory = Callable[..., DurableHuey]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    run_on_each(metafunc, default=["sqlite", "postgres"])


@pytest.fixture
def storage_or_stock(request: pytest.FixtureRequest, tmp_path: Path, shared: Path) -> Iterator[Storage | None]:
    """Return a storage, or None for Huey's own."""
    with ExitStack() as stack:
        yield None if request.param == "stock" else stack.enter_context(STORAGES[request.param](tmp_path, shared))


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
