"""Signals, hooks and context tasks, as Huey documents them."""

from collections.abc import Callable
from typing import Any

import pytest
from huey import signals
from huey.api import Huey
from huey.exceptions import CancelExecution, RetryTask, TaskException

from jobqueue import DurableHuey, State
from tests.engine.consumers import work


def fail() -> None:
    raise ValueError("a")


def cancel() -> None:
    raise CancelExecution("a")


def succeed() -> int:
    return 3


def locked(huey: Huey) -> Callable[[], int]:
    huey.lock_task("report").acquire()
    return huey.lock_task("report")(succeed)


def limited(huey: Huey) -> Callable[[], int]:
    limit = huey.rate_limit("quotes", limit=0, per=1)

    @limit
    def task() -> int:
        return 3

    return task


def asks_again() -> Callable[[], int]:
    left = [RetryTask()]

    def task() -> int:
        if left:
            raise left.pop()
        return 3

    return task


# what a task does -> the signals of its job, in order
SIGNALS: dict[str, tuple[Callable[[Huey], Any], dict[str, Any], list[str]]] = {
    "succeeds": (lambda huey: succeed, {}, ["enqueued", "executing", "complete"]),
    "fails": (lambda huey: fail, {}, ["enqueued", "executing", "error"]),
    "fails twice": (
        lambda huey: fail,
        {"retries": 1},
        ["enqueued", "executing", "error", "retrying", "enqueued", "executing", "error"],
    ),
    "asks for another try": (
        lambda huey: asks_again(),
        {},
        ["enqueued", "executing", "retrying", "enqueued", "executing", "complete"],
    ),
    "cancels itself": (lambda huey: cancel, {}, ["enqueued", "executing", "canceled"]),
    "expired": (lambda huey: succeed, {"expires": -1}, ["enqueued", "expired"]),
    "is locked out": (locked, {}, ["enqueued", "executing", "locked"]),
    "fails, to be tried later": (
        lambda huey: fail,
        {"retries": 1, "retry_delay": 60},
        ["enqueued", "executing", "error", "retrying", "scheduled"],
    ),
    "is over its limit": (
        limited,
        {"retry_delay": 60},
        ["enqueued", "executing", "rate-limited", "retrying", "scheduled"],
    ),
}


@pytest.mark.parametrize("what", SIGNALS)
def test_signals_are_sent_in_order(any_huey: Huey, what: str) -> None:
    make, options, story = SIGNALS[what]
    heard: list[str] = []
    any_huey.signal()(lambda signal, task, *args: heard.append(signal))
    any_huey.task(name="task", **options)(make(any_huey))()
    work(any_huey)
    assert heard == story


def test_delayed_job_sends_the_scheduled_signal(any_huey: Huey) -> None:
    heard: list[str] = []
    any_huey.signal()(lambda signal, task, *args: heard.append(signal))
    any_huey.task(name="task")(succeed).schedule(delay=60)
    work(any_huey)
    assert heard == ["enqueued", "scheduled"]


def test_revoked_job_sends_a_signal(any_huey: Huey) -> None:
    heard: list[str] = []
    any_huey.signal(signals.SIGNAL_REVOKED)(lambda signal, task, *args: heard.append(task.id))
    handle = any_huey.task(name="task")(succeed)()
    handle.revoke()
    work(any_huey)
    assert heard == [handle.id]


def test_receiver_gets_its_signals_until_it_is_disconnected(any_huey: Huey) -> None:
    heard: list[Any] = []

    @any_huey.signal(signals.SIGNAL_ERROR, signals.SIGNAL_COMPLETE)
    def receiver(signal: str, task: Any, error: Exception | None = None) -> None:
        heard.append((signal, type(error)))

    task = any_huey.task(name="task")(fail)
    task()
    work(any_huey)
    any_huey.disconnect_signal(receiver)
    task()
    work(any_huey)
    assert heard == [("error", ValueError)]


def test_failing_receiver_does_not_affect_the_job(any_huey: Huey) -> None:
    any_huey.signal()(lambda signal, task, *args: fail())
    handle = any_huey.task(name="task")(succeed)()
    work(any_huey)
    assert handle() == 3


def test_receiver_of_complete_sees_no_result_but_can_submit(huey: DurableHuey) -> None:
    """The end, the result and the submitted jobs are one transaction."""
    seen: list[Any] = []
    after = huey.task(name="after")(lambda: seen.append("after"))
    task = huey.task(name="task")(succeed)

    @huey.signal(signals.SIGNAL_COMPLETE)
    def receiver(signal: str, done: Any) -> None:
        if done.name == "task":
            after()
            seen.append((huey.job(done.id).state, huey.pending_count()))

    handle = task()
    work(huey)
    assert seen == [(State.RUNNING, 0), "after"]
    assert handle() == 3


# --- hooks ---


def test_hooks_run_around_each_attempt(any_huey: Huey) -> None:
    calls: list[Any] = []

    @any_huey.pre_execute()
    def before(task: Any) -> None:
        calls.append(("before", task.args))

    @any_huey.post_execute()
    def after(task: Any, value: Any, error: Exception | None) -> None:
        calls.append(("after", value, type(error)))

    def task(divisor: int) -> float:
        return 6 / divisor

    divide = any_huey.task()(task)
    divide(2), divide(0)
    work(any_huey)
    assert calls == [
        ("before", (2,)),
        ("after", 3.0, type(None)),
        ("before", (0,)),
        ("after", None, ZeroDivisionError),
    ]
    assert any_huey.unregister_pre_execute(before)
    assert any_huey.unregister_post_execute("after")
    divide(1)
    work(any_huey)
    assert len(calls) == 4


def test_hook_can_cancel_a_job_before_it_runs(any_huey: Huey) -> None:
    ran: list[Any] = []
    heard: list[str] = []
    any_huey.signal()(lambda signal, task, *args: heard.append(signal))

    @any_huey.pre_execute()
    def refuse(task: Any) -> None:
        if task.args == (2,):
            raise CancelExecution

    task = any_huey.task(name="task")(ran.append)
    task(1), task(2)
    work(any_huey)
    assert ran == [1]
    assert heard[-2:] == ["executing", "canceled"]


def test_failing_hook_does_not_affect_the_job(any_huey: Huey) -> None:
    any_huey.pre_execute("before")(lambda task: fail())
    any_huey.post_execute("after")(lambda task, value, error: fail())
    handle = any_huey.task(name="task")(succeed)()
    work(any_huey)
    assert handle() == 3


def test_job_that_a_hook_cancels_ends_as_cancelled(huey: DurableHuey) -> None:
    huey.pre_execute("refuse")(lambda task: cancel())
    handle = huey.task(name="task")(succeed)()
    work(huey)
    assert (handle.state, handle.get_job().error) == (State.CANCELLED, "Cancelled before it ran.")
    with pytest.raises(TaskException, match="cancelled"):
        handle.get(blocking=True, timeout=1)


# --- context ---


def test_context_task_gets_itself_as_an_argument(any_huey: Huey) -> None:
    @any_huey.task(context=True, retries=1, retry_delay=0, priority=3)
    def inspect(number: int, task: Any = None) -> Any:
        if task.retries:
            raise ValueError("once")
        return [task.id, task.retries, task.priority, task.args, number]

    handle = inspect(5)
    work(any_huey)
    handle.reset()
    assert handle() == [handle.id, 0, 3, (5,), 5]


def test_task_with_a_timeout_knows_the_remaining_time(any_huey: Huey) -> None:
    @any_huey.task(context=True, timeout=60)
    def look(task: Any = None) -> Any:
        return [50 < task.time_remaining <= 60, task.is_timed_out]

    handle = look()
    work(any_huey)
    assert handle() == [True, False]


def test_context_manager_surrounds_each_run(any_huey: Huey) -> None:
    calls: list[str] = []

    class Session:
        def __enter__(self) -> str:
            calls.append("enter")
            return "session"

        def __exit__(self, *exc: object) -> None:
            calls.append("exit")

    @any_huey.context_task(Session(), as_argument=True)
    def save(session: str, value: int) -> Any:
        calls.append(session)
        return value

    handle = save(3)
    work(any_huey)
    assert (handle(), calls) == (3, ["enter", "session", "exit"])


def test_task_name_cannot_be_registered_twice(any_huey: Huey) -> None:
    any_huey.task(name="task")(succeed)
    with pytest.raises(ValueError, match="same identifier"):
        any_huey.task(name="task")(succeed)
