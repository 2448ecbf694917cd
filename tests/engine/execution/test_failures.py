"""Failed attempts: retries, their delays, the final result, and error handlers."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from huey.api import Huey
from huey.exceptions import CancelExecution, RetryTask, TaskException, TaskTimeout

from jobqueue import ClaimLost, DurableHuey, State, current_job
from jobqueue.execution.retry import JITTER, LONGEST_PAUSE
from tests.engine.conftest import HueyFactory
from tests.engine.consumers import work

PAUSE = 0.1  # seconds


def outcome(handle: Any) -> Any:
    """Return the result, or the error's text."""
    try:
        return handle.get()
    except TaskException as error:
        return str(error)


class Flaky:
    """Task that raises the given exceptions, one in each call, and then returns."""

    def __init__(self, *exceptions: Callable[[], BaseException] | BaseException) -> None:
        self.left = list(exceptions)
        self.times: list[float] = []

    def __call__(self) -> str:
        self.times.append(time.monotonic())
        if self.left:
            error = self.left.pop(0)
            raise error if isinstance(error, BaseException) else error()
        return "done"

    @property
    def calls(self) -> int:
        return len(self.times)

    @property
    def pauses(self) -> list[float]:
        return [after - before for before, after in zip(self.times, self.times[1:], strict=False)]


# How a task fails, and its options -> the number of calls, and the final result. Without pauses.
ATTEMPTS: dict[str, tuple[list[BaseException], dict[str, Any], int, str]] = {
    "no failure": ([], {}, 1, "done"),
    "once, no retries": ([ValueError("a")], {}, 1, "ValueError('a')"),
    "once, one retry": ([ValueError("a")], {"retries": 1}, 2, "done"),
    "twice, one retry": ([ValueError("a"), ValueError("b")], {"retries": 1}, 2, "ValueError('b')"),
    "twice, three retries": ([ValueError("a"), ValueError("b")], {"retries": 3}, 3, "done"),
    "asks for another try": ([RetryTask()], {}, 2, "done"),
    "asks twice for another try": ([RetryTask(), RetryTask()], {}, 3, "done"),
    "asking uses up no retries": ([RetryTask(), ValueError("a")], {"retries": 1}, 3, "done"),
    "cancels itself": ([CancelExecution("a")], {}, 1, "CancelExecution('a')"),
    "cancels itself, with retries": ([CancelExecution("a")], {"retries": 1}, 2, "done"),
    "cancels itself for good": ([CancelExecution("a", retry=False)], {"retries": 9}, 1, "CancelExecution('a')"),
    "cancels this try": ([CancelExecution("a", retry=True)], {}, 2, "done"),
    "takes too long": ([TaskTimeout("a")], {}, 1, "TaskTimeout('a')"),
    "takes too long, one retry": ([TaskTimeout("a")], {"retries": 1}, 2, "done"),
}


@pytest.mark.parametrize("case", ATTEMPTS)
def test_failed_attempt_is_retried_as_the_task_declares(any_huey: Huey, case: str) -> None:
    exceptions, options, calls, said = ATTEMPTS[case]
    flaky = Flaky(*exceptions)
    handle = any_huey.task(name="flaky", **options)(lambda: flaky())()
    work(any_huey)
    handle.reset()
    assert (flaky.calls, outcome(handle)) == (calls, said)


def test_options_of_a_call_override_options_of_the_task(any_huey: Huey) -> None:
    flaky = Flaky(ValueError(), ValueError())
    any_huey.task(name="flaky", retries=0)(lambda: flaky())(retries=2, retry_delay=0)
    work(any_huey)
    assert flaky.calls == 3


# options, exceptions -> the pauses between calls, in units of PAUSE
PAUSES: dict[str, tuple[dict[str, Any], list[Callable[[], BaseException]], list[float]]] = {
    "retry_delay": ({"retries": 2, "retry_delay": PAUSE}, [ValueError] * 2, [1, 1]),
    "retry_backoff": ({"retries": 2, "retry_delay": PAUSE, "retry_backoff": 2}, [ValueError] * 2, [1, 2]),
    "RetryTask(delay)": ({}, [lambda: RetryTask(delay=PAUSE)], [1]),
    "RetryTask(delay=0)": ({"retry_delay": 9}, [lambda: RetryTask(delay=0)], [0]),
    "RetryTask(delay=timedelta)": ({}, [lambda: RetryTask(delay=timedelta(seconds=PAUSE))], [1]),
    "RetryTask(eta)": ({}, [lambda: RetryTask(eta=datetime.now(UTC) + timedelta(seconds=PAUSE))], [1]),
    "RetryTask() and retry_delay": ({"retry_delay": PAUSE}, [RetryTask], [1]),
}


@pytest.mark.parametrize("case", PAUSES)
def test_pause_before_a_retry_is_as_requested(any_huey: Huey, case: str) -> None:
    options, exceptions, pauses = PAUSES[case]
    flaky = Flaky(*exceptions)
    handle = any_huey.task(name="flaky", **options)(lambda: flaky())()
    work(any_huey, until=lambda: flaky.calls == len(pauses) + 1)
    assert outcome(handle) == "done"
    for pause, expected in zip(flaky.pauses, pauses, strict=True):
        assert pause >= expected * PAUSE - 0.01


def test_job_waiting_for_a_retry_is_scheduled_and_shows_its_error(huey: DurableHuey) -> None:
    @huey.task(retries=1, retry_delay=60)
    def fails() -> None:
        raise ValueError("the market is closed")

    handle = fails()
    work(huey)
    job = handle.get_job()
    assert (job.state, job.attempt, job.error) == (State.SCHEDULED, 1, "ValueError: the market is closed")
    assert job.run_at is not None
    assert job.run_at - datetime.now(UTC) > timedelta(seconds=50)


def paused(huey: DurableHuey, job_id: str) -> float:
    """Run the job, which fails, and make its next attempt due now. Return the pause that it had, in seconds."""
    work(huey)
    with huey.ledger.database.statement() as tx:
        row = tx.one("SELECT run_at - queued_at AS pause FROM jobs WHERE id = :id", id=job_id)
        tx.run("UPDATE jobs SET run_at = 0 WHERE id = :id", id=job_id)
    assert row is not None
    return float(row["pause"])


def test_backoff_stops_growing_at_an_hour(huey: DurableHuey) -> None:
    @huey.task(retries=9, retry_delay=10, retry_backoff=10)
    def fails() -> None:
        raise ValueError

    handle = fails()
    for expected in (10, 100, 1000, LONGEST_PAUSE, LONGEST_PAUSE):
        assert expected <= paused(huey, handle.id) <= expected * (1 + JITTER)


def test_retry_delay_above_the_backoff_limit_stays_unchanged(huey: DurableHuey) -> None:
    @huey.task(retries=9, retry_delay=2 * LONGEST_PAUSE, retry_backoff=10)
    def fails() -> None:
        raise ValueError

    handle = fails()
    for _ in range(2):
        assert 2 * LONGEST_PAUSE <= paused(huey, handle.id) <= 2 * LONGEST_PAUSE * (1 + JITTER)


def test_jobs_that_failed_together_are_retried_at_different_times(huey: DurableHuey) -> None:
    @huey.task(retries=1, retry_delay=100)
    def fails() -> None:
        raise ValueError

    handles = [fails() for _ in range(20)]
    pauses = sorted(paused(huey, handle.id) for handle in handles)
    assert pauses[-1] - pauses[0] > 100 * JITTER / 4


@pytest.mark.parametrize("kept", [True, False])
def test_intermediate_errors_are_stored_if_enabled(make_any_huey: Callable[..., Huey], kept: bool) -> None:
    huey = make_any_huey(store_intermediate_errors=kept)
    handled: list[str] = []
    seen: list[Any] = []

    @huey.task(retries=1)
    def fails() -> None:
        seen.append(outcome(handle))
        raise ValueError("a")

    @huey.task()
    def on_error(error: Exception) -> None:
        handled.append(repr(error))

    handle = huey.enqueue(fails.s().error(on_error))
    work(huey)
    assert seen == [None, "ValueError('a')" if kept else None]
    handle.reset()
    assert outcome(handle) == "ValueError('a')"
    assert handled == ["ValueError('a')"] * (2 if kept else 1)


def test_error_is_a_sentence_with_a_traceback(any_huey: Huey) -> None:
    @any_huey.task()
    def fails() -> None:
        raise ValueError("a")

    handle = fails()
    work(any_huey)
    with pytest.raises(TaskException) as raised:
        handle.get(blocking=True, timeout=1)
    metadata = raised.value.metadata
    assert (metadata["error"], metadata["retries"], metadata["task_id"]) == ("ValueError('a')", 0, handle.id)
    assert "in fails" in metadata["traceback"]


# What an app's own `build_error_result` returns, beside what Huey's does.
AT = datetime(2026, 11, 29, 1, 30, tzinfo=UTC)
ADDED = {"host": "a", "at": AT, "tried": (1, 2), "more": {"more": 1}, b"key": None}


@pytest.mark.parametrize("whole", [True, False])
def test_what_an_overridden_build_error_result_adds_is_kept(
    any_huey: Huey, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    """It may also leave out what Huey's returns. Later tasks of the pipeline get the error of the task that failed."""
    usual = any_huey.build_error_result
    monkeypatch.setattr(
        any_huey, "build_error_result", lambda task, error: (usual(task, error) if whole else {"error": 7}) | ADDED
    )

    @any_huey.task()
    def fails() -> None:
        raise ValueError("a")

    @any_huey.task()
    def after(value: Any) -> None:
        pass

    handles = list(any_huey.enqueue(fails.s().then(after).then(after)))
    work(any_huey)
    for handle in handles:
        with pytest.raises(TaskException) as raised:
            handle.get()
        metadata = raised.value.metadata
        assert ADDED.items() <= metadata.items()
        assert metadata["error"] == ("ValueError('a')" if whole else 7)
        assert metadata.get("task_id") in (handles[0].id, None)
        if whole:
            assert "in fails" in metadata["traceback"]


@pytest.mark.parametrize("results", [True, False])
def test_unusable_build_error_result_does_not_change_how_the_job_ends(
    make_huey: HueyFactory, monkeypatch: pytest.MonkeyPatch, results: bool
) -> None:
    """It raises, returns no dict, or adds what no result may have."""
    huey = make_huey(results=results)

    @huey.task()
    def fails() -> None:
        raise ValueError("a")

    lock = threading.Lock()
    builds: list[Callable[..., Any]] = [lambda *_: 1 / 0, lambda *_: 7, lambda *_: {"error": "b", "lock": lock}]
    for build in builds:
        monkeypatch.setattr(huey, "build_error_result", build)
        fails()
        work(huey)
        job = huey.jobs()[0]
        assert (job.state, job.error, job.attempt, job.losses) == (State.FAILED, "ValueError: a", 1, 0)
    with pytest.raises(TaskException) as raised:
        huey.job(huey.jobs()[0].id).get()
    assert str(raised.value) == "b"
    assert "Not kept: result is a _thread.lock" in raised.value.metadata["lock"]


# --- error handlers ---


def test_error_handler_runs_once_per_failed_attempt_with_the_exception(any_huey: Huey) -> None:
    handled: list[Any] = []

    @any_huey.task(retries=2)
    def fails() -> None:
        raise ValueError("a")

    @any_huey.task()
    def on_error(name: str, error: Exception) -> None:
        handled.append((name, type(error), str(error)))

    any_huey.enqueue(fails.s().error(on_error, "desk"))
    work(any_huey)
    assert handled == [("desk", ValueError, "a")] * 3


def test_error_handlers_can_be_chained(any_huey: Huey) -> None:
    handled: list[str] = []

    @any_huey.task()
    def fails() -> None:
        raise ValueError("first")

    @any_huey.task()
    def fails_too(error: Exception) -> None:
        raise LookupError("second")

    @any_huey.task()
    def on_error(error: Exception) -> None:
        handled.append(str(error))

    any_huey.enqueue(fails.s().error(fails_too).error(on_error))
    work(any_huey)
    assert handled == ["second"]


def test_error_handler_of_a_group_runs_for_each_failed_member(any_huey: Huey) -> None:
    from huey import group

    handled: list[str] = []

    @any_huey.task()
    def fails(text: str) -> None:
        raise ValueError(text)

    @any_huey.task()
    def on_error(error: Exception) -> None:
        handled.append(str(error))

    any_huey.enqueue(group([fails.s("a"), fails.s("b")]).error(on_error))
    work(any_huey)
    assert sorted(handled) == ["a", "b"]


class Unpicklable(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


@pytest.mark.parametrize("retries", [0, 2])
def test_exception_that_cannot_be_pickled_fails_the_job_as_usual(huey: DurableHuey, retries: int) -> None:
    @huey.task(retries=retries)
    def fails() -> None:
        raise Unpicklable("no luck")

    handle = fails()
    work(huey)
    job = handle.get_job()
    assert (job.state, job.attempt, job.error) == (State.FAILED, retries + 1, "Unpicklable: no luck")
    assert "in fails" in job.traceback


@pytest.mark.parametrize("retries", [0, 2])
def test_job_ends_even_if_its_error_handler_cannot_get_the_exception(huey: DurableHuey, retries: int) -> None:
    @huey.task(retries=retries)
    def fails() -> None:
        raise Unpicklable("no luck")

    @huey.task()
    def on_error(error: Exception) -> None:
        raise AssertionError("never called")

    handle = huey.enqueue(fails.s().error(on_error))
    work(huey)
    job = handle.get_job()
    assert (job.state, job.attempt, job.error) == (State.FAILED, retries + 1, "Unpicklable: no luck")


# --- special cases ---


def raise_(error: BaseException) -> None:
    raise error


# what a task does -> the error. Each fails the attempt, which is retried.
ODD_ENDS: dict[str, tuple[Callable[[], object], str]] = {
    "sys.exit": (lambda: raise_(SystemExit(3)), "SystemExit(3)"),
    "interrupts itself": (lambda: raise_(KeyboardInterrupt()), "The task exited with KeyboardInterrupt()."),
    "asyncio cancels": (lambda: raise_(asyncio.CancelledError()), "CancelledError"),
    "no message": (lambda: raise_(ValueError()), "ValueError, without a message."),
    "a message that is not valid text": (lambda: raise_(ValueError("\ud800!")), "ValueError: "),
    "a wrong call": (lambda: len(), "TypeError: len() takes exactly one argument (0 given)"),  # type: ignore[call-arg]
    "no memory": (lambda: bytearray(2**62), "MemoryError, without a message."),
    "too deep": (lambda: eval("[" * 9999), ""),  # noqa: S307
}


@pytest.mark.parametrize("what", ODD_ENDS)
def test_any_failure_of_a_task_fails_its_attempt_and_the_worker_continues(
    huey: DurableHuey, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL + 1)  # pytest-xdist cannot report a log that is not valid text
    do, sentence = ODD_ENDS[what]
    handle = huey.task(name="odd", retries=1)(lambda: do())()
    work(huey)
    job = handle.get_job()
    assert (job.state, job.attempt, job.losses) == (State.FAILED, 2, 0)
    assert sentence in job.error
    assert isinstance(outcome(handle), str)


def test_result_that_cannot_be_stored_fails_the_job_without_retry(huey: DurableHuey) -> None:
    @huey.task(retries=5)
    def fit() -> object:
        return {"model": object()}

    handle = fit()
    work(huey)
    job = handle.get_job()
    assert (job.state, job.attempt) == (State.FAILED, 1)
    for word in ("result['model']", "builtins.object", "as a dict"):
        assert word in job.error
        assert word in outcome(handle)


def test_claim_lost_from_the_task_itself_fails_the_job_at_once(huey: DurableHuey) -> None:
    @huey.task(retries=9)
    def pretends() -> None:
        raise ClaimLost("so it says")

    handle = pretends()
    work(huey)
    job = handle.get_job()
    assert (job.state, job.attempt, job.losses) == (State.FAILED, 1, 0)
    assert job.error == outcome(handle) == "The task exited with ClaimLost('so it says')."


def test_job_of_an_unknown_task_waits_for_a_worker_that_knows_it(huey: DurableHuey, make_huey: HueyFactory) -> None:
    newer = make_huey().task(name="newer")(lambda: 3)
    handle = newer()
    work(huey)
    assert handle.state is State.QUEUED


def test_message_that_does_not_fit_its_task_fails_the_job_with_a_sentence(huey: DurableHuey) -> None:
    @huey.task(retries=3)
    def task(a: int) -> None:
        pass

    handle = task()
    work(huey)
    assert (handle.state, handle.get_job().attempt) == (State.FAILED, 4)
    assert "missing 1 required positional argument: 'a'" in handle.get_job().error


def test_timeout_in_a_thread_ends_the_attempt_at_its_next_progress(huey: DurableHuey) -> None:
    @huey.task(timeout=0.05, retries=1)
    def endless() -> None:
        while True:
            current_job().progress(1, 2)

    handle = endless()
    work(huey)
    job = handle.get_job()
    assert (job.state, job.attempt) == (State.FAILED, 2)
    assert "0.05 s" in job.error


def test_value_that_an_overridden_put_result_changes_is_kept(any_huey: Huey, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = any_huey.put_result

    def put_result(key: str, data: Any) -> Any:
        if isinstance(data, dict):
            data["kept"] = True
        return usual(key, data)

    monkeypatch.setattr(any_huey, "put_result", put_result)
    handle = any_huey.task()(lambda: {"value": 1})()
    work(any_huey)
    assert handle() == {"value": 1, "kept": True}


def test_job_fails_if_an_overridden_put_result_gives_what_cannot_be_kept(
    huey: DurableHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = huey.put_result
    monkeypatch.setattr(huey, "put_result", lambda key, data: usual(key, threading.Lock() if data == 1 else data))
    handle = huey.task(retries=3)(lambda: 1)()
    work(huey)
    job = handle.get_job()
    assert (job.state, job.attempt) == (State.FAILED, 1)
    assert "result is a _thread.lock" in job.error
