"""Storages: the databases on which the queue's tests run. `pytest --storages` chooses among STORAGES.

Each test gets its own database with the newest schema. It is a copy of a database that is made once in a run. With
`@pytest.mark.empty_database` it has no tables.
"""

import argparse
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import NamedTuple

import pytest

from jobqueue.database.database import Database
from tests.hosted import hosted_database
from tests.pgbouncer import CLIENT_MODES, Mode, on_server, shared_pgbouncer
from tests.servers import fresh_database, fresh_redis, shared_postgres, shared_valkey, template_database


class Storage(NamedTuple):
    """A database without jobs, and a Redis if the storage has one."""

    database_url: str
    redis_url: str | None = None


def migrate(database_url: str) -> None:
    with closing(Database(database_url)) as database:
        database.migrate()


def migrated_file(run: Path) -> Path:
    """Return the SQLite file that this run's tests copy. The first process that needs it creates it."""
    path = run / "migrated.sqlite"
    with path.with_suffix(".lock").open("w") as lock:
        flock(lock, LOCK_EX)
        if not path.exists():
            draft = run / "draft.sqlite"
            migrate(f"sqlite:///{draft}")
            draft.rename(path)
    return path


@contextmanager
def sqlite(folder: Path, run: Path, empty: bool) -> Iterator[Storage]:
    path = folder / "ledger" / "jobs.sqlite"
    if not empty:
        path.parent.mkdir()
        shutil.copyfile(migrated_file(run), path)
    yield Storage(f"sqlite:///{path}")


@contextmanager
def postgres_database(run: Path, empty: bool) -> Iterator[str]:
    server = shared_postgres(run)
    with fresh_database(server, None if empty else template_database(server, "migrated", migrate)) as database_url:
        yield database_url


@contextmanager
def postgres(folder: Path, run: Path, empty: bool) -> Iterator[Storage]:
    with postgres_database(run, empty) as database_url:
        yield Storage(database_url)


@contextmanager
def postgres_and_valkey(folder: Path, run: Path, empty: bool) -> Iterator[Storage]:
    with postgres_database(run, empty) as database_url, fresh_redis(shared_valkey(run)) as redis_url:
        yield Storage(database_url, redis_url)


@contextmanager
def hosted(folder: Path, run: Path, empty: bool) -> Iterator[Storage]:
    with hosted_database(shared_postgres(run), "the queue") as (database_url,):
        if not empty:
            migrate(database_url)
        yield Storage(database_url)


def through_pgbouncer(mode: Mode, make: "MakeStorage") -> "MakeStorage":
    @contextmanager
    def made(folder: Path, run: Path, empty: bool) -> Iterator[Storage]:
        with make(folder, run, empty) as storage:
            pooler = shared_pgbouncer(run, shared_postgres(run), mode)
            yield storage._replace(database_url=on_server(pooler, storage.database_url))

    return made


# Name -> a function that takes the test's folder, the run's folder, and whether the database has no tables.
MakeStorage = Callable[[Path, Path, bool], AbstractContextManager[Storage]]
STORAGES: dict[str, MakeStorage] = {
    "sqlite": sqlite,
    "postgres": postgres,
    "postgres+valkey": postgres_and_valkey,
    "hosted": hosted,
    **{f"pgbouncer-{mode}": through_pgbouncer(mode, postgres) for mode in CLIENT_MODES},
    **{f"pgbouncer-{mode}+valkey": through_pgbouncer(mode, postgres_and_valkey) for mode in CLIENT_MODES},
}


def names(text: str) -> list[str]:
    """Parse the value of `--storages`."""
    given = text.split(",")
    if unknown := [name for name in given if name not in STORAGES]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is not a storage. Choose from {', '.join(STORAGES)}.")
    return given


@contextmanager
def storage_for(request: pytest.FixtureRequest, name: str, folder: Path, run: Path) -> Iterator[Storage]:
    """Yield the named storage, without tables if the test is marked so."""
    empty = request.node.get_closest_marker("empty_database") is not None
    with STORAGES[name](folder, run, empty) as storage:
        yield storage


def run_on_each(metafunc: pytest.Metafunc, default: list[str]) -> None:
    """Run a test that takes `storage` on each chosen storage, unless the test parametrizes `storage` itself.

    Run a test that takes `storage_or_stock` on stock Huey too.
    """
    chosen = metafunc.config.getoption("storages") or default
    marks = metafunc.definition.iter_markers("parametrize")
    named = [mark.args[0].split(",") if isinstance(mark.args[0], str) else mark.args[0] for mark in marks]
    own = {name.strip() for names in named for name in names}
    for fixture, values in (("storage", chosen), ("storage_or_stock", ["stock", *chosen])):
        if fixture in metafunc.fixturenames and fixture not in own:
            metafunc.parametrize(fixture, values, indirect=True)
