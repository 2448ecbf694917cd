"""What is kept of users, on each database."""

from collections.abc import Iterator

import pytest
from browser import PASSWORD

from app import users
from jobqueue import DurableHuey
from tests.storages import Storage, run_on_each


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    run_on_each(metafunc, default=["sqlite", "postgres"])


@pytest.fixture
def huey(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> Iterator[DurableHuey]:
    huey = DurableHuey("tests", secret_key="a key for tests", **storage._asdict())
    monkeypatch.setattr(users, "huey", huey)
    monkeypatch.setattr(users, "SCRYPT", "scrypt:512:8:1")
    users._nobodys_hash.cache_clear()
    yield huey
    huey.storage.close()


def test_a_user_from_the_first_to_the_last(huey: DurableHuey) -> None:
    assert not users.any_user() and users.users() == []
    users.add("ann", PASSWORD, admin=True)
    with pytest.raises(ValueError, match="already"):
        users.add("ann", PASSWORD)
    first = users.add("ben", None)
    assert [(user["name"], bool(user["admin"])) for user in users.users()] == [("ann", True), ("ben", False)]
    assert users.authenticate("ben", first, "10.0.0.1") == users.User("ben", False, must_change=True)
    assert users.authenticate(" Ann ", PASSWORD, "10.0.0.1") == users.User("ann", True)

    session = users.begin_session("ben")
    assert users.of_session(session) == users.User("ben", False, must_change=True)
    with huey.ledger.database.transaction() as tx:
        tx.run("UPDATE sessions SET seen_at = seen_at - :seconds", seconds=users.SEEN + 1)
    assert users.of_session(session)
    with huey.ledger.database.statement() as tx:
        assert tx.one("SELECT 1 FROM sessions WHERE seen_at > NOW - 60")
    users.end_session(session)
    assert users.of_session(session) is None
    assert users.remove("ben") and not users.remove("ben")


def test_failures_and_submits_are_counted(huey: DurableHuey) -> None:
    users.add("ann", PASSWORD)
    for _ in range(users.FREE_TRIES):
        assert users.authenticate("ann", "x", "10.0.0.1") is None
    with pytest.raises(users.TooManyFailures):
        users.authenticate("ann", PASSWORD, "10.0.0.2")
    users.set_password("ann", PASSWORD)  # forgets them
    assert users.authenticate("ann", PASSWORD, "10.0.0.2")

    task = huey.task(name="task")(lambda: 1)
    for _ in range(3):
        task.using(owner="ann")()
    assert [users.submitted(name, 60, most) for name, most in (("ann", 10), ("ann", 2), ("ben", 10))] == [3, 2, 0]
    for _ in range(2):  # the second shares the job of the first
        task.using(owner="ben", unique=True).schedule(delay=60)
    assert users.submitted("ben", 60, 10) == 2
