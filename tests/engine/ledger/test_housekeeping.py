"""The election of the consumer that does the housekeeping for all, on databases behind a network."""

import threading

import pytest

from jobqueue import DurableHuey
from jobqueue.ledger.housekeeping import TERM
from jobqueue.ledger.ledger import Ledger
from tests.moved_clock import MovedClock

pytestmark = pytest.mark.parametrize("storage", ["postgres"], indirect=True)

CONSUMERS = ["one", "another", "a third"]


@pytest.fixture
def ledger(huey: DurableHuey) -> Ledger:
    """Return a ledger with registered consumers."""
    for consumer in CONSUMERS:
        huey.ledger.consumers.register(consumer, "host", 1, 1, [])
    return huey.ledger


def elected(ledger: Ledger, may_rescue: bool = False) -> list[str]:
    """Let every consumer ask. Return those that are elected."""
    return [consumer for consumer in CONSUMERS if ledger.housekeeping.elect(consumer, may_rescue)]


def test_one_consumer_is_elected_as_long_as_it_asks(ledger: Ledger) -> None:
    assert [elected(ledger) for _ in range(3)] == [["one"]] * 3


def test_consumers_that_ask_at_one_moment_elect_one(ledger: Ledger) -> None:
    results: dict[str, bool] = {}
    start = threading.Barrier(len(CONSUMERS))

    def ask(consumer: str) -> None:
        start.wait()
        results[consumer] = ledger.housekeeping.elect(consumer, may_rescue=True)

    threads = [threading.Thread(target=ask, args=(consumer,)) for consumer in CONSUMERS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(results.values()).count(True) == 1


def test_another_is_elected_when_the_term_is_over(ledger: Ledger, clock: MovedClock) -> None:
    assert ledger.housekeeping.elect("one", may_rescue=True)
    clock.move(TERM - 1)
    assert not ledger.housekeeping.elect("another", may_rescue=True)
    clock.move(2)
    assert ledger.housekeeping.elect("another", may_rescue=True)
    assert not ledger.housekeeping.elect("one", may_rescue=True)


def test_a_consumer_that_stops_makes_room_at_once(ledger: Ledger) -> None:
    assert elected(ledger) == ["one"]
    ledger.consumers.deregister("another")
    assert elected(ledger) == ["one"]
    ledger.consumers.deregister("one")
    assert ledger.housekeeping.elect("another", may_rescue=False)


def test_one_that_may_rescue_replaces_one_that_may_not(ledger: Ledger) -> None:
    assert ledger.housekeeping.elect("one", may_rescue=False)
    assert ledger.housekeeping.elect("another", may_rescue=True)
    assert not ledger.housekeeping.elect("one", may_rescue=False)
    assert not ledger.housekeeping.elect("one", may_rescue=True)


def test_a_term_that_a_clock_gave_before_it_went_back_is_over(ledger: Ledger, clock: MovedClock) -> None:
    assert ledger.housekeeping.elect("one", may_rescue=True)
    clock.move(-3600)
    assert ledger.housekeeping.elect("another", may_rescue=True)


def test_asking_in_vain_writes_nothing(ledger: Ledger) -> None:
    assert ledger.housekeeping.elect("one", may_rescue=True)
    before = version(ledger)
    assert not ledger.housekeeping.elect("another", may_rescue=True)
    assert version(ledger) == before
    assert ledger.housekeeping.elect("one", may_rescue=True)
    assert version(ledger) != before


def version(ledger: Ledger) -> tuple[str, str]:
    """Return the transactions that wrote and that last locked the row."""
    with ledger.database.statement() as tx:
        row = tx.one("SELECT CAST(xmin AS text) AS writer, CAST(xmax AS text) AS locker FROM housekeeping")
    assert row is not None
    return row["writer"], row["locker"]
