"""What the queue's tests run on. A storage is one entry of STORAGES; `pytest --storages` says which ones a run takes."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.servers import fresh_database, fresh_redis, shared_postgres, shared_valkey


class Storage(NamedTuple):
    """A database that nothing has used, and a Redis where the storage has one."""

    database_url: str
    redis_url: str | None = None


@contextmanager
def sqlite(folder: Path, run: Path) -> Iterator[Storage]:
    yield Storage(f"sqlite:///{folder}/ledger/jobs.sqlite")


@contextmanager
def postgres(folder: Path, run: Path) -> Iterator[Storage]:
    with fresh_database(shared_postgres(run)) as database_url:
        yield Storage(database_url)


@contextmanager
def postgres_and_valkey(folder: Path, run: Path) -> Iterator[Storage]:
    with fresh_database(shared_postgres(run)) as database_url, fresh_redis(shared_valkey(run)) as redis_url:
        yield Storage(database_url, redis_url)


# name -> a storage for one test, given that test's folder and its run's
STORAGES: dict[str, Callable[[Path, Path], AbstractContextManager[Storage]]] = {
    "sqlite": sqlite,
    "postgres": postgres,
    "postgres+valkey": postgres_and_valkey,
}


def names(text: str) -> list[str]:
    """The value of `--storages`."""
    given = text.split(",")
    if unknown := [name for name in given if name not in STORAGES]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is no storage; there are {', '.join(STORAGES)}")
    return given


def run_on_each(metafunc: pytest.Metafunc, default: list[str]) -> None:
    """A test that takes `storage` runs on each that was asked for; one that parametrizes it has its own.

    One that takes `storage_or_stock` runs on stock Huey before.
    """
    chosen = metafunc.config.getoption("storages") or default
    marks = metafunc.definition.iter_markers("parametrize")
    named = [mark.args[0].split(",") if isinstance(mark.args[0], str) else mark.args[0] for mark in marks]
    own = {name.strip() for names in named for name in names}
    for fixture, values in (("storage", chosen), ("storage_or_stock", ["stock", *chosen])):
        if fixture in metafunc.fixturenames and fixture not in own:
            metafunc.parametrize(fixture, values, indirect=True)
