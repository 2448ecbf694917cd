"""Leases when the database's clock jumps forward: two consumers without their processes, one of which sweeps."""

import time
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from jobqueue import DurableHuey, State
from jobqueue.consumer import leases
from jobqueue.consumer.housekeeper import Housekeeper
from jobqueue.consumer.leases import Leases
from jobqueue.consumer.pruner import Pruner
from jobqueue.ledger.consumers import Contact
from jobqueue.ledger.housekeeping import RESCUE_LIMIT
from jobqueue.tasks.task import DurableTaskWrapper
from tests.engine.conftest import HueyFactory
from tests.engine.consumers import wait_until
from tests.moved_clock import MovedClock

LEASE = 1.0  # seconds
HOUR = 3600.0  # seconds


class Consumer:
    """A consumer that renews its leases when the test says so."""

    def __init__(self, huey: DurableHuey, name: str) -> None:
        self.huey, self.name, self.tokens = huey, name, list[str]()
        huey.ledger.consumers.register(name, "host", 1, 1, huey.messages.task_names())
        self.leases = Leases(name, huey.ledger, self._workers, lease_s=LEASE)
        self.housekeeper = Housekeeper(
            name,
            huey.ledger.housekeeping,
            self.leases,
            Pruner(huey.ledger.retention, None, None),
            lease_s=LEASE,
            unknown_after_s=HOUR,
        )
        self.leases.renew(draining=False)

    def _workers(self) -> list[tuple[Any, Any]]:
        def shared(token: str) -> SimpleNamespace:
            return SimpleNamespace(value=token)

        workers = [
            SimpleNamespace(name=f"w{number}", held_token=shared(token), requested_token=shared(""), made_at=0.0)
            for number, token in enumerate(self.tokens)
        ]
        return [(worker, SimpleNamespace()) for worker in workers]

    def claim(self) -> None:
        """Claim a job for another worker."""
        task = self.huey.claim(self.name, f"w{len(self.tokens)}")
        assert task is not None
        self.tokens.append(task.attempt.token)


@pytest.fixture
def task(make_huey: HueyFactory) -> DurableTaskWrapper:
    """Return a task whose claims hold for LEASE."""
    wrapper: DurableTaskWrapper = make_huey(lease_s=LEASE).task(name="task")(lambda: None)
    return wrapper


def renew_for_a_lease(clock: MovedClock, *renewing: Consumer) -> None:
    """Let consumers renew their leases for a little more than a lease. Meanwhile another may sweep."""
    until = clock.now() + LEASE * 1.1

    def over() -> bool:
        for consumer in renewing:
            consumer.leases.renew(draining=False)
        return clock.now() > until

    wait_until(over)


def test_clock_that_jumps_forward_ends_no_lease_that_is_renewed(clock: MovedClock, task: DurableTaskWrapper) -> None:
    handle = task()
    holder, other = Consumer(task.huey, "holder"), Consumer(task.huey, "other")
    holder.claim()
    renew_for_a_lease(clock, holder, other)
    clock.move(HOUR)
    other.housekeeper.sweep()  # before either has renewed by the new clock
    assert handle.state is State.RUNNING
    other.leases.renew(draining=False)
    other.housekeeper.sweep()  # before the holder has
    assert handle.state is State.RUNNING
    renew_for_a_lease(clock, holder, other)
    other.housekeeper.sweep()
    assert handle.state is State.RUNNING
    renew_for_a_lease(clock, other)  # the holder died
    other.housekeeper.sweep()
    assert (handle.state, handle.get_job().losses) == (State.QUEUED, 1)


def test_search_for_unheard_claims_that_a_slow_database_carries_out_late_spares_those_that_came_meanwhile(
    clock: MovedClock, task: DurableTaskWrapper
) -> None:
    handle = task()
    consumer, asked_at = Consumer(task.huey, "consumer"), clock.now()
    clock.move(HOUR)
    consumer.claim()
    clock.move(LEASE)
    release = partial(task.huey.ledger.consumers.release_unheard, "consumer", ["w0"], ["another"], LEASE / 2)
    assert release(asked_at) == []
    assert release(clock.now()) == [handle.id]


def test_slow_answer_is_no_jump_of_the_clock(
    clock: MovedClock, task: DurableTaskWrapper, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    task()
    holder, other = Consumer(task.huey, "holder"), Consumer(task.huey, "other")
    holder.claim()  # it dies
    renew_for_a_lease(clock, other)
    consumers, real, delay = task.huey.ledger.consumers, time.monotonic, 0.9 * LEASE
    heartbeat = consumers.heartbeat

    def slow(*args: Any) -> Contact:
        """Answer after a delay, in which the database's clock goes on."""
        contact = heartbeat(*args)
        clock.move(delay)
        monkeypatch.setattr(consumers, "heartbeat", heartbeat)
        monkeypatch.setattr(time, "monotonic", lambda: real() + delay)
        return contact

    monkeypatch.setattr(leases, "JUMP", delay / 2)
    monkeypatch.setattr(consumers, "heartbeat", slow)
    other.leases.renew(draining=False)
    other.leases.renew(draining=False)
    assert other.leases.may_judge
    assert "jumped" not in caplog.text


def test_clock_that_goes_back_ends_no_lease(clock: MovedClock, task: DurableTaskWrapper) -> None:
    handle = task()
    holder, other = Consumer(task.huey, "holder"), Consumer(task.huey, "other")
    holder.claim()
    renew_for_a_lease(clock, holder, other)
    clock.move(-HOUR)
    holder.leases.renew(draining=False)  # by the new clock: its lease ends before what the other takes for the time
    other.housekeeper.sweep()
    assert handle.state is State.RUNNING
    renew_for_a_lease(clock, holder, other)
    other.housekeeper.sweep()
    assert handle.state is State.RUNNING


def test_clock_that_jumps_forward_fails_no_job_as_unknown(clock: MovedClock, task: DurableTaskWrapper) -> None:
    handle = task()
    consumer = Consumer(task.huey, "consumer")
    renew_for_a_lease(clock, consumer)
    clock.move(2 * HOUR)
    consumer.housekeeper.sweep()
    assert handle.state is State.QUEUED
    renew_for_a_lease(clock, consumer)
    consumer.housekeeper.sweep()
    assert handle.state is State.QUEUED


def test_sweep_ends_within_a_second_however_many_jobs_are_lost(
    clock: MovedClock, task: DurableTaskWrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next sweeps take the others back."""
    n = 3 * RESCUE_LIMIT
    task.huey.enqueue_many([task.s() for _ in range(n)])
    dead, other = Consumer(task.huey, "dead"), Consumer(task.huey, "other")
    for _ in range(n):
        dead.claim()
    renew_for_a_lease(clock, other)
    monkeypatch.setattr("jobqueue.consumer.housekeeper.SWEEP_FOR", 0.0)
    left: list[int] = []
    while not left or left[-1]:
        other.housekeeper.sweep()
        left.append(task.huey.ledger.reading.count(State.RUNNING))
    assert left == [2 * RESCUE_LIMIT, RESCUE_LIMIT, 0]
