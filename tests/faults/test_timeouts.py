"""Tests that timeouts and cancels end only their own job and break nothing, at any moment, even during ledger calls."""

import random
import statistics
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from huey import group

from jobqueue import DurableHuey, State
from tests.engine.consumers import ConsumerProcess, wait_until
from tests.faults.conftest import StartConsumer, all_have_ended, is_sound, wait_while_jobs_end
from tests.faults.fault_jobs import Endless, notes

FIRINGS = 1000
SHORTEST = 0.0005  # seconds


def test_a_thousand_timeouts_leave_no_job_running_and_no_connection_broken(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, dice: random.Random
) -> None:
    consumer = start(workers=2)
    workers = consumer.worker_pids()
    longest = 2 * submits_within(huey, tasks)
    before = len(huey.jobs(task=tasks.quick, limit=FIRINGS))
    huey.enqueue(group([tasks.hammer.s(i, timeout=dice.uniform(SHORTEST, longest)) for i in range(FIRINGS)]))
    wait_while_jobs_end(huey)

    hammers = huey.jobs(task=tasks.hammer, limit=FIRINGS)
    assert {job.state for job in hammers} == {State.FAILED}
    assert [huey.get_job(job.id).traceback for job in hammers if not job.error.startswith("Timed out: ")] == []
    assert {(job.attempt, job.losses) for job in hammers} == {(1, 0)}
    submitted = huey.jobs(task=tasks.quick, limit=10 * FIRINGS)
    assert {job.state for job in submitted} == {State.SUCCEEDED}
    assert len(submitted) - before > FIRINGS / 10  # enough jobs ran until their submit
    assert not any(huey.is_locked(f"lock:{i}") for i in range(0, FIRINGS, 50))

    assert_all_is_well(huey, consumer, workers, tasks)


def submits_within(huey: DurableHuey, tasks: SimpleNamespace) -> float:
    """Return the seconds that a hammer takes on this machine until its first submit. Run a few, with other numbers, for that."""
    took = []
    for number in range(FIRINGS, FIRINGS + 5):
        hammer = huey.enqueue(tasks.hammer.s(number, timeout=0.3))
        wait_until(lambda: all_have_ended(huey))
        began = hammer.get_job().claimed_at
        submitted = [job.created_at - began for job in huey.jobs(task=tasks.quick, limit=FIRINGS)]
        took.append(min(after.total_seconds() for after in submitted if after.total_seconds() > 0))
    return statistics.median(took)


def test_timeout_at_the_end_of_a_job_gives_either_a_success_or_a_timeout(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace
) -> None:
    consumer = start(workers=2)
    workers = consumer.worker_pids()
    dice = random.Random(7)
    jobs = [tasks.brief.s(0.003, timeout=dice.uniform(0.0025, 0.0055)) for _ in range(400)]
    results = huey.enqueue(group(jobs))
    wait_while_jobs_end(huey)
    ended = [handle.get_job() for handle in results]
    assert {job.state for job in ended} == {State.SUCCEEDED, State.FAILED}
    for handle, job in zip(results, ended, strict=True):
        if job.state is State.SUCCEEDED:
            assert (handle(), job.error) == ([0.003] * 50, "")
        else:
            assert job.error.startswith("Timed out: ")
    assert_all_is_well(huey, consumer, workers, tasks)


@pytest.mark.parametrize("how", ["in a destructor", "in a loop that swallows exceptions"])
def test_swallowed_timeout_is_repeated(start: StartConsumer, tasks: SimpleNamespace, how: str) -> None:
    start()
    handle = tasks.hard_to_time_out(how)
    wait_until(lambda: handle.state.ended)
    assert handle.get_job().error.startswith("Timed out: ")
    assert tasks.undisturbed(0.1).get(blocking=True, timeout=5) == "undisturbed"


@pytest.mark.parametrize("storage", ["sqlite"], indirect=True)
@pytest.mark.parametrize("where", ["a coroutine", "another coroutine", "a callback"])
def test_async_task_is_timed_out_and_cancelled_as_any_other(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, tmp_path: Path, where: str
) -> None:
    consumer = start()
    workers = consumer.worker_pids()
    late = huey.enqueue(tasks.awaits.s(where, str(tmp_path / "late"), timeout=0.3))
    wait_until(lambda: late.state.ended)
    assert late.get_job().error == "Timed out: it ran longer than its timeout of 0.3 s."
    unwanted = tasks.awaits(where, str(tmp_path / "unwanted"))
    wait_until(lambda: (tmp_path / "unwanted").exists())
    unwanted.cancel()
    assert tasks.undisturbed(0.1).get(blocking=True, timeout=10) == "undisturbed"
    assert unwanted.state is State.CANCELLED
    for name in ("late", "unwanted"):
        noted = [word for word, _ in notes(tmp_path / name)]
        assert noted == (["began"] if where == "a callback" else ["began", "cleaned"])
    assert consumer.worker_pids() == workers


def test_timeout_in_an_uninterruptible_call_ends_the_process_and_is_retried(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace
) -> None:
    consumer = start(workers=2)
    workers = consumer.worker_pids()
    handles = [huey.enqueue(tasks.hard_to_time_out.s("in a call of C", retries=retries)) for retries in (0, 1)]
    wait_until(lambda: all(handle.state.ended for handle in handles), timeout=10)
    failed, retried = (handle.get_job() for handle in handles)
    assert (failed.state, failed.attempt, failed.losses) == (State.FAILED, 1, 0)
    assert failed.error == "Timed out: the attempt exceeded its timeout in a call that could not be interrupted."
    assert (retried.state, retried.attempt, retried.losses) == (State.SUCCEEDED, 2, 0)
    wait_until(lambda: len(pids := consumer.worker_pids()) == 2 and not {*pids} & {*workers})


def test_job_whose_arguments_never_unpickle_fails(start: StartConsumer, tasks: SimpleNamespace) -> None:
    consumer = start(environ={"READ_WITHIN": "0.3"})
    workers = consumer.worker_pids()
    handle = tasks.undisturbed(Endless())
    wait_until(lambda: handle.state.ended)
    job = handle.get_job()
    assert (job.state, job.attempt, job.losses) == (State.FAILED, 1, 0)
    assert job.error == (
        "The job's message cannot be read, so it did not run: Its arguments were not unpickled within 0.3 s."
    )
    assert tasks.undisturbed(0.1).get(blocking=True, timeout=5) == "undisturbed"
    assert consumer.worker_pids() == workers


def test_job_can_be_cancelled_while_its_arguments_are_unpickled(start: StartConsumer, tasks: SimpleNamespace) -> None:
    consumer = start()
    workers = consumer.worker_pids()
    handle = tasks.undisturbed(Endless())
    wait_until(lambda: handle.state is State.RUNNING)
    assert handle.cancel()
    assert tasks.undisturbed(0.1).get(blocking=True, timeout=5) == "undisturbed"
    assert (handle.state, consumer.worker_pids()) == (State.CANCELLED, workers)


def test_cancels_during_ledger_calls_end_the_job_and_break_nothing(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace
) -> None:
    consumer = start(workers=2)
    workers = consumer.worker_pids()
    dice = random.Random(7)
    for i in range(15):
        handles = [tasks.hammer(2 * i), tasks.hammer(2 * i + 1)]
        wait_until(lambda handles=handles: all(handle.state is State.RUNNING for handle in handles))  # type: ignore[misc]
        time.sleep(dice.uniform(0, 0.02))  # a random moment
        assert all(handle.cancel() for handle in handles)
    assert {job.state for job in huey.jobs(task=tasks.hammer)} == {State.CANCELLED}
    wait_while_jobs_end(huey)
    assert not any(huey.is_locked(f"lock:{i}") for i in range(30))
    assert_all_is_well(huey, consumer, workers, tasks)


def assert_all_is_well(
    huey: DurableHuey, consumer: ConsumerProcess, workers: list[int], tasks: SimpleNamespace
) -> None:
    """Assert that the same workers run more jobs and that the database is intact."""
    assert consumer.worker_pids() == workers
    more = [tasks.undisturbed(0.05) for _ in range(8)]
    assert [handle.get(blocking=True, timeout=5) for handle in more] == ["undisturbed"] * 8
    assert is_sound(huey)
