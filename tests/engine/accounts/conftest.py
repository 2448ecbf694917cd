"""The portfolio example's web process, where it lies, on a ledger in memory; Ann, Ben, and Eve who is an admin."""

from collections.abc import Iterator

import numpy as np
import pytest
from browser import PASSWORD

from app import users, web
from app.jobs import huey
from app.pages import market_weights
from app.portfolio import walk_forward
from jobqueue import DurableHuey

huey._secret_key = "a key for tests"  # else one is written where the template lies, by any Dash app of this process


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Iterator[DurableHuey]:
    """Empty, with nobody in it; one has to log in."""
    monkeypatch.setattr(users, "SCRYPT", "scrypt:512:8:1")  # what it costs otherwise is another test's
    monkeypatch.setattr("app.jobs.hello.time.sleep", lambda _: None)
    monkeypatch.setitem(web.server.config, "ACCOUNTS", True)
    monkeypatch.setitem(web.server.config, "SECRET_KEY", "of these tests")
    monkeypatch.setattr(walk_forward, "fit_window", lambda returns, *_: np.full(returns.shape[1], 1 / returns.shape[1]))
    monkeypatch.setattr(market_weights, "DRAWS", 1)
    users._nobodys_hash.cache_clear()
    huey.discover()
    huey.immediate = True
    yield huey
    huey.immediate = False


@pytest.fixture
def people(queue: DurableHuey) -> None:
    for name in ("ann", "ben", "eve"):
        users.add(name, PASSWORD, admin=name == "eve")
