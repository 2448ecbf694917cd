"""Interrupts wait while a ledger statement runs, name the claim they mean, and come once at most."""

import threading
from collections.abc import Iterator

import pytest

from jobqueue import DurableHuey
from jobqueue.interrupts import ClaimLost, deferred, expose, request, shield

REASON = lambda: ClaimLost("gone")  # noqa: E731


@pytest.fixture(autouse=True)
def shielded() -> Iterator[None]:
    yield
    shield()


def test_outside_of_a_statement_an_interrupt_comes_at_once() -> None:
    expose("token")
    with pytest.raises(ClaimLost, match="gone"):
        request("token", REASON)


def test_within_a_statement_it_waits_until_the_outermost_one_is_done() -> None:
    done: list[str] = []
    expose("token")
    with pytest.raises(ClaimLost), deferred():
        with deferred():
            request("token", REASON)
            done.append("inner")
        done.append("outer")
    assert done == ["inner", "outer"]


def test_it_waits_in_the_ledgers_own_statements(huey: DurableHuey) -> None:
    done: list[str] = []
    expose("token")
    with pytest.raises(ClaimLost), huey.ledger.database.transaction() as tx:
        request("token", REASON)
        tx.run("INSERT INTO counters (key, value) VALUES ('written', 1)")
        done.append("written")
    assert done == ["written"]
    assert huey.ledger.entries.add("written", 0) == 1  # committed, and the connection is well


@pytest.mark.parametrize("token", [None, "another"])
def test_one_that_means_another_claim_is_ignored(token: str | None) -> None:
    expose("token")
    request(token, REASON)
    with deferred():
        request(token, REASON)


def test_one_that_comes_when_nothing_may_be_interrupted_is_ignored() -> None:
    request("token", REASON)
    expose("token")
    shield()
    request("token", REASON)
    with deferred():
        request("token", REASON)


def test_one_without_a_reason_any_more_is_ignored_and_a_later_one_still_comes() -> None:
    expose("token")
    request("token", lambda: None)
    with deferred():
        request("token", lambda: None)
    with pytest.raises(ClaimLost):
        request("token", REASON)


def test_a_claim_is_interrupted_once_at_most() -> None:
    expose("token")
    with pytest.raises(ClaimLost), deferred():
        request("token", REASON)
        request("token", REASON)
    request("token", REASON)


def test_what_waited_for_one_claim_does_not_hit_the_next() -> None:
    expose("one")
    with deferred():
        request("one", REASON)
        expose("two")
    with deferred():
        pass


def test_an_error_of_the_statement_gives_way_to_the_interrupt_that_waited() -> None:
    expose("token")
    with pytest.raises(ClaimLost) as raised, deferred():
        request("token", REASON)
        raise LookupError("of the statement")
    assert isinstance(raised.value.__context__, LookupError)


def test_each_thread_is_interrupted_for_itself() -> None:
    expose("token")
    errors: list[BaseException] = []

    def other() -> None:
        try:
            request("token", REASON)  # not this thread's claim
            expose("token")
            request("token", REASON)
        except ClaimLost as error:
            errors.append(error)

    thread = threading.Thread(target=other)
    with deferred():
        thread.start()
        thread.join()
    assert len(errors) == 1


def test_no_except_exception_swallows_it() -> None:
    expose("token")
    with pytest.raises(ClaimLost):
        try:
            request("token", REASON)
        except Exception:
            pytest.fail("swallowed")
