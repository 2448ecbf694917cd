"""A ledger of its own for every test. SQLite so far: a storage is one entry of STORAGES, and every test runs on each."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huey import SqliteHuey
from huey.api import Huey

sys.path.insert(0, str(Path(__file__).parent))  # consumers.py

from jobqueue import DurableHuey

STORAGES = ["sqlite"]
SECRET = "a key for tests"  # noqa: S105

HueyFactory = Callable[..., DurableHuey]


@pytest.fixture(params=STORAGES)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of a database that does not exist yet."""
    return f"sqlite:///{tmp_path}/ledger/jobs.sqlite"


@pytest.fixture
def make_huey(database_url: str) -> Iterator[HueyFactory]:
    """Another DurableHuey on the same database: as a second process would have it."""
    made: list[DurableHuey] = []

    def make(**options: Any) -> DurableHuey:
        huey = DurableHuey("tests", options.pop("database_url", database_url), **({"secret_key": SECRET} | options))
        made.append(huey)
        return huey

    yield make
    for huey in made:
        huey.storage.close()


@pytest.fixture
def huey(make_huey: HueyFactory) -> DurableHuey:
    return make_huey()


@pytest.fixture
def stock_huey(tmp_path: Path) -> Iterator[SqliteHuey]:
    huey = SqliteHuey("tests", filename=str(tmp_path / "stock.sqlite"))
    yield huey
    huey.storage.close()


@pytest.fixture(params=["stock", "durable"])
def any_huey(request: pytest.FixtureRequest) -> Huey:
    """Huey's own SqliteHuey, then ours: what Huey documents must hold on both."""
    huey: Huey = request.getfixturevalue("stock_huey" if request.param == "stock" else "huey")
    return huey
