"""Tests that only the database's clock counts. A host's clock may be an hour off, and the database's clock may jump."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from jobqueue import DurableHuey, State
from tests.engine.consumers import TEMPLATE, environment, wait_until
from tests.faults.conftest import GRACE, KIT, LEASE, StartConsumer
from tests.faults.fault_jobs import notes
from tests.moved_clock import moved_clock
from tests.storages import Storage

HOUR = 3600.0  # seconds
SOON = 5.0  # seconds: enough for a busy machine, and much less than an hour
ANOTHER_CLOCK = Path(__file__).with_name("another_clock")


def clock(ahead: float) -> dict[str, str]:
    """Return environment variables of a process whose host's clock is `ahead` seconds ahead of the database's clock."""
    path = os.pathsep.join(map(str, [ANOTHER_CLOCK, TEMPLATE, KIT]))
    return {"PYTHONPATH": path, "CLOCK_AHEAD": str(ahead)}


SUBMIT = """
import json, sys, time
from datetime import UTC, datetime
from jobqueue import DurableHuey
from tests.faults.fault_jobs import tasks_on
settings, due = json.loads(sys.argv[1])
at = lambda seconds: datetime.fromtimestamp(due + seconds, UTC)
tasks = tasks_on(huey := DurableHuey("faults", **settings, secret_key="a key for tests"))
handles = {
    "clocks": tasks.clocks(),
    "in 3 s": tasks.quick.schedule((1,), delay=3),
    "at a time": tasks.quick.schedule((1,), eta=at(1)),
    "expires in 0.1 s": tasks.quick(1, expires=0.1),
    "expires in 5 minutes": tasks.quick(1, expires=300),
    "expired at a time": tasks.quick(1, expires=at(-1)),
    "expires at a time": tasks.quick(1, expires=at(300)),
    "expires in 5 minutes, in 3 s": tasks.quick.schedule((1,), delay=3, expires=300),
    "retried after 0.5 s": tasks.fails_at_first(),
    "retried after 1 s": tasks.asks_for_another_attempt(1),
    "rescheduled": tasks.quick.schedule((1,), delay=1000).reschedule(delay=3),
}
print(json.dumps([time.time(), {what: handle.id for what, handle in handles.items()}]))
"""


@pytest.mark.parametrize("ahead", [HOUR, -HOUR], ids=["ahead", "behind"])
def test_delays_expiry_and_retries_follow_the_database_clock(
    huey: DurableHuey,
    storage: Storage,
    start: StartConsumer,
    tasks: SimpleNamespace,
    path: str,
    go: Path,
    ahead: float,
) -> None:
    """Test a consumer's clock and a web process's clock that are an hour off in opposite directions."""
    start(environ=clock(ahead))
    tasks.waits(path, str(go))  # blocks the worker, so that no other job starts yet
    wait_until(lambda: notes(Path(path)))
    due = now(huey) + 1.5
    done = subprocess.run(
        [sys.executable, "-c", SUBMIT, json.dumps([storage._asdict(), due])],
        env=environment(**clock(-ahead)),
        stdout=subprocess.PIPE,
        check=True,
        timeout=10,
    )
    there, ids = json.loads(done.stdout)
    assert there == pytest.approx(time.time() - ahead, abs=SOON * 2)
    wait_until(lambda: now(huey) > due)
    go.touch()
    wait_until(lambda: all(huey.get_job(job_id).state.ended for job_id in ids.values()))
    for host_time in huey.job(ids["clocks"]).get():
        assert host_time == pytest.approx(time.time() + ahead, abs=SOON * 4)

    jobs = {what: huey.get_job(job_id) for what, job_id in ids.items()}
    for what in ("expires in 0.1 s", "expired at a time"):
        assert (jobs[what].state, jobs[what].error[:7]) == (State.FAILED, "Expired")
        del jobs[what]
    assert {job.state for job in jobs.values()} == {State.SUCCEEDED}
    waited = {what: seconds(job.claimed_at) - seconds(job.created_at) for what, job in jobs.items()}
    for what in ("in 3 s", "expires in 5 minutes, in 3 s", "rescheduled"):
        assert 3 <= waited[what] < 3 + SOON
    assert due + 1 <= seconds(jobs["at a time"].claimed_at) < due + 1 + SOON
    for what, pause in {"retried after 0.5 s": 0.5, "retried after 1 s": 1}.items():
        assert jobs[what].attempt == 2
        assert due + pause <= seconds(jobs[what].run_at) <= seconds(jobs[what].claimed_at) < due + pause + 2 * SOON
    for what in ("expires in 5 minutes", "expires at a time"):
        assert seconds(jobs[what].claimed_at) < due + SOON


@pytest.mark.parametrize(
    "ahead", [pytest.param(HOUR, id="ahead"), pytest.param(-HOUR, id="behind", marks=pytest.mark.long)]
)
def test_lease_follows_the_database_clock(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, path: str, ahead: float
) -> None:
    """Test a job's consumer and another consumer, whose clocks are an hour off in opposite directions."""
    holder = start(environ=clock(ahead))
    handle = tasks.slow_at_first(path)
    wait_until(lambda: notes(Path(path)))
    start(environ=clock(-ahead))
    due = now(huey) + 2 * LEASE  # by then the other consumer has swept for a lease
    wait_until(lambda: now(huey) > due)
    assert (handle.state, handle.get_job().attempt, handle.get_job().losses) == (State.RUNNING, 1, 0)
    killed = now(huey)
    holder.kill_all()
    assert handle.get(blocking=True, timeout=10) == 2
    job = handle.get_job()
    assert job.losses == 1
    assert killed + LEASE - 1 < seconds(job.claimed_at) < killed + LEASE + 5


def test_schedule_follows_the_database_clock(huey: DurableHuey, start: StartConsumer) -> None:
    begun = now(huey)
    for ahead in (HOUR, -HOUR):
        start(schedules={"tick": "second"}, environ=clock(ahead))
    wait_until(lambda: len(huey.jobs()) >= 6)
    jobs = huey.jobs()[::-1]
    dues = [seconds(job.due_at) for job in jobs]
    assert dues == [dues[0] + n for n in range(len(jobs))]
    assert begun < dues[0] and dues[-1] <= now(huey)
    assert all(seconds(job.created_at) < seconds(job.due_at) + SOON for job in jobs)


@pytest.mark.long
def test_database_clock_that_jumps_forward_fires_one_missed_moment_and_takes_no_live_job_back(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, path: str
) -> None:
    """Test a jump like that of a machine that wakes from sleep. Consumers still renew leases and react to SIGTERM."""
    with moved_clock(huey.ledger.database) as clock:
        consumers = [start(schedules={"tick": "second"}, moved_clock=True) for _ in range(2)]
        handle = tasks.slow_at_first(path)
        wait_until(lambda: notes(Path(path)))
        sweeping = clock.now() + LEASE + 1  # by then both have renewed for a lease, so they may rescue jobs
        wait_until(lambda: clock.now() > sweeping)
        before = clock.now()
        clock.move(HOUR)
        after = clock.now() + LEASE + 1
        wait_until(lambda: clock.now() > after)
        assert (handle.state, handle.get_job().attempt, handle.get_job().losses) == (State.RUNNING, 1, 0)

        # If both consumers see the jump at once, each leaves the moment to the other for five seconds.
        wait_until(lambda: any(job.made_up for job in huey.jobs(limit=5000)))
        fires = [job for job in huey.jobs(limit=5000)[::-1] if job.due_at]
        dues = [seconds(job.due_at) for job in fires]
        (jump,) = [n for n, job in enumerate(fires) if job.made_up]
        assert dues[:jump] == [dues[0] + n for n in range(jump)]
        assert dues[jump:] == [dues[jump] + n for n in range(len(dues) - jump)]
        assert dues[jump - 1] <= before < before + HOUR - 1 < dues[jump]
        clock.move(HOUR)
        stopped = time.monotonic()
        for consumer in consumers:
            consumer.send(signal.SIGTERM)
        assert [consumer.wait() for consumer in consumers] == [0, 0]
        assert time.monotonic() - stopped < GRACE + 2
        assert (handle.state, handle.get_job().returns, handle.get_job().losses) == (State.QUEUED, 1, 0)


def now(huey: DurableHuey) -> float:
    """Return the time by the database's clock."""
    return huey.ledger.consumers.heartbeat("nobody", [], 0).now


def seconds(moment: datetime | None) -> float:
    assert moment is not None
    return moment.timestamp()
