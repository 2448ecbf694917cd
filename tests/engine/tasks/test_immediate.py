"""Immediate mode: a submit runs the job in this process, on a temporary ledger. Handles and states work as usual."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from huey import chord, group
from huey.exceptions import TaskException

from jobqueue import DurableHuey, JobNotFound, State, current_job
from tests.engine.conftest import HueyFactory
from tests.engine.consumers import work


@pytest.fixture
def huey(tmp_path: Path, make_huey: HueyFactory) -> DurableHuey:
    huey = make_huey(database_url=f"sqlite:///{tmp_path}/var/jobs.sqlite", secret_key=None)
    huey.immediate = True
    return huey


def test_job_has_run_when_its_submit_returns(huey: DurableHuey) -> None:
    handle = huey.task(name="add")(lambda a, b: a + b)(1, 2)
    assert (handle(), handle.state, handle.get_job().args) == (3, State.SUCCEEDED, (1, 2))
    assert huey.job(handle.id).get(blocking=True) == 3
    assert [job.id for job in huey.jobs()] == [handle.id]


def test_failure_is_raised_by_the_handle_not_by_the_submit(huey: DurableHuey) -> None:
    @huey.task(retries=1)
    def fails() -> None:
        raise ValueError("a")

    handle = fails()
    assert (handle.state, handle.get_job().attempt, handle.get_job().error) == (State.FAILED, 2, "ValueError: a")
    with pytest.raises(TaskException, match="a"):
        handle()


def test_pipelines_and_chords_run_to_their_end(huey: DurableHuey) -> None:
    add = huey.task(name="add")(lambda *args: sum(args))
    total = huey.task(name="total")(sum)
    assert huey.enqueue(add.s(1).then(add, 10).then(add, 100))() == [1, 11, 111]
    assert huey.enqueue(chord([add.s(i) for i in range(4)], total.s()))() == 6
    assert huey.enqueue(group([add.s(i) for i in range(2)]))() == [0, 1]
    assert huey.enqueue(chord([chord([add.s(1), add.s(2)], total.s()), add.s(3)], total.s()))() == 6


def test_job_can_use_the_result_of_a_job_that_it_submits(huey: DurableHuey) -> None:
    child = huey.task(name="child")(lambda number: [current_job().owner, number, current_job().id])

    @huey.task()
    def parent() -> Any:
        owner, number, child_id = child(1)()
        assert current_job().id != child_id
        return [owner, number, current_job().step("a", lambda: child(2)()[1])]

    assert parent.using(owner="ann")()() == ["ann", 1, 2]
    assert len(huey.jobs()) == 3


def test_submits_of_several_threads_return_after_their_own_job(huey: DurableHuey) -> None:
    task = huey.task(name="task")(lambda: time.sleep(0.01))
    states: list[State] = []

    def submit() -> None:
        for _ in range(5):
            states.append(task().state)

    threads = [threading.Thread(target=submit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert states == [State.SUCCEEDED] * 20


def test_delayed_job_waits_in_immediate_mode(huey: DurableHuey) -> None:
    ran: list[int] = []
    handle = huey.task(name="task")(ran.append).schedule((1,), delay=60)
    assert (handle.state, ran) == (State.SCHEDULED, [])
    assert handle.cancel()


def test_steps_and_progress_are_stored_as_on_a_worker(huey: DurableHuey) -> None:
    ran: list[int] = []

    def fit() -> int:
        ran.append(1)
        return 3

    @huey.task(retries=1)
    def task() -> Any:
        current_job().progress(1, 2, "first")
        value = current_job().step("a", fit)
        if current_job().attempt == 1:
            raise ValueError
        return value

    handle = task()
    assert (handle(), ran, handle.progress) == (3, [1], (1, 2, "first"))


def test_manual_retry_runs_immediately(huey: DurableHuey) -> None:
    left = [ValueError()]

    @huey.task()
    def task() -> int:
        if left:
            raise left.pop()
        return 3

    handle = task()
    assert handle.state is State.FAILED
    assert handle.retry()
    assert handle() == 3


@pytest.mark.empty_database
def test_immediate_mode_writes_nothing_to_disk(huey: DurableHuey, tmp_path: Path) -> None:
    huey.task(name="task")(lambda: 1)()()
    assert list(tmp_path.iterdir()) == []


def test_leaving_immediate_mode_returns_to_the_real_ledger(huey: DurableHuey, make_huey: HueyFactory) -> None:
    task = huey.task(name="task")(lambda: 1)
    before = task()
    huey.immediate = False
    with pytest.raises(JobNotFound):
        huey.job(before.id)
    after = task()
    assert (after.state, after()) == (State.QUEUED, None)
    other = make_huey(database_url=huey.database_url, secret_key=None)  # signed with the real key
    other.task(name="task")(lambda: 1)
    work(other)
    assert after() == 1


def test_immediate_mode_from_the_start(make_huey: HueyFactory) -> None:
    huey = make_huey(immediate=True)
    assert huey.task(name="task")(lambda: 1)()() == 1
