"""A running job is cancelled wherever it is, and the worker's next job does not feel it."""

import random
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from jobqueue import DurableHuey, State
from tests.faults.conftest import StartConsumer
from tests.faults.fault_jobs import notes
from tests.jobqueue.consumers import alive, wait_until


@pytest.mark.parametrize("how", ["in Python", "swallowing exceptions", "with progress"])
def test_a_cancelled_job_is_interrupted_and_its_worker_goes_on(
    start: StartConsumer, tasks: SimpleNamespace, path: str, how: str
) -> None:
    consumer = start()
    handle = tasks.stubborn(how, path)
    wait_until(lambda: notes(Path(path)))
    ((*_, pid),) = notes(Path(path))
    assert handle.cancel()
    following = tasks.undisturbed(0.3)
    assert following.get(blocking=True, timeout=2) == "undisturbed"
    assert consumer.worker_pids() == [int(pid)]
    job = handle.look()
    assert (job.state, job.attempt, job.error) == (State.CANCELLED, 1, "Cancelled.")
    assert len(notes(Path(path))) == 1


def test_a_job_that_does_not_hear_is_killed_after_the_grace_and_not_rescued(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, path: str
) -> None:
    consumer = start(workers=2)
    handles = [tasks.stubborn(how, path) for how in ("in a call of C", "with all signals blocked")]
    wait_until(lambda: len(notes(Path(path))) == 2)
    workers = consumer.worker_pids()
    assert all(handle.cancel() for handle in handles)
    following = [tasks.undisturbed(0.3) for _ in range(2)]
    wait_until(lambda: not any(alive(pid) for pid in workers), timeout=8)
    assert [handle.get(blocking=True, timeout=5) for handle in following] == ["undisturbed"] * 2
    for handle in handles:
        job = handle.look()
        assert (job.state, job.attempt, job.losses) == (State.CANCELLED, 1, 0)
    assert len(notes(Path(path))) == 2


def test_in_a_thread_a_job_is_cancelled_at_its_next_progress(
    start: StartConsumer, tasks: SimpleNamespace, path: str
) -> None:
    start(worker_type="thread")
    handle = tasks.stubborn("with progress", path)
    wait_until(lambda: notes(Path(path)))
    assert handle.cancel()
    assert tasks.undisturbed(0.1).get(blocking=True, timeout=3) == "undisturbed"
    assert handle.state is State.CANCELLED


def test_a_cancel_that_comes_as_the_job_ends_never_hits_the_next_one(
    start: StartConsumer, tasks: SimpleNamespace
) -> None:
    consumer = start()
    workers = consumer.worker_pids()
    dice = random.Random(1)
    outcomes = []
    for _ in range(25):
        handle, following = tasks.undisturbed(0.05), tasks.undisturbed(0.08)
        wait_until(lambda handle=handle: handle.state is not State.QUEUED)  # type: ignore[misc]
        time.sleep(dice.uniform(0.02, 0.07))  # about when it ends
        cancelled = handle.cancel()
        outcomes.append(cancelled)
        assert following.get(blocking=True, timeout=5) == "undisturbed"
        assert handle.state is (State.CANCELLED if cancelled else State.SUCCEEDED)
    assert set(outcomes) == {True, False}  # else the moments were badly chosen
    assert consumer.worker_pids() == workers
