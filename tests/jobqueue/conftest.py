"""A ledger of its own for every test. A storage is one entry of STORAGES: each test of the ledger runs on every one."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huey import SqliteHuey
from huey.api import Huey

from jobqueue import DurableHuey

STORAGES: dict[str, Callable[[Path], str]] = {
    "sqlite": lambda folder: f"sqlite:///{folder}/ledger/jobs.sqlite",
}  # name -> the URL of a database that does not exist yet

HueyFactory = Callable[..., DurableHuey]


@pytest.fixture(params=STORAGES)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return STORAGES[request.param](tmp_path)


@pytest.fixture
def hueys() -> Iterator[list[Huey]]:
    """Whatever a test made: closed in the end."""
    made: list[Huey] = []
    yield made
    for huey in made:
        huey.storage.close()


@pytest.fixture
def make_huey(database_url: str, hueys: list[Huey]) -> HueyFactory:
    """Another DurableHuey on the same database, as a second process would have it."""

    def make(**options: Any) -> DurableHuey:
        return durable(hueys, **({"database_url": database_url} | options))

    return make


@pytest.fixture
def huey(make_huey: HueyFactory) -> DurableHuey:
    return make_huey()


@pytest.fixture(params=["stock", *STORAGES])
def make_any_huey(request: pytest.FixtureRequest, tmp_path: Path, hueys: list[Huey]) -> Callable[..., Huey]:
    """Huey's own SqliteHuey, then ours: what Huey documents must hold on both."""

    def stock(**options: Any) -> Huey:
        hueys.append(SqliteHuey("tests", filename=str(tmp_path / "stock.sqlite"), **options))
        return hueys[-1]

    def ours(**options: Any) -> Huey:
        return durable(hueys, database_url=STORAGES[request.param](tmp_path), **options)

    return stock if request.param == "stock" else ours


@pytest.fixture
def any_huey(make_any_huey: Callable[..., Huey]) -> Huey:
    return make_any_huey()


def durable(hueys: list[Huey], **options: Any) -> DurableHuey:
    huey = DurableHuey("tests", **({"secret_key": "a key for tests"} | options))
    hueys.append(huey)
    return huey
