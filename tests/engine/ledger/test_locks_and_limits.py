"""Locks and rate limits work as Huey documents them. In addition, a lock is released when its holder dies."""

import threading
import time
from typing import Any

import pytest
from huey.api import Huey
from huey.exceptions import RateLimitExceeded, TaskException, TaskLockedException

from jobqueue import DurableHuey, current_job
from jobqueue.execution.current_job import working_for
from tests.engine.consumers import wait_until, work


@pytest.fixture
def ran() -> list[Any]:
    return []


def test_a_task_that_finds_a_lock_taken_fails_and_the_lock_is_free_afterwards(any_huey: Huey, ran: list[Any]) -> None:
    @any_huey.task()
    def outer() -> None:
        with any_huey.lock_task("report"):
            ran.append(any_huey.is_locked("report"))
            another_worker = threading.Thread(target=work, args=[any_huey])
            another_worker.start()
            another_worker.join()

    @any_huey.task()
    @any_huey.lock_task("report")
    def inner() -> None:
        ran.append("inner")

    outer()
    locked_out = inner()
    work(any_huey)
    assert ran == [True]
    with pytest.raises(TaskException, match="unable to acquire lock report"):
        locked_out()
    assert not any_huey.is_locked("report")
    inner()
    work(any_huey)
    assert ran == [True, "inner"]


def test_a_task_that_finds_a_lock_taken_is_retried(any_huey: Huey, ran: list[Any]) -> None:
    lock = any_huey.lock_task("report")

    @any_huey.task(retries=100, retry_delay=0.1)
    @lock
    def report() -> str:
        return "done"

    lock.acquire()
    handle = report()
    work(any_huey)
    assert handle() is None  # no error while a retry is due
    lock.clear()
    work(any_huey, until=handle.is_ready)
    assert handle() == "done"


def test_a_lock_is_free_after_an_exception(any_huey: Huey) -> None:
    with pytest.raises(LookupError), any_huey.lock_task("report"):
        raise LookupError
    assert not any_huey.is_locked("report")


def test_a_lock_cannot_be_taken_twice(any_huey: Huey) -> None:
    with any_huey.lock_task("report"), pytest.raises(TaskLockedException, match="report"):
        any_huey.lock_task("report").acquire()


def test_a_lock_with_a_ttl_is_free_after_it(huey: DurableHuey) -> None:  # SqliteHuey's counts whole seconds
    taken = time.monotonic()
    huey.lock_task("report", ttl=0.1).acquire()
    wait_until(lambda: not huey.is_locked("report"))
    assert time.monotonic() - taken >= 0.1 - 0.01
    assert huey.lock_task("report").acquire()


def test_flushed_locks_are_free_again(any_huey: Huey) -> None:
    any_huey.lock_task("a").acquire()
    any_huey.storage.put_data(f"{any_huey.name}.lock.b", b"1")
    assert any_huey.flush_locks("b", "c") == {"a", "b"}
    assert any_huey.flush_locks("b") == set()
    assert not any_huey.is_locked("a")


# --- DurableHuey: a lock belongs to the claim that took it ---


@pytest.fixture
def two_claims(huey: DurableHuey) -> tuple[Any, Any]:
    """Claim two jobs, each for its own worker."""
    task = huey.task(name="task")(lambda: None)
    task(), task()
    return huey.claim("consumer", "worker-1").attempt, huey.claim("consumer", "worker-2").attempt  # type: ignore[union-attr]


def test_a_lock_is_free_when_its_holder_died(huey: DurableHuey, two_claims: tuple[Any, Any]) -> None:
    holder, next_one = two_claims
    with working_for(holder.job):
        huey.lock_task("report").acquire()
    with working_for(next_one.job), pytest.raises(TaskLockedException):
        huey.lock_task("report").acquire()
    huey.ledger.consumers.mark_worker_lost("consumer", "worker-1")
    assert not huey.is_locked("report")
    with working_for(next_one.job):
        assert huey.lock_task("report").acquire()
    assert huey.is_locked("report")


def test_a_lock_of_a_running_job_is_not_flushed(huey: DurableHuey, two_claims: tuple[Any, Any]) -> None:
    holder, _ = two_claims
    with working_for(holder.job):
        huey.lock_task("report").acquire()
    assert huey.flush_locks("report") == set()
    assert huey.is_locked("report")
    huey.ledger.consumers.mark_worker_lost("consumer", "worker-1")
    assert huey.flush_locks("report") == {"report"}


def test_an_attempt_that_lost_its_claim_does_not_release_the_lock_of_the_next_holder(huey: DurableHuey) -> None:
    taken, look_at_it = threading.Event(), threading.Event()
    seen: list[bool] = []

    @huey.task()
    def late() -> None:
        if current_job().attempt > 1:
            return
        with huey.lock_task("report"):
            huey.ledger.consumers.mark_worker_lost(*held_by(huey))
            holder()
            another_worker.start()
            taken.wait(5)
        seen.append(huey.is_locked("report"))
        look_at_it.set()

    @huey.task(priority=1)
    @huey.lock_task("report")
    def holder() -> None:
        taken.set()
        look_at_it.wait(5)

    another_worker = threading.Thread(target=work, args=[huey])
    late()
    work(huey)
    another_worker.join()
    assert seen == [True]
    assert not huey.is_locked("report")


def held_by(huey: DurableHuey) -> tuple[str, str]:
    """Return the consumer and the worker of the only running job."""
    with huey.ledger.database.statement() as tx:
        (job,) = tx.all("SELECT consumer, worker FROM jobs WHERE state = 'running'")
    return job["consumer"], job["worker"]


# --- rate limits ---


def test_a_job_above_its_rate_limit_waits_for_the_next_window(any_huey: Huey, ran: list[Any]) -> None:
    @any_huey.task()
    @any_huey.rate_limit("quotes", limit=2, per=1)
    def quote(symbol: str) -> str:
        ran.append(symbol)
        return symbol

    beginning_of_a_second()
    handles = [quote(symbol) for symbol in "abc"]
    work(any_huey)
    assert ran == ["a", "b"]
    assert handles[2]() is None  # it waits, without an error
    work(any_huey, until=handles[2].is_ready)
    assert ran == ["a", "b", "c"]


def test_a_job_above_a_rate_limit_without_retry_fails(any_huey: Huey) -> None:
    limit = any_huey.rate_limit("quotes", limit=1, per=60, retry=False)

    @any_huey.task()
    @limit
    def quote() -> int:
        return 1

    beginning_of_a_second()
    first, second = quote(), quote()
    work(any_huey)
    assert first() == 1
    with pytest.raises(TaskException, match="RateLimitExceeded"):
        second()
    assert limit.current_usage() == 2


def test_a_rate_limited_task_is_retried_after_its_retry_delay(any_huey: Huey, ran: list[Any]) -> None:
    limit = any_huey.rate_limit("quotes", limit=1, per=60)

    @any_huey.task(retry_delay=0.1)
    @limit
    def quote(symbol: str) -> None:
        ran.append(symbol)

    quote("a"), quote("b")
    work(any_huey)
    limit.reset()
    work(any_huey, until=lambda: len(ran) == 2)
    assert ran == ["a", "b"]


def test_a_rate_limit_also_holds_outside_tasks(any_huey: Huey) -> None:
    limit = any_huey.rate_limit("quotes", limit=1, per=60)
    beginning_of_a_second()
    with limit, pytest.raises(RateLimitExceeded), limit:
        raise AssertionError("not reached")


def beginning_of_a_second() -> None:
    """Wait until at least half of the current one-second window is left."""
    while time.time() % 1 > 0.5:
        pass
