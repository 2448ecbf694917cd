"""Fixtures of the scale tests: a separate server, and figures that are printed at the end, even without -s."""

import itertools
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from jobqueue.database.database import Database
from jobqueue.ledger.ledger import Ledger
from tests.scale import filling
from tests.scale.growth import DATABASES, GROWTHS, Pair, Side
from tests.servers import FAST, MEMORY, PostgresServer, fresh_database, template_database

Say = Callable[[str], None]
ROOM = 4 * 1024**3  # bytes: a million jobs, and as much again while they are written
FIGURES = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Yield the URL of a server without autovacuum, whose reads would add to the measured ones."""
    with PostgresServer(FAST | {"autovacuum": "off"}) as server:
        yield server.url


@pytest.fixture(
    scope="session",
    params=itertools.product(DATABASES, GROWTHS),
    ids=lambda of: f"{of[0]}-{of[1].name}",
)
def pair(request: pytest.FixtureRequest, postgres: str) -> Iterator[Pair]:
    database, growth = request.param
    with ExitStack() as stack:
        if database == "sqlite":
            # In memory, because commits would wait for the disk, which these tests do not measure.
            folder = stack.enter_context(TemporaryDirectory(dir=roomy_memory()))
            urls = [f"sqlite:///{folder}/{name}.sqlite" for name in ("small", "large")]
            for url, finished in zip(urls, growth.finished, strict=True):
                finish(url, finished)
        else:
            urls = [stack.enter_context(finished_jobs(postgres, finished)) for finished in growth.finished]
        sides = [stack.enter_context(closing(Side(url, growth, size))) for size, url in enumerate(urls)]
        yield Pair(f"{database}, {growth.name}", growth, *sides)


def finished_jobs(postgres: str, count: int) -> AbstractContextManager[str]:
    """Yield the URL of a new database with so many finished jobs. It is a copy, because a million take half a minute."""
    return fresh_database(postgres, template_database(postgres, f"finished_{count}", lambda url: finish(url, count)))


def finish(url: str, count: int) -> None:
    with closing(Database(url)) as database:
        filling.finish(Ledger(database), count)


def roomy_memory() -> Path | None:
    """Return a folder in memory, or None if a million jobs do not fit there."""
    return MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM else None


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Yield the URL of a new database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/jobs.sqlite"
    else:
        with fresh_database(request.getfixturevalue("postgres")) as url:
            yield url


@pytest.fixture(scope="session")
def say(pytestconfig: pytest.Config) -> Say:
    return pytestconfig.stash.setdefault(FIGURES, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    figures = config.stash.get(FIGURES, [])
    if figures:
        terminalreporter.section("figures")
        terminalreporter.write_line("\n".join(figures))
