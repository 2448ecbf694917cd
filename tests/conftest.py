"""Fixtures for all tests: baked apps and servers. The first process that needs one creates it, once in a run."""

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path
from zlib import crc32

import pytest

from tests import baking, storages
from tests.baking import Bake
from tests.servers import PostgresServer, ValkeyServer, fresh_database, fresh_redis, shared_postgres, shared_valkey
from tests.storages import STORAGES, Storage, storage_for

# Some tests import the template in place while others bake it, so nothing may be written there. The tests' own bytecode, with
# pytest's changes of assertions, is kept elsewhere for the next run.
sys.dont_write_bytecode, sys.pycache_prefix = False, str(baking.KIT / "build" / "bytecode")
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
# nbformat imports jsonschema, which would load this package to check addresses in other alphabets. Loading it takes seconds.
sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]
# Processes that a test starts use the engine's source by default. Only installed apps use the wheel.
os.environ["PYTHONPATH"] = str(baking.ENGINE)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--storages",
        type=storages.names,
        help=f"storages for the queue's tests: any of {','.join(STORAGES)}. By default, tests of SQL run on sqlite and "
        "postgres, and all others on sqlite",
    )
    parser.addoption(
        "--seed",
        type=int,
        default=random.randrange(10**6),
        help="seed of the random choices in the fault tests. By default each run chooses one and prints it at the end",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Compile what processes of tests import, once for all of them."""
    if not hasattr(config, "workerinput"):
        subprocess.run([sys.executable, "-m", "compileall", "-q", baking.ENGINE, Path(__file__).parent], check=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Replace invalid characters in reports: pytest-xdist can pass on only valid Unicode."""
    report = yield
    report.sections = [(title, text.encode("utf-8", "backslashreplace").decode()) for title, text in report.sections]
    return report


@pytest.fixture
def storage(request: pytest.FixtureRequest, tmp_path: Path, shared: Path) -> Iterator[Storage]:
    """Yield a fresh database for each test. The folder's conftest.py chooses the storages."""
    with storage_for(request, request.param, tmp_path, shared) as storage:
        yield storage


@pytest.fixture(scope="session")
def template_root() -> Path:
    return baking.TEMPLATE


@pytest.fixture(scope="session")
def bake(shared: Path) -> Bake:
    """Return `bake(example="blank", author="Ann")`, which returns an app's folder. Copy it to change or run it."""

    def baked(example: str = "portfolio", **answers: str) -> Path:
        asked = {"example": example, **answers}
        place = shared / f"bake-{crc32(repr(sorted(asked.items())).encode()):08x}"
        with made_once(place) as made:
            if not made:
                baking.bake(place / "apps", **asked)
        return next((place / "apps").iterdir())

    return baked


@pytest.fixture(scope="session")
def installed(bake: Bake, shared: Path) -> Bake:
    """Return `installed(example="blank")`, which returns an installed app's folder, with programs in `.venv/bin`."""

    def made(example: str = "portfolio", **answers: str) -> Path:
        place = shared / "-".join(["installed", example, *answers.values()])
        with made_once(place) as done:
            if not done:
                shutil.copytree(bake(example, **answers), place)
                baking.install(place)
        return place

    return made


@pytest.fixture
def fresh_postgres(shared: Path) -> Iterator[str]:
    """Yield the URL of a fresh database."""
    with fresh_database(shared_postgres(shared)) as url:
        yield url


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    """Yield a server for this module only, so that its tests may break it."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="module")
def valkey() -> Iterator[ValkeyServer]:
    """Yield a server for this module only, so that its tests may break it."""
    with ValkeyServer() as server:
        yield server


@pytest.fixture
def fresh_valkey(shared: Path) -> Iterator[str]:
    """Yield the URL of an empty key space."""
    with fresh_redis(shared_valkey(shared)) as url:
        yield url


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Return the folder that all processes of a parallel run share."""
    folder = tmp_path_factory.getbasetemp()
    return folder if worker_id == "master" else folder.parent


@contextmanager
def made_once(place: Path) -> Iterator[bool]:
    """Yield whether a process of this run has already made the place. Let in one process at a time."""
    with place.with_name(f"{place.name}.lock").open("w") as lock:
        flock(lock, LOCK_EX)
        done = place.with_name(f"{place.name}.done")
        yield done.exists()
        done.touch()
