"""Tests of old and new code running together: each consumer claims only jobs whose task its code knows."""

import signal
import statistics
from pathlib import Path
from types import SimpleNamespace

import pytest
from huey import chord
from huey.utils import Error

from jobqueue import DurableHuey, State
from jobqueue.consumer.asking import IDLE
from tests.engine.consumers import wait_until
from tests.faults.conftest import StartConsumer
from tests.faults.fault_jobs import notes

UNKNOWN_AFTER = 2.5  # seconds


@pytest.mark.parametrize("started_first", ["the one that lacks it", "the one that knows it"])
def test_consumer_leaves_unknown_tasks_to_one_that_knows_them(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, started_first: str
) -> None:
    """Test old code that lacks a new task, and new code that lacks a removed one."""
    lacking = {"workers": 2, "lacks": ["quick"]}
    kinds = [lacking, {}] if started_first == "the one that lacks it" else [{}, lacking]
    pids = [start(**kind).pid for kind in kinds]
    knows = pids[kinds.index({})]
    waited = []
    for number in range(10):
        handle = tasks.quick(number)
        assert handle.get(blocking=True, timeout=5) == number
        job = handle.get_job()
        assert (claimed_by(huey, job.id), job.attempt) == (knows, 1)
        assert job.claimed_at is not None
        waited.append((job.claimed_at - job.created_at).total_seconds())
    print("waited: ", *(f"{seconds:.2f}" for seconds in waited))
    assert statistics.median(waited) < IDLE / 2  # a notification started it, not an idle worker's poll


def test_job_of_an_unknown_task_fails_with_a_reason(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, path: str
) -> None:
    start(lacks=["quick"], unknown_after_s=UNKNOWN_AFTER)
    first, follower = huey.enqueue(tasks.quick.s(1).then(tasks.collect, path))
    callback = huey.enqueue(chord([tasks.member.s(1, 0), tasks.quick.s(2)], tasks.collect.s(path)))
    assert callback.get(blocking=True, timeout=10) == [1, Error.__name__]
    wait_until(lambda: follower.state.ended)
    for state, handle in ((State.FAILED, first), (State.CANCELLED, follower)):
        job = handle.get_job()
        assert job.state is state
        assert f"No worker knew its task for {UNKNOWN_AFTER:g} s" in job.error
        assert job.ended_at is not None
        assert UNKNOWN_AFTER <= (job.ended_at - job.created_at).total_seconds() < 2 * UNKNOWN_AFTER + 2
    assert len(notes(Path(path))) == 1

    start()  # code that knows the task
    assert first.retry()
    assert first.get(blocking=True, timeout=5) == 1
    assert follower.state is not State.CANCELLED


def test_job_waits_while_the_consumer_that_knows_its_task_is_busy(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, path: str, go: Path
) -> None:
    start(unknown_after_s=UNKNOWN_AFTER)
    tasks.waits(path, str(go))
    wait_until(lambda: notes(Path(path)))
    start(lacks=["quick"], unknown_after_s=UNKNOWN_AFTER)
    handle = tasks.quick(1)
    due = now(huey) + 2.5 * UNKNOWN_AFTER
    wait_until(lambda: now(huey) > due)
    assert handle.state is State.QUEUED
    go.touch()
    assert handle.get(blocking=True, timeout=5) == 1


@pytest.mark.parametrize("how", ["stopped", pytest.param("killed", marks=pytest.mark.long)])
def test_unknown_task_times_out_after_its_last_consumer_is_gone(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, path: str, go: Path, how: str
) -> None:
    """Test that the time for which the job had waited for a free worker before does not count."""
    knows = start(unknown_after_s=UNKNOWN_AFTER, grace_s=0.1)
    tasks.waits(path, str(go))
    wait_until(lambda: notes(Path(path)))
    start(lacks=["quick", "waits"], unknown_after_s=UNKNOWN_AFTER)
    handle = tasks.quick(1)
    due = now(huey) + UNKNOWN_AFTER
    wait_until(lambda: now(huey) > due)
    gone = now(huey)
    if how == "killed":
        knows.kill_all()
    else:
        knows.send(signal.SIGTERM)
        assert knows.wait() == 0
    wait_until(lambda: handle.state is State.FAILED)
    job = handle.get_job()
    assert job.ended_at is not None
    # A killed consumer was last seen at its last renewal.
    assert gone + UNKNOWN_AFTER - 1 <= job.ended_at.timestamp() < gone + 2 * UNKNOWN_AFTER + 3
    assert "No worker knew its task" in job.error


def test_old_consumer_runs_a_job_whose_error_handler_it_does_not_know(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, path: str
) -> None:
    start(lacks=["told"])
    works = huey.enqueue(tasks.quick.s(1).error(tasks.told, path))
    assert works.get(blocking=True, timeout=5) == 1
    fails = huey.enqueue(tasks.crashing.s("", True, path).error(tasks.told, path))
    wait_until(lambda: fails.state.ended)
    assert "so that a handler is called" in fails.get_job().error
    start()
    wait_until(lambda: [words[0] for words in notes(Path(path))] == ["ran", "told"])


def claimed_by(huey: DurableHuey, job_id: str) -> int:
    """Return the process id of the consumer that claimed a job."""
    row = huey.ledger.reading.job(job_id)
    assert row is not None
    (pid,) = [consumer["pid"] for consumer in huey.ledger.consumers.all() if consumer["id"] == row["consumer"]]
    return int(pid)


def now(huey: DurableHuey) -> float:
    """Return the time by the database's clock."""
    return huey.ledger.consumers.heartbeat("nobody", [], 0).now
