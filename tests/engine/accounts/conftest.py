"""The web process of the portfolio example, on a ledger in memory, with users: Ann, Ben, and Eve, who is an admin."""

from collections.abc import Iterator

import numpy as np
import pytest
from browser import PASSWORD

from app import web
from app.access import accounts
from app.jobs import huey
from app.pages import market_weights
from app.portfolio import walk_forward
from jobqueue import DurableHuey
from jobqueue.accounts import users

huey._secret_key = (
    "a key for tests"  # without one, any Dash app of this process would write a key file into the template
)

# Dash gives the callbacks of pages to the first app of the process that gets a request. Other tests run other apps.
web.server.test_client().get(web.app.get_relative_path("/login"))


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Iterator[DurableHuey]:
    """Yield the app's queue, empty. Accounts are on, and there are no users."""
    monkeypatch.setattr(users, "SCRYPT", "scrypt:512:8:1")  # cheap; another test checks the real cost
    monkeypatch.setattr("app.jobs.hello.time.sleep", lambda _: None)
    monkeypatch.setitem(web.server.config, "ACCOUNTS", True)
    monkeypatch.setitem(web.server.config, "SECRET_KEY", "of these tests")
    monkeypatch.setattr(walk_forward, "fit_window", lambda returns, *_: np.full(returns.shape[1], 1 / returns.shape[1]))
    monkeypatch.setattr(market_weights, "DRAWS", 1)
    huey.discover()
    huey.immediate = True
    yield huey
    huey.immediate = False


@pytest.fixture
def people(queue: DurableHuey) -> None:
    for name in ("ann", "ben", "eve"):
        accounts.users.add(name, PASSWORD, admin=name == "eve")
