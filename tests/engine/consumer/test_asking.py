"""Idle workers of one consumer ask for jobs one at a time."""

import threading
import time
from collections import Counter

import pytest

from jobqueue import DurableHuey
from jobqueue.consumer.asking import IDLE, POLL, Asking
from jobqueue.ledger.ledger import Ledger
from jobqueue.ledger.records import ClaimRequest
from tests.engine.consumers import wait_until


def test_one_worker_has_the_turn_in_each_interval() -> None:
    asking = Asking()
    assert [asking.takes_turn(60) for _ in range(3)] == [True, False, False]
    assert asking.takes_turn(0)


def test_after_a_job_all_may_ask_at_once() -> None:
    asking = Asking()
    assert asking.takes_turn(60)
    asking.note(got_a_job=True)
    assert asking.takes_turn(60)
    asking.note(got_a_job=False)
    assert not asking.takes_turn(60)


def test_the_interval_is_short_after_a_job_if_notifications_do_not_arrive() -> None:
    asking = Asking()
    assert (asking.interval(hears=True), asking.interval(hears=False)) == (IDLE, IDLE)
    asking.note(got_a_job=True)
    assert (asking.interval(hears=True), asking.interval(hears=False)) == (IDLE, POLL)


@pytest.mark.parametrize("consumers, interval", [(1, POLL), (10, POLL), (64, 0.64), (1_000, IDLE)])
def test_many_consumers_ask_together_no_more_than_a_hundred_times_a_second(consumers: int, interval: float) -> None:
    asking = Asking()
    asking.consumers.value = consumers
    asking.note(got_a_job=True)
    assert asking.interval(hears=False) == pytest.approx(interval)


@pytest.mark.parametrize("storage", ["postgres"], indirect=True)  # on SQLite a heartbeat wakes all of them
def test_idle_workers_of_a_consumer_ask_together(huey: DurableHuey, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight workers ask once in each interval. All eight begin a job at once when there is one for each."""
    workers, asked = 8, list[float]()
    claim = Ledger.claim

    def count(ledger: Ledger, request: ClaimRequest) -> object:
        asked.append(time.monotonic())
        return claim(ledger, request)

    monkeypatch.setattr(Ledger, "claim", count)
    here, go = threading.Semaphore(0), threading.Event()

    @huey.task(name="meet")
    def meet() -> None:
        here.release()
        go.wait(30)

    consumer = huey.create_consumer(workers=workers, worker_type="thread")
    monkeypatch.setattr(consumer, "_set_signal_handlers", lambda: None)
    thread = threading.Thread(target=consumer.run)
    thread.start()
    try:
        wait_until(
            lambda: len(asked) >= workers and asked[-1] - asked[-3] > 1.5 * IDLE
        )  # after the start, when all ask
        handles = [meet() for _ in range(workers)]
        assert all(here.acquire(timeout=10) for _ in handles)
    finally:
        go.set()
        consumer.stop_flag.set()
        thread.join()
    assert Counter(handle.state for handle in handles) == {"succeeded": workers}
