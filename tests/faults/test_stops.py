"""Tests of stop signals.

After SIGTERM, SIGINT or SIGHUP, running jobs get the grace period and are then released. Releases do not count as
losses. SIGQUIT gives no grace period.
"""

import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from jobqueue import DurableHuey, State
from tests.engine.consumers import alive, wait_until
from tests.faults.conftest import GRACE, StartConsumer
from tests.faults.fault_jobs import notes

TICK = 0.001  # seconds, the resolution of SQLite's clock


@pytest.mark.parametrize("times", [1, 10])
def test_job_longer_than_the_grace_period_is_released_and_ends_in_the_next_consumer(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, path: str, times: int
) -> None:
    consumer = start()
    handle = tasks.slow_at_first(path)
    wait_until(lambda: notes(Path(path)))
    workers = consumer.worker_pids()
    begun, told = time.monotonic(), time.time()
    for _ in range(times):
        consumer.send(signal.SIGTERM)
        time.sleep(0.01)  # one at a time, because equal pending signals merge
    leases = set()
    while consumer.process.poll() is None:
        leases.add(moment(huey, handle.id, "lease_until"))
        time.sleep(0.02)
    took = time.monotonic() - begun
    assert consumer.process.returncode == 0
    assert GRACE <= took < GRACE + 2
    assert GRACE - TICK <= (moment(huey, handle.id, "queued_at") or 0) - told < GRACE + 1
    assert len(leases - {None}) >= 3  # the lease is renewed each half second
    job = handle.get_job()
    assert (job.state, job.returns, job.losses, job.attempt) == (State.QUEUED, 1, 0, 1)
    assert not any(alive(pid) for pid in workers)
    assert huey.ledger.consumers.all() == []
    start()
    assert handle.get(blocking=True, timeout=5) == 2


def moment(huey: DurableHuey, job_id: str, column: str) -> float | None:
    """Return one of a job's times, in seconds since the epoch."""
    with huey.ledger.database.statement() as tx:
        row = tx.one(f"SELECT {column} FROM jobs WHERE id = :id", id=job_id)
    assert row is not None
    return row[column]


@pytest.mark.parametrize("worker_type", ["process", "thread"])
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_stopping_consumer_lets_short_jobs_end_and_starts_no_other(
    start: StartConsumer, tasks: SimpleNamespace, path: str, worker_type: str, signum: int
) -> None:
    consumer = start(worker_type=worker_type)
    handle = tasks.slow_at_first(path, seconds=0.8)
    wait_until(lambda: notes(Path(path)))
    waiting = tasks.quick(1)
    consumer.send(signum)
    assert consumer.wait() == 0
    assert (handle(), handle.get_job().returns, waiting.state) == (1, 0, State.QUEUED)


def test_job_in_a_thread_is_released_after_the_grace_period_too(
    start: StartConsumer, tasks: SimpleNamespace, path: str
) -> None:
    consumer = start(worker_type="thread", grace_s=0.5)
    handle = tasks.slow_at_first(path)
    wait_until(lambda: notes(Path(path)))
    consumer.send(signal.SIGTERM)
    assert consumer.wait(5) == 0
    assert (handle.state, handle.get_job().returns, handle.get_job().losses) == (State.QUEUED, 1, 0)


def test_an_idle_consumer_stops_at_once(start: StartConsumer, tasks: SimpleNamespace) -> None:
    consumer = start(workers=2)
    begun = time.monotonic()
    consumer.send(signal.SIGTERM)
    assert consumer.wait() == 0
    assert time.monotonic() - begun < 1.5


def test_second_sigint_ends_the_grace_period(start: StartConsumer, tasks: SimpleNamespace, path: str) -> None:
    consumer = start(grace_s=60)
    handle = tasks.slow_at_first(path)
    wait_until(lambda: notes(Path(path)))
    consumer.send(signal.SIGINT)
    wait_until(lambda: "stops" in consumer.log.read_text())
    assert consumer.process.poll() is None
    consumer.send(signal.SIGINT)
    assert consumer.wait(3) == 0
    assert (handle.state, handle.get_job().returns) == (State.QUEUED, 1)


@pytest.mark.parametrize("worker_type", ["process", "thread"])
@pytest.mark.parametrize("while_draining", [False, True])
def test_sigquit_releases_running_jobs_at_once(
    start: StartConsumer, tasks: SimpleNamespace, path: str, worker_type: str, while_draining: bool
) -> None:
    """Send it to all processes, as a terminal does."""
    consumer = start(worker_type=worker_type, grace_s=60)
    handle = tasks.slow_at_first(path)
    wait_until(lambda: notes(Path(path)))
    if while_draining:
        consumer.send(signal.SIGTERM)
        wait_until(lambda: "stops" in consumer.log.read_text())
    os.killpg(consumer.pid, signal.SIGQUIT)
    assert consumer.wait(3) == 0
    assert (handle.state, handle.get_job().returns, handle.get_job().losses) == (State.QUEUED, 1, 0)


@pytest.mark.parametrize("storage", ["postgres"], indirect=True)  # SQLite takes no claim while the release is written
@pytest.mark.parametrize("worker_type", ["process", "thread"])
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGQUIT])
def test_job_claimed_while_the_consumer_releases_its_jobs_is_released_too(
    start: StartConsumer, tasks: SimpleNamespace, path: str, tmp_path: Path, worker_type: str, signum: int
) -> None:
    claims, releases = tmp_path / "claims", tmp_path / "releases"
    moments = {"claiming": ("waits", str(claims)), "RELEASE_CONSUMER": ("waits", str(releases))}
    consumer = start(workers=2, worker_type=worker_type, grace_s=0.3, at=moments)
    wait_until(claims.exists)  # one worker waits, and the other runs the first job
    first = tasks.slow_at_first(path)
    wait_until(lambda: notes(Path(path)))
    second = tasks.slow_at_first(f"{path} of the second", priority=1)  # it comes before the first when that is released
    consumer.send(signum)
    wait_until(releases.exists)
    go(claims)
    wait_until(lambda: second.state is State.RUNNING)
    go(releases)
    assert consumer.wait() == 0
    for job in (first.get_job(), second.get_job()):
        assert (job.state, job.attempt, job.returns, job.losses) == (State.QUEUED, 1, 1, 0)


def go(place: Path) -> None:
    """Let the process go on that waits at this place."""
    Path(f"{place}.go").touch()


def test_worker_that_dies_during_the_grace_period_loses_its_job_and_the_stop_continues(
    start: StartConsumer, tasks: SimpleNamespace, path: str
) -> None:
    consumer = start(grace_s=30)
    handle = tasks.slow_at_first(path)
    wait_until(lambda: notes(Path(path)))
    (worker,) = consumer.worker_pids()
    consumer.send(signal.SIGTERM)
    wait_until(lambda: "stops" in consumer.log.read_text())
    os.kill(worker, signal.SIGKILL)
    assert consumer.wait(3) == 0
    assert (handle.state, handle.get_job().losses, handle.get_job().returns) == (State.QUEUED, 1, 0)


def test_sighup_restarts_the_consumer_and_the_jobs_continue(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, path: str
) -> None:
    consumer = start(grace_s=0.3)
    handle = tasks.slow_at_first(path)
    wait_until(lambda: notes(Path(path)))
    (before,) = huey.ledger.consumers.all()
    consumer.send(signal.SIGHUP)
    assert handle.get(blocking=True, timeout=10) == 2
    (after,) = huey.ledger.consumers.all()
    assert (after["pid"], after["pid"]) == (before["pid"], consumer.pid)
    assert after["id"] != before["id"]


def test_signals_do_not_stop_a_worker_but_stop_its_children(
    start: StartConsumer, tasks: SimpleNamespace, path: str
) -> None:
    """Test signals that a terminal sends to all processes. Only the main process acts on them."""
    consumer = start()
    handle = tasks.undisturbed(0.5)
    wait_until(lambda: handle.state is State.RUNNING)
    (worker,) = consumer.worker_pids()
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
        os.kill(worker, signum)
    assert handle.get(blocking=True, timeout=5) == "undisturbed"
    pool = tasks.pool_of_processes(4)
    assert pool.get(blocking=True, timeout=8) == [0, 1, 4, 9]
    child = tasks.terminates_its_child()
    assert child.get(blocking=True, timeout=5) == -signal.SIGTERM
    assert consumer.worker_pids() == [worker]
