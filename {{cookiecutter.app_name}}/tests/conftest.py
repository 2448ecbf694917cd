"""Fixtures for tests without a server. In immediate mode a job runs when it is submitted, on a ledger in memory."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from jobqueue import DurableHuey

import app.web  # noqa: F401  # pages register with it
from app.jobs import huey


@pytest.fixture(autouse=True)
def queue() -> Iterator[DurableHuey]:
    """Return the app's queue, empty."""
    huey.discover()
    huey.immediate = True
    yield huey
    huey.immediate = False


@pytest.fixture
def no_database(queue: DurableHuey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the database unavailable: its path is a folder."""
    monkeypatch.setattr(queue, "storage", queue._storage_on(f"sqlite:///{tmp_path}"))
