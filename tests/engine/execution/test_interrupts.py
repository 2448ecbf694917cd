"""Interrupts: they wait for a running ledger statement, name one claim, and come at most once."""

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


def test_interrupt_outside_a_statement_is_immediate() -> None:
    expose("token")
    with pytest.raises(ClaimLost, match="gone"):
        request("token", REASON)


def test_interrupt_waits_for_the_outermost_statement() -> None:
    done: list[str] = []
    expose("token")
    with pytest.raises(ClaimLost), deferred():
        with deferred():
            request("token", REASON)
            done.append("inner")
        done.append("outer")
    assert done == ["inner", "outer"]


def test_interrupt_waits_for_statements_of_the_ledger(huey: DurableHuey) -> None:
    done: list[str] = []
    expose("token")
    with pytest.raises(ClaimLost), huey.ledger.database.transaction() as tx:
        request("token", REASON)
        tx.run("INSERT INTO counters (key, value) VALUES ('written', 1)")
        done.append("written")
    assert done == ["written"]
    assert huey.ledger.entries.add("written", 0) == 1  # it is committed, and the connection still works


@pytest.mark.parametrize("token", [None, "another"])
def test_interrupt_for_another_claim_is_ignored(token: str | None) -> None:
    expose("token")
    request(token, REASON)
    with deferred():
        request(token, REASON)


def test_interrupt_is_ignored_while_no_task_runs() -> None:
    request("token", REASON)
    expose("token")
    shield()
    request("token", REASON)
    with deferred():
        request("token", REASON)


def test_interrupt_without_a_reason_is_ignored_and_a_later_one_works() -> None:
    expose("token")
    request("token", lambda: None)
    with deferred():
        request("token", lambda: None)
    with pytest.raises(ClaimLost):
        request("token", REASON)


def test_claim_is_interrupted_at_most_once() -> None:
    expose("token")
    with pytest.raises(ClaimLost), deferred():
        request("token", REASON)
        request("token", REASON)
    request("token", REASON)


def test_deferred_interrupt_does_not_hit_the_next_claim() -> None:
    expose("one")
    with deferred():
        request("one", REASON)
        expose("two")
    with deferred():
        pass


def test_deferred_interrupt_replaces_an_error_of_the_statement() -> None:
    expose("token")
    with pytest.raises(ClaimLost) as raised, deferred():
        request("token", REASON)
        raise LookupError("of the statement")
    assert isinstance(raised.value.__context__, LookupError)


def test_threads_are_interrupted_independently() -> None:
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


def test_except_exception_does_not_catch_an_interrupt() -> None:
    expose("token")
    with pytest.raises(ClaimLost):
        try:
            request("token", REASON)
        except Exception:
            pytest.fail("swallowed")
