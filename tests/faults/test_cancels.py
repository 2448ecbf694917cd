"""Tests that a running job can be cancelled in any code, and that the cancel does not affect the worker's next job."""

import random
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from jobqueue import DurableHuey, JobHandle, State
from jobqueue.ledger.records import ERROR
from tests.engine.consumers import alive, wait_until
from tests.faults.conftest import StartConsumer, is_sound, wait_while_jobs_end
from tests.faults.fault_jobs import LONG, notes


@pytest.mark.parametrize("how", ["in Python", "swallowing exceptions", "with progress"])
def test_cancelled_job_is_interrupted_and_its_worker_continues(
    start: StartConsumer, tasks: SimpleNamespace, path: str, how: str
) -> None:
    consumer = start()
    handle = tasks.hard_to_cancel(how, path)
    wait_until(lambda: notes(Path(path)))
    ((*_, pid),) = notes(Path(path))
    assert handle.cancel()
    following = tasks.undisturbed(0.3)
    assert following.get(blocking=True, timeout=2) == "undisturbed"
    assert consumer.worker_pids() == [int(pid)]
    job = handle.get_job()
    assert (job.state, job.attempt, job.error) == (State.CANCELLED, 1, "Cancelled.")
    assert len(notes(Path(path))) == 1


def test_cancelled_job_that_ignores_interrupts_is_killed_and_not_requeued(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, path: str
) -> None:
    consumer = start(workers=2)
    handles = [tasks.hard_to_cancel(how, path) for how in ("in a call of C", "with all signals blocked")]
    wait_until(lambda: len(notes(Path(path))) == 2)
    workers = consumer.worker_pids()
    assert all(handle.cancel() for handle in handles)
    following = [tasks.undisturbed(0.3) for _ in range(2)]
    wait_until(lambda: not any(alive(pid) for pid in workers), timeout=8)
    assert [handle.get(blocking=True, timeout=5) for handle in following] == ["undisturbed"] * 2
    for handle in handles:
        job = handle.get_job()
        assert (job.state, job.attempt, job.losses) == (State.CANCELLED, 1, 0)
    assert len(notes(Path(path))) == 2


def test_job_in_a_thread_is_cancelled_at_its_next_progress(
    start: StartConsumer, tasks: SimpleNamespace, path: str
) -> None:
    start(worker_type="thread")
    handle = tasks.hard_to_cancel("with progress", path)
    wait_until(lambda: notes(Path(path)))
    assert handle.cancel()
    assert tasks.undisturbed(0.1).get(blocking=True, timeout=3) == "undisturbed"
    assert handle.state is State.CANCELLED


CANCELS = 1000
AT_ONCE = 25  # jobs that are submitted together
SHORTEST, LONGEST = 0.0, 0.06  # seconds that a job takes
KINDS = ["short"] * 6 + ["follows", "delayed", "retried", "long"]


@pytest.mark.long
def test_a_thousand_cancels_stop_only_the_cancelled_jobs(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, dice: random.Random
) -> None:
    consumer = start(workers=2)
    workers = consumer.worker_pids()
    seen: set[State] = set()
    cancelled: dict[str, bool] = {}  # by name; False if the job had already ended
    others: list[JobHandle] = []
    for first in range(0, CANCELS, AT_ONCE):
        meant = []
        for number in range(first, first + AT_ONCE):
            meant.append(submit(f"{dice.choice(KINDS)} {number}", huey, tasks, dice))
            if number % 8 == 0:
                others.append(tasks.undisturbed(dice.uniform(SHORTEST, LONGEST)))
        for handle in dice.sample(meant, AT_ONCE):
            time.sleep(dice.choice([0, dice.uniform(SHORTEST, LONGEST)]))  # a random moment
            seen.add(handle.state)
            cancelled[handle.id] = handle.cancel()
    wait_while_jobs_end(huey)

    assert seen == set(State) - {State.FAILED, State.CANCELLED}
    assert len(cancelled) == CANCELS
    assert {name for name, was in cancelled.items() if not was and name.startswith("long")} == set()
    for name, was in cancelled.items():
        assert huey.get_job(name).state is (State.CANCELLED if was else State.SUCCEEDED)
        kept = huey.ledger.reading.result(name)
        assert kept is not None
        assert (kept["media_type"] in (None, ERROR)) if was else (huey.result(name) == name)
    assert [handle() for handle in others] == ["undisturbed"] * len(others)
    before = [job for job in huey.jobs(task=tasks.lasts, limit=2 * CANCELS) if job.id not in cancelled]
    assert {job.state for job in before} == {State.SUCCEEDED}
    assert consumer.worker_pids() == workers  # none had to be killed
    assert is_sound(huey)


def submit(name: str, huey: DurableHuey, tasks: SimpleNamespace, dice: random.Random) -> JobHandle:
    """Submit a job to cancel. The name begins with its kind."""
    kind = name.partition(" ")[0]
    seconds = LONG if kind == "long" else dice.uniform(SHORTEST, LONGEST)
    job = tasks.lasts.s(
        name, seconds, id=name, delay=0.2 if kind == "delayed" else None, retries=1 if kind == "retried" else 0
    )
    if kind == "follows":
        huey.enqueue(tasks.lasts.s("", dice.uniform(SHORTEST, LONGEST)).then(job))
        return huey.job(name)
    return huey.enqueue(job)
