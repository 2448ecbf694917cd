"""Users, sessions and limits, on each database."""

import pytest
from browser import PASSWORD

from jobqueue import DurableHuey
from jobqueue.accounts.devices import Device
from jobqueue.accounts.sessions import SEEN, Sessions
from jobqueue.accounts.throttle import TRIES, TRIES_OF_NAME, TooManyFailures, submitted
from jobqueue.accounts.users import User, Users


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobqueue.accounts.users.SCRYPT", "scrypt:512:8:1")


def test_the_life_of_a_user_and_a_session(huey: DurableHuey) -> None:
    users, sessions = Users(huey), Sessions(lambda: huey.ledger.database)
    assert not users.any() and users.all() == []
    users.add("ann", PASSWORD, admin=True)
    with pytest.raises(ValueError, match="already"):
        users.add("ann", PASSWORD)
    first = users.add("ben", None)
    assert [(user["name"], bool(user["admin"])) for user in users.all()] == [("ann", True), ("ben", False)]
    assert users.authenticate("ben", first, "10.0.0.1") == User("ben", False, must_change=True)
    assert users.authenticate(" Ann ", PASSWORD, "10.0.0.1") == User("ann", True)

    session = sessions.begin("ben")
    assert sessions.user(session) == User("ben", False, must_change=True)
    with huey.ledger.database.transaction() as tx:
        tx.run("UPDATE sessions SET seen_at = seen_at - :seconds", seconds=SEEN + 1)
    assert sessions.user(session)
    with huey.ledger.database.statement() as tx:
        assert tx.one("SELECT 1 FROM sessions WHERE seen_at > NOW - 60")
    sessions.end(session)
    assert sessions.user(session) is None
    assert users.remove("ben") and not users.remove("ben")


def test_failures_and_submits_are_counted(huey: DurableHuey) -> None:
    database = lambda: huey.ledger.database  # noqa: E731
    users = Users(huey)
    users.add("ann", PASSWORD)
    for number in range(TRIES_OF_NAME):
        assert users.authenticate("ann", "x", f"10.0.0.{number // TRIES}") is None
    for address in ("10.0.0.1", "10.0.1.1"):  # which has no failure of its own
        with pytest.raises(TooManyFailures):
            users.authenticate("ann", PASSWORD, address)
    assert users.authenticate("ann", PASSWORD, "10.0.0.1", Device("ann", "known"))
    users.set_password("ann", PASSWORD)  # forgets the name's failures
    assert users.authenticate("ann", PASSWORD, "10.0.1.1")

    task = huey.task(name="task")(lambda: 1)
    for _ in range(3):
        task.using(owner="ann")()
    assert [submitted(database, name, 60, most) for name, most in (("ann", 10), ("ann", 2), ("ben", 10))] == [3, 2, 0]
    for _ in range(2):  # the second shares the job of the first
        task.using(owner="ben", unique=True).schedule(delay=60)
    assert submitted(database, "ben", 60, 10) == 2
