"""Steps and progress of a job, and the inert job outside a worker."""

import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest

from jobqueue import ClaimLost, DurableHuey, ResultNotEncodable, State, current_job
from jobqueue.execution.current_job import PROGRESS_INTERVAL, CurrentJob, working_for
from tests.engine.consumers import environment, work


def test_attempt_gets_step_values_that_an_earlier_attempt_saved(huey: DurableHuey) -> None:
    ran: list[str] = []

    def fit(name: str, *, power: int) -> Any:
        ran.append(name)
        return {"weights": np.full(2, power), "name": name}

    @huey.task(retries=1)
    def analyse() -> Any:
        job = current_job()
        first = job.step("fit:1", fit, "one", power=3)
        if job.attempt == 1:
            raise ValueError("in between")
        second = job.step("fit:2", fit, "two", power=4)
        return [first["weights"].tolist(), second["weights"].tolist()]

    handle = analyse()
    work(huey)
    assert handle() == [[3, 3], [4, 4]]
    assert ran == ["one", "two"]


def test_steps_survive_a_dead_worker_a_release_and_a_manual_retry(huey: DurableHuey) -> None:
    ran: list[int] = []

    @huey.task()
    def analyse() -> int:
        job = current_job()
        job.step("once", ran.append, job.attempt)
        if job.attempt == 1:
            raise ValueError
        return job.attempt

    handle = analyse()
    work(huey)
    handle.retry()
    for let_go in (lambda: huey.ledger.consumers.mark_worker_lost("c", "w"), lambda: huey.ledger.release("c")):
        assert huey.claim("c", "w") is not None
        let_go()
    work(huey)
    assert (handle(), ran) == (4, [1])


def test_step_returns_the_decoded_value_the_first_time_too(huey: DurableHuey) -> None:
    seen: list[Any] = []
    made: list[Any] = []

    def make() -> list[int]:
        made.append([1, 2])
        return made[-1]

    @huey.task(retries=1)
    def analyse() -> None:
        seen.append(current_job().step("a", make))
        raise ValueError

    analyse()
    work(huey)
    assert seen == [[1, 2], [1, 2]]
    assert seen[0] is not made[0]
    assert len(made) == 1


def test_step_name_used_twice_in_an_attempt_is_an_error(huey: DurableHuey) -> None:
    @huey.task()
    def analyse() -> None:
        current_job().step("fit", int)
        current_job().step("fit", int)

    handle = analyse()
    work(huey)
    assert handle.get_job().error.startswith("ValueError: The step name 'fit' is used twice in this job.")


@pytest.mark.parametrize("name", [1, ("window", 1), None])
def test_step_name_that_is_not_text_is_refused_or_found_on_retry(huey: DurableHuey, name: Any) -> None:
    ran: list[int] = []

    @huey.task(retries=1)
    def analyse() -> None:
        job = current_job()
        try:
            job.step(name, ran.append, job.attempt)
        except (TypeError, ValueError) as refusal:
            ran.append(1)
            assert "text" in str(refusal)
            return
        assert job.attempt > 1, "again, please"

    handle = analyse()
    work(huey)
    assert (handle.state, ran) == (State.SUCCEEDED, [1])


def test_failed_step_runs_again(huey: DurableHuey) -> None:
    ran: list[int] = []

    def fit() -> int:
        ran.append(1)
        if len(ran) == 1:
            raise ValueError
        return 3

    handle = huey.task(name="analyse", retries=1)(lambda: current_job().step("fit", fit))()
    work(huey)
    assert (handle(), len(ran)) == (3, 2)


def test_step_value_that_cannot_be_stored_fails_the_job_without_retry(huey: DurableHuey) -> None:
    handle = huey.task(name="analyse", retries=3)(lambda: current_job().step("fit", object))()
    work(huey)
    job = handle.get_job()
    assert (job.state, job.attempt) == (State.FAILED, 1)
    assert "builtins.object" in job.error


def test_steps_run_in_threads_of_the_task(huey: DurableHuey) -> None:
    @huey.task()
    def analyse() -> int:
        job = current_job()
        threads = [threading.Thread(target=job.step, args=(f"fit:{i}", int, i)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return len(huey.ledger.attempts.step_names(str(job.id)))

    handle = analyse()
    work(huey)
    assert handle() == 8


# --- progress ---


def test_progress_is_written_at_most_twice_a_second(huey: DurableHuey) -> None:
    seen: list[Any] = []

    @huey.task()
    def count() -> None:
        job = current_job()
        look = huey.job(str(job.id))
        for i in range(200):
            job.progress(i, 200)
            if not seen or look.progress != seen[-1]:
                seen.append(look.progress)

    count()
    work(huey)
    assert seen[0] == (0, 200, "")
    assert len(seen) <= 3  # of 200 reports: the first, and one for each half second


def test_withheld_progress_is_written_with_the_next_step(huey: DurableHuey) -> None:
    seen: list[Any] = []

    @huey.task()
    def count() -> None:
        job = current_job()
        job.progress(0, 2, "first")
        job.progress(1, 2, "second")
        waited = threading.Event()
        job.step("long", lambda: waited.wait(PROGRESS_INTERVAL) or 1)
        seen.append(huey.job(str(job.id)).progress)

    count()
    work(huey)
    assert seen == [(1, 2, "second")]


@pytest.mark.parametrize("fails", [False, True])
def test_last_progress_is_written_with_the_end(huey: DurableHuey, fails: bool) -> None:
    @huey.task()
    def count() -> None:
        for i in range(12):
            current_job().progress(i + 1, 12, f"window {i + 1}")
        if fails:
            raise ValueError

    handle = count()
    work(huey)
    assert handle.progress == (12, 12, "window 12")


def test_lost_claim_raises_an_exception_that_except_exception_does_not_catch(huey: DurableHuey) -> None:
    told: list[str] = []

    @huey.task()
    def long() -> None:
        job = current_job()
        huey.ledger.cancel(str(job.id))
        for tell in (lambda: job.progress(1, 2), lambda: job.step("a", int)):
            try:
                tell()
            except Exception:
                told.append("swallowed")
            except ClaimLost as lost:
                told.append(type(lost).__mro__[1].__name__)

    handle = long()
    work(huey)
    assert told == ["KeyboardInterrupt"] * 2
    assert handle.state is State.CANCELLED
    assert huey.ledger.attempts.step_names(handle.id) == set()


# --- outside a worker ---


@pytest.mark.empty_database
def test_task_called_directly_has_an_inert_job(huey: DurableHuey) -> None:
    def plain() -> list[int]:
        job = current_job()
        values = [job.step(f"fit:{i}", lambda i=i: i) for i in range(3)]
        job.progress(3, 3, "done")
        assert (job.id, job.owner, job.attempt) == (None, None, 1)
        with pytest.raises(ValueError, match="'fit:1' is used twice"):
            job.step("fit:1", int)
        with pytest.raises(ResultNotEncodable):
            job.step("model", object)
        return values

    task = huey.task()(plain)
    assert task.call_local() == task.func() == [0, 1, 2]
    assert huey.ledger.database.path is None or not huey.ledger.database.path.exists()


def test_progress_of_an_inert_job_goes_to_its_report_function() -> None:
    shown: list[Any] = []
    with working_for(CurrentJob(report=lambda *args: shown.append(args))):
        current_job().progress(1, 2, "fetching")
    current_job().progress(2, 2)
    assert shown == [(1, 2, "fetching")]


def test_current_job_is_the_inner_one_then_the_outer_one_again() -> None:
    outer, inner = CurrentJob(), CurrentJob()
    with working_for(outer):
        with pytest.raises(LookupError), working_for(inner):
            assert current_job() is inner
            raise LookupError
        assert current_job() is outer


def test_thread_of_a_task_has_no_current_job(huey: DurableHuey) -> None:
    ids: list[Any] = []

    @huey.task()
    def task() -> None:
        thread = threading.Thread(target=lambda: ids.append(current_job().id))
        thread.start()
        thread.join()

    task()
    work(huey)
    assert ids == [None]


def test_notebook_shows_a_progress_bar() -> None:
    script = (
        "import sys; sys.modules['ipykernel'] = sys\n"
        "from jobqueue import current_job\n"
        "for i in range(3): current_job().progress(i + 1, 3, 'fitting')"
    )
    run = subprocess.run([sys.executable, "-c", script], env=environment(), capture_output=True, text=True, timeout=30)
    assert run.returncode == 0, run.stderr
    assert "fitting" in run.stderr
    assert "3/3" in run.stderr
    assert run.stdout == ""
