"""A kernel that the tests of this folder share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.notebook.kernels import Kernel, kernel

SETUP = """
import os, threading, time
from huey.exceptions import TaskException
from jobqueue import JobNotFound, State, current_job, every
from jobqueue.notebook import queue
"""


@pytest.fixture(scope="session")
def apps_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of the app's ledger, of which the shared kernel knows. Nothing makes it."""
    return tmp_path_factory.mktemp("ledger") / "jobs.sqlite"


@pytest.fixture(scope="package")
def shared(apps_ledger: Path) -> Iterator[Kernel]:
    with kernel(DATABASE_URL=f"sqlite:///{apps_ledger}") as started:
        assert not started.run(SETUP).error
        yield started
