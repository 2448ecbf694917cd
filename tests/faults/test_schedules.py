"""Tests that a schedule fires once for each due moment, despite kills, and makes up missed moments once."""

import random
import signal
import statistics
import time
from collections import Counter

import pytest

from jobqueue import DurableHuey, State
from jobqueue.jobs.job import Job
from tests.engine.consumers import ConsumerProcess, wait_until
from tests.faults.conftest import LEASE, StartConsumer, all_have_ended
from tests.faults.fault_jobs import schedules_on

CONSUMERS, ROUNDS = 5, 3  # consumers, and how often each is killed and started again
TOGETHER = 3  # consumers that are killed at once
LASTS = 30.0  # seconds
SCHEDULES = {"each_second": "second", "each_other_second": "2 seconds"}


@pytest.mark.long
@pytest.mark.parametrize("storage", ["postgres"], indirect=True)  # SQLite's one writer lets no two fires overlap
def test_five_consumers_that_are_killed_fire_each_moment_once(
    huey: DurableHuey, start: StartConsumer, dice: random.Random
) -> None:
    consumers = [start(schedules=SCHEDULES) for _ in range(CONSUMERS)]
    begun, kills = time.monotonic(), Counter[int]()
    for number in range(rounds := CONSUMERS * ROUNDS // TOGETHER):
        wait_until(lambda number=number: time.monotonic() > begun + LASTS * number / rounds, timeout=LASTS)  # type: ignore[misc]
        fewest = sorted(range(CONSUMERS), key=lambda i: (kills[i], dice.random()))[:TOGETHER]
        for i in fewest:
            consumers[i].kill_all()
        for i in fewest:
            consumers[i] = start(schedules=SCHEDULES)
            kills[i] += 1
        assert sum(consumer.process.poll() is None for consumer in consumers) == CONSUMERS
    wait_until(lambda: time.monotonic() > begun + LASTS, timeout=LASTS)
    schedules_on(huey, SCHEDULES)
    for name in SCHEDULES:
        assert huey.pause_schedule(name)
    assert set(kills.values()) == {ROUNDS}

    wait_until(lambda: all_have_ended(huey), timeout=60)
    for name, period in (("each_second", 1), ("each_other_second", 2)):
        jobs = fires(huey, name)
        dues = [due(job) for job in jobs]
        missing = sorted(set(range(dues[0], dues[-1], period)) - set(dues))
        late = [job.created_at.timestamp() - due(job) for job in jobs]
        print(
            f"{name}: {len(jobs)} fires, {len(missing)} missing; late: median {statistics.median(late):.2f} s, most {max(late):.2f} s"
        )
        assert missing == []
        assert dues == sorted(set(dues))
        assert len(dues) >= LASTS / period - 1
        assert {job.state for job in jobs} == {State.SUCCEEDED}
        assert not any(job.made_up for job in jobs)
        assert statistics.median(late) < 1


@pytest.mark.parametrize("how", ["stopped", pytest.param("killed", marks=pytest.mark.promise)])
def test_fires_missed_while_no_consumer_ran_are_made_up_once(huey: DurableHuey, start: StartConsumer, how: str) -> None:
    consumers = [start(schedules=SCHEDULES) for _ in range(2)]
    wait_until(lambda: len(fires(huey, "each_second")) >= 2)
    for consumer in consumers:
        end(consumer, how)
    before = fires(huey, "each_second")
    gone = now(huey)
    wait_until(lambda: now(huey) > max(gone, due(before[-1])) + max(3.5, LEASE + 1))
    start(schedules=SCHEDULES)
    wait_until(lambda: len(fires(huey, "each_second")) >= len(before) + 3)
    made_up, *after = fires(huey, "each_second")[len(before) :]
    assert made_up.made_up
    assert due(made_up) - due(before[-1]) >= 3  # the last missed moment
    assert [due(job) for job in after] == [due(made_up) + 1 + n for n in range(len(after))]
    assert not any(job.made_up for job in [*before, *after])


def end(consumer: ConsumerProcess, how: str) -> None:
    if how == "killed":
        consumer.kill_all()
    else:
        consumer.send(signal.SIGTERM)
        assert consumer.wait() == 0


def fires(huey: DurableHuey, name: str) -> list[Job]:
    """Return the jobs of a schedule, oldest first."""
    return huey.jobs(task=f"tests.faults.fault_jobs.{name}", limit=1000)[::-1]


def due(job: Job) -> int:
    assert job.due_at is not None
    return int(job.due_at.timestamp())


def now(huey: DurableHuey) -> float:
    """Return the time by the database's clock."""
    return huey.ledger.consumers.heartbeat("nobody", [], 0).now
