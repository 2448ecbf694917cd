"""Calls as Huey documents them, on its own storage and on the ledger: results, times, priorities, revocations, lists."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from huey.api import Huey
from huey.exceptions import ResultTimeout

from jobqueue import DurableHuey, JobNotFound, State
from tests.engine.conftest import HueyFactory
from tests.engine.consumers import work

SOON = 0.15  # seconds


class Spy:
    """A record of the calls, in order."""

    def __init__(self) -> None:
        self.runs: list[Any] = []

    def __call__(self, value: Any = None) -> Any:
        self.runs.append(value)
        return value


@pytest.fixture
def spy() -> Spy:
    return Spy()


@pytest.fixture
def note(any_huey: Huey, spy: Spy) -> Any:
    """Return a task that records its argument and returns it."""

    @any_huey.task()
    def note(value: Any = None) -> Any:
        return spy(value)

    return note


# --- results ---


@pytest.mark.parametrize("value", [3, 0, "", [], {"a": (1, 2)}, {1, 2}, 1.5, b"x", datetime(2020, 1, 1)])
def test_call_returns_a_handle_with_the_result(any_huey: Huey, note: Any, value: Any) -> None:
    handle = note(value)
    assert (handle(), handle.is_ready()) == (None, False)
    work(any_huey)
    assert handle.is_ready()
    assert handle() == handle.get() == value


def test_positional_and_named_arguments_arrive(any_huey: Huey) -> None:
    @any_huey.task()
    def call(*args: Any, **kwargs: Any) -> Any:
        return [list(args), kwargs]

    handle = call(1, None, x={"y": 2})
    work(any_huey)
    assert handle() == [[1, None], {"x": {"y": 2}}]


def test_decorated_function_can_be_called_locally(note: Any, spy: Spy) -> None:
    assert note.call_local(5) == note.func(5) == 5
    assert spy.runs == [5, 5]


def test_blocking_get_returns_when_the_job_has_ended(any_huey: Huey, note: Any) -> None:
    handle = note(3)
    worker = threading.Timer(SOON, work, [any_huey])
    worker.start()
    assert handle.get(blocking=True, timeout=5) == 3
    worker.join()


def test_blocking_get_raises_at_its_timeout(note: Any) -> None:
    with pytest.raises(ResultTimeout):
        note(3).get(blocking=True, timeout=0.05)


def test_timeout_of_a_blocking_get_names_the_jobs_state(huey: DurableHuey) -> None:
    with pytest.raises(ResultTimeout, match="it is queued, attempt 0"):
        huey.task(name="nothing")(lambda: None)().get(blocking=True, timeout=0.05)
    with pytest.raises(JobNotFound):
        huey.job("nobody").get(blocking=True, timeout=0.05)


def test_timeout_of_a_blocking_get_can_revoke_the_job(any_huey: Huey, note: Any, spy: Spy) -> None:
    handle = note(3)
    with pytest.raises(ResultTimeout):
        handle.get(blocking=True, timeout=0.05, revoke_on_timeout=True)
    work(any_huey)
    assert spy.runs == []


def test_result_is_found_by_the_jobs_id(any_huey: Huey, note: Any) -> None:
    handle = note(3)
    assert any_huey.result(handle.id) is None
    work(any_huey)
    assert any_huey.result(handle.id, preserve=True) == any_huey.result(handle.id) == 3
    assert any_huey.result("an unknown id") is None


def test_blocking_get_returns_for_a_job_without_a_result(huey: DurableHuey) -> None:
    @huey.task()
    def nothing() -> None:
        pass

    handle = nothing()
    work(huey)
    assert handle.get(blocking=True, timeout=0.5) is None
    assert handle.is_ready()


def test_reading_a_result_never_removes_it(huey: DurableHuey) -> None:
    @huey.task()
    def three() -> int:
        return 3

    handle = three()
    work(huey)
    assert [huey.result(handle.id) for _ in range(3)] == [3, 3, 3]
    assert huey.result_count() == 1


def test_map_runs_the_task_once_for_each_item(any_huey: Huey) -> None:
    @any_huey.task()
    def add(a: int, b: int = 10) -> int:
        return a + b

    handles = add.map([1, (2, 3)])
    work(any_huey)
    assert handles() == handles.get(blocking=True, timeout=1) == [11, 5]
    assert sorted(handles.as_completed()) == [5, 11]
    assert (handles[0], len(handles)) == (11, 2)


def test_calls_return_and_store_nothing_if_results_are_disabled(make_any_huey: Callable[..., Huey]) -> None:
    huey = make_any_huey(results=False)
    ran = []

    @huey.task()
    def model() -> object:
        ran.append(1)
        return object()

    assert model() is None
    work(huey)
    assert ran == [1]
    assert huey.result_count() == 0


# --- priorities ---


def test_higher_priority_runs_first_and_equal_priorities_keep_their_order(any_huey: Huey, spy: Spy) -> None:
    @any_huey.task()
    def plain(value: str) -> None:
        spy(value)

    @any_huey.task(priority=10)
    def urgent(value: str) -> None:
        spy(value)

    plain("a")
    plain("low", priority=-5)
    urgent("first")
    plain("b")
    urgent("second")
    plain("top", priority=99)
    plain("c", priority=0)
    work(any_huey)
    assert spy.runs == ["top", "first", "second", "a", "b", "c", "low"]


# --- times ---


def local(delta: float) -> datetime:
    return datetime.now() + timedelta(seconds=delta)  # noqa: DTZ005  (Huey's naive times are local)


LATER: dict[str, Callable[[Any, float], Any]] = {
    "schedule(delay=)": lambda task, s: task.schedule((1,), delay=s),
    "schedule(delay=timedelta)": lambda task, s: task.schedule((1,), delay=timedelta(seconds=s)),
    "schedule(delay first)": lambda task, s: task.schedule(s),
    "schedule(timedelta first)": lambda task, s: task.schedule(timedelta(seconds=s)),
    "schedule(eta=aware)": lambda task, s: task.schedule((1,), eta=datetime.now(UTC) + timedelta(seconds=s)),
    "schedule(kwargs)": lambda task, s: task.schedule(kwargs={"value": 1}, delay=s),
    "call(delay=)": lambda task, s: task(1, delay=s),
    "s(eta=)": lambda task, s: task.huey.enqueue(task.s(1, eta=datetime.now(UTC) + timedelta(seconds=s))),
}


@pytest.mark.parametrize("way", LATER)
def test_delayed_job_is_scheduled(any_huey: Huey, note: Any, spy: Spy, way: str) -> None:
    handle = LATER[way](note, 60)
    work(any_huey)
    assert (spy.runs, any_huey.scheduled_count(), any_huey.pending_count()) == ([], 1, 0)
    assert [task.id for task in any_huey.scheduled()] == [handle.id]


@pytest.mark.parametrize("way", LATER)
def test_delayed_job_runs_at_its_time(any_huey: Huey, note: Any, spy: Spy, way: str) -> None:
    started = time.monotonic()
    LATER[way](note, SOON)
    work(any_huey, until=lambda: spy.runs)
    assert time.monotonic() - started >= SOON - 0.01
    assert any_huey.scheduled_count() == 0


def test_naive_eta_is_local_time(any_huey: Huey, note: Any, spy: Spy) -> None:
    note.schedule(("past",), eta=local(-60))
    note.schedule(("future",), eta=local(60))
    work(any_huey)
    assert spy.runs == ["past"]


def test_delays_etas_and_expiries_work_in_local_time(make_any_huey: Callable[..., Huey], spy: Spy) -> None:
    huey = make_any_huey(utc=False)

    @huey.task()
    def note(value: str) -> None:
        spy(value)

    note.schedule(("naive",), eta=local(-60))
    note.schedule(("aware",), eta=datetime.now(UTC) + timedelta(seconds=SOON))
    note.schedule(("later",), delay=60)
    note("in time", expires=local(60))
    note("too late", expires=local(-60))
    work(huey, until=lambda: len(spy.runs) == 3)
    assert sorted(spy.runs) == ["aware", "in time", "naive"]


def test_schedule_without_a_time_is_refused(note: Any) -> None:
    with pytest.raises(ValueError, match="missing required eta= or delay="):
        note.schedule((1,))


EXPIRIES: dict[str, tuple[Callable[[], Any], bool]] = {
    "seconds to come": (lambda: 60, True),
    "a timedelta to come": (lambda: timedelta(minutes=1), True),
    "a moment to come": (lambda: local(60), True),
    "seconds gone": (lambda: -1, False),
    "a timedelta gone": (lambda: timedelta(seconds=-1), False),
    "a moment gone": (lambda: local(-1), False),
}


@pytest.mark.parametrize("expiry", EXPIRIES)
def test_expired_job_does_not_run(any_huey: Huey, note: Any, spy: Spy, expiry: str) -> None:
    expires, runs = EXPIRIES[expiry]
    note("x", expires=expires())
    work(any_huey)
    assert spy.runs == ["x"] * runs


# --- revocations ---


REVOCATIONS: dict[str, tuple[Callable[[Huey, Any, Any], Any], list[int]]] = {
    # how the first of two jobs, 1 and 2, is revoked -> which run
    "by its handle": (lambda huey, task, handle: handle.revoke(), [2]),
    "by its handle for good": (lambda huey, task, handle: handle.revoke(revoke_once=False), [2]),
    "by id": (lambda huey, task, handle: huey.revoke_by_id(handle.id), [2]),
    "by its task instance": (lambda huey, task, handle: huey.revoke(handle.task), [2]),
    "until a time to come": (lambda huey, task, handle: huey.revoke_by_id(handle.id, revoke_until=local(60)), [2]),
    "until a time gone": (lambda huey, task, handle: huey.revoke_by_id(handle.id, revoke_until=local(-60)), [1, 2]),
    "with all of its task": (lambda huey, task, handle: task.revoke(), []),
    "with all, once": (lambda huey, task, handle: task.revoke(revoke_once=True), [2]),
    "with all, until a time to come": (lambda huey, task, handle: task.revoke(revoke_until=local(60)), []),
    "with all, until a time gone": (lambda huey, task, handle: task.revoke(revoke_until=local(-60)), [1, 2]),
    "and restored": (lambda huey, task, handle: (handle.revoke(), handle.restore()), [1, 2]),
    "and restored by id": (lambda huey, task, handle: (handle.revoke(), huey.restore_by_id(handle.id)), [1, 2]),
    "and all restored": (lambda huey, task, handle: (task.revoke(), task.restore()), [1, 2]),
}


@pytest.mark.parametrize("how", REVOCATIONS)
def test_revoked_job_does_not_run_unless_it_is_restored(any_huey: Huey, note: Any, spy: Spy, how: str) -> None:
    revoke, runs = REVOCATIONS[how]
    first, _ = note(1), note(2)
    revoke(any_huey, note, first)
    assert any_huey.is_revoked(first.task) is (1 not in runs)
    work(any_huey)
    assert spy.runs == runs


def test_revoked_task_stays_revoked_until_it_is_restored(any_huey: Huey, note: Any, spy: Spy) -> None:
    note.revoke()
    for value in (1, 2):
        note(value)
        work(any_huey)
        assert (spy.runs, note.is_revoked()) == ([], True)
    assert note.restore()
    assert (note.restore(), note.is_revoked()) == (False, False)
    note(3)
    work(any_huey)
    assert spy.runs == [3]


def test_used_revocation_is_deleted(huey: DurableHuey) -> None:
    @huey.task()
    def task() -> None:
        pass

    handle = task()
    handle.revoke()
    work(huey)
    assert (handle.state, handle.get_job().error) == (State.CANCELLED, "Revoked before it ran.")
    assert not handle.is_revoked()
    assert huey.ledger.entries.all() == {}


def test_revocation_applies_to_a_scheduled_job(any_huey: Huey, note: Any, spy: Spy) -> None:
    note.schedule(("x",), delay=SOON).revoke()
    work(any_huey, until=lambda: not any_huey.scheduled_count())
    assert spy.runs == []


# --- reschedule ---


def test_rescheduled_job_runs_only_at_its_new_time(any_huey: Huey, note: Any, spy: Spy) -> None:
    first = note.schedule(("x",), delay=SOON)
    second = first.reschedule(delay=2 * SOON)
    assert second.id != first.id
    work(any_huey, until=second.is_ready)
    assert (spy.runs, second()) == (["x"], "x")


def test_job_rescheduled_without_a_time_runs_immediately(any_huey: Huey, note: Any, spy: Spy) -> None:
    note.schedule(("x",), delay=60).reschedule()
    work(any_huey)
    assert spy.runs == ["x"]


@pytest.mark.parametrize("first_to_run", ["the old", "the new"])
def test_jobs_after_a_rescheduled_job_follow_the_new_one(
    any_huey: Huey, note: Any, spy: Spy, first_to_run: str
) -> None:
    old, new = (0.0, SOON) if first_to_run == "the old" else (SOON, 0.0)
    first, _ = any_huey.enqueue(note.s("x", delay=old).then(note))
    first.reschedule(delay=new)
    work(any_huey, until=lambda: len(spy.runs) == 2 and not any_huey.scheduled_count())
    assert spy.runs == ["x", "x"]


# --- lists and flushes ---


def test_pending_and_scheduled_jobs_are_listed_and_counted(any_huey: Huey, note: Any) -> None:
    later = [note.schedule((i,), delay=60) for i in range(2)]
    work(any_huey)  # stock Huey schedules in the worker
    queued = [note(i) for i in range(3)]
    assert [task.id for task in any_huey.pending()] == [handle.id for handle in queued]
    assert [task.args for task in any_huey.pending(limit=1)] == [(0,)]
    assert {task.id for task in any_huey.scheduled()} == {handle.id for handle in later}
    assert (any_huey.pending_count(), len(any_huey), any_huey.scheduled_count()) == (3, 3, 2)


def test_flush_leaves_no_jobs(any_huey: Huey, note: Any, spy: Spy) -> None:
    done = note("done")
    work(any_huey)
    note("queued")
    note.schedule(("later",), delay=60)
    any_huey.flush()
    work(any_huey)
    assert spy.runs == ["done"]
    assert (len(any_huey), any_huey.scheduled_count(), any_huey.result_count()) == (0, 0, 0)
    assert any_huey.result(done.id) is None


def test_tasks_share_keys_and_values(any_huey: Huey) -> None:
    assert any_huey.get("key") is None
    any_huey.put("key", {"a": 1})
    assert any_huey.get("key", peek=True) == {"a": 1}
    assert any_huey.get("key") == {"a": 1}
    assert any_huey.get("key") is None
    assert any_huey.put_if_empty("once", 1)
    assert not any_huey.put_if_empty("once", 2)
    assert any_huey.delete("once")
    assert not any_huey.delete("once")


def test_message_put_into_the_storage_becomes_a_job(huey: DurableHuey) -> None:
    @huey.task()
    def double(value: int) -> int:
        return 2 * value

    now, later = double.s(1), double.s(2)
    huey.storage.enqueue(huey.serialize_task(now), 5)
    huey.storage.add_to_schedule(huey.serialize_task(later), datetime(2096, 1, 1))  # noqa: DTZ001
    assert huey.job(now.id).get_job().priority == 5
    assert huey.job(later.id).state is State.SCHEDULED
    message = huey.storage.dequeue()
    assert message is not None
    assert huey.deserialize_task(message).id == now.id


def test_second_huey_on_the_same_database_is_the_same_queue(huey: DurableHuey, make_huey: HueyFactory) -> None:
    def task() -> int:
        return 3

    handle = huey.task(name="shared")(task)()
    worker = make_huey()
    worker.task(name="shared")(task)
    work(worker)
    assert handle() == 3
