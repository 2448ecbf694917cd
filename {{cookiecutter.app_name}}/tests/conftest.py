"""Tests of the app need no server: in immediate mode a job runs as it is submitted, on a ledger in memory."""

from collections.abc import Iterator

import pytest

import app.web  # noqa: F401  # pages register with it
from app.jobs import huey
from jobqueue import DurableHuey


@pytest.fixture(autouse=True)
def queue() -> Iterator[DurableHuey]:
    """The app's own queue, empty."""
    huey.discover()
    huey.immediate = True
    yield huey
    huey.immediate = False
