"""Handles: states, owners, cancel, manual retry, and lists of jobs."""

import dataclasses
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from huey import chord, group
from huey.exceptions import TaskException
from huey.utils import Error

from jobqueue import DurableHuey, Job, JobHandle, JobNotFound, Progress, State, Unreadable, current_job
from tests.engine.conftest import HueyFactory
from tests.engine.consumers import work


class World:
    """An outside service that is down until a test brings it up."""

    def __init__(self) -> None:
        self.up = False
        self.ran: list[Any] = []


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def fetch(huey: DurableHuey, world: World) -> Any:
    """Return a task that fails while the service is down, and otherwise returns its argument."""

    @huey.task()
    def fetch(value: Any, *more: Any) -> Any:
        world.ran.append(value)
        if not world.up:
            raise ConnectionError("the market does not answer")
        return value

    return fetch


@pytest.fixture
def collect(huey: DurableHuey, world: World) -> Any:
    @huey.task()
    def collect(values: list[Any]) -> list[Any]:
        world.ran.append(("collected", ["error" if isinstance(value, Error) else value for value in values]))
        return [str(value) for value in values]

    return collect


# --- reading jobs ---


def test_get_job_returns_everything_about_a_job(huey: DurableHuey, fetch: Any) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    handle = fetch.using(owner="ann")("AAPL", priority=3)
    queued = handle.get_job()
    assert (queued.id, queued.task, queued.name) == (handle.id, f"{__name__}.fetch", "fetch")
    assert (queued.state, queued.owner, queued.priority) == (State.QUEUED, "ann", 3)
    assert (queued.attempt, queued.losses, queued.returns, queued.error, queued.traceback) == (0, 0, 0, "", "")
    assert (queued.args, queued.kwargs, queued.progress) == (("AAPL",), {}, None)
    assert (queued.claimed_at, queued.ended_at, queued.worker, queued.run_at) == (None, None, None, None)
    work(huey)
    failed = handle.get_job()
    assert failed.ended_at is not None and failed.claimed_at is not None
    assert (
        before <= failed.created_at <= failed.claimed_at <= failed.ended_at <= datetime.now(UTC) + timedelta(seconds=1)
    )
    assert (failed.state, failed.attempt) == (State.FAILED, 1)
    assert failed.error == "ConnectionError: the market does not answer"
    assert "in fetch" in failed.traceback
    assert failed.worker
    with pytest.raises(dataclasses.FrozenInstanceError):
        failed.state = State.QUEUED


def test_handle_is_found_by_its_id_in_another_process(huey: DurableHuey, make_huey: HueyFactory, fetch: Any) -> None:
    handle = fetch(1)
    again = make_huey().job(handle.id)
    assert isinstance(again, JobHandle)
    assert (again.id, again.state, again.get_job()) == (handle.id, State.QUEUED, handle.get_job())


@pytest.mark.parametrize(
    "job_id", ["", "no-such-job", "x" * 100_000, "\0", "\ud800", "'; DROP TABLE jobs; --", "%", "é", None, 3]
)
def test_unknown_id_raises_job_not_found(huey: DurableHuey, fetch: Any, job_id: Any) -> None:
    fetch(1)
    for ask in (huey.job, huey.get_job):
        with pytest.raises(JobNotFound):
            ask(job_id)
    assert len(huey.jobs()) == 1
    assert issubclass(JobNotFound, LookupError)


def test_handle_of_a_deleted_job_raises_job_not_found(huey: DurableHuey) -> None:
    from huey.api import Task

    handle = JobHandle(huey, Task(id="gone"))
    for ask in (handle.get_job, lambda: handle.state, lambda: handle.progress):
        with pytest.raises(JobNotFound, match="gone"):
            ask()
    assert (handle.get(), handle.cancel(), handle.retry()) == (None, False, False)


LISTS: dict[str, tuple[Callable[[Any], dict[str, Any]], list[int]]] = {
    "all, newest first": (lambda task: {}, [4, 3, 2, 1, 0]),
    "of a task": (lambda task: {"task": task}, [4, 2, 0]),
    "of a task by its name": (lambda task: {"task": f"{__name__}.fetch"}, [4, 2, 0]),
    "in a state": (lambda task: {"state": State.QUEUED}, [4, 3]),
    "in a state by its name": (lambda task: {"state": "failed"}, [2, 0]),
    "of an owner": (lambda task: {"owner": "ann"}, [2, 1, 0]),
    "some": (lambda task: {"limit": 2}, [4, 3]),
    "of all three": (lambda task: {"task": task, "state": State.FAILED, "owner": "ann"}, [2, 0]),
    "none": (lambda task: {"owner": "nobody"}, []),
}


@pytest.mark.parametrize("which", LISTS)
def test_jobs_are_listed(huey: DurableHuey, fetch: Any, which: str) -> None:
    other = huey.task(name="other")(lambda value: value)
    for i in range(5):
        task = fetch if i % 2 == 0 else other
        task.using(owner="ann" if i < 3 else "bob")(i)
        if i == 2:
            work(huey)
    wanted, found = LISTS[which]
    jobs = huey.jobs(**wanted(fetch))
    assert [job.args[0] for job in jobs] == found
    assert all(isinstance(job, Job) and job.traceback == "" for job in jobs)


def test_only_arguments_are_unreadable_under_another_key(make_huey: HueyFactory, fetch: Any) -> None:
    job = make_huey(secret_key="another").get_job(fetch(1).id)
    assert job.state is State.QUEUED
    with pytest.raises(Unreadable, match=f"{job.id}.*signature"):
        _ = job.args


# --- owners ---


SUBMITS: dict[str, Callable[[Any], Any]] = {
    "call": lambda task: task(1),
    "schedule": lambda task: task.schedule((1,), delay=60),
    "map": lambda task: task.map([1, 2]),
}


@pytest.mark.parametrize("way", SUBMITS)
def test_every_way_to_submit_takes_an_owner(huey: DurableHuey, fetch: Any, way: str) -> None:
    SUBMITS[way](fetch.using(owner="ann"))
    assert {job.owner for job in huey.jobs()} == {"ann"}
    SUBMITS[way](fetch)
    assert {job.owner for job in huey.jobs()} == {"ann", None}


def test_following_job_belongs_to_the_owner_of_the_first(huey: DurableHuey, fetch: Any, collect: Any) -> None:
    huey.enqueue(fetch.using(owner="ann").s(1).then(fetch).then(fetch))
    assert [job.owner for job in huey.jobs()] == ["ann"] * 3


def test_task_in_a_pipeline_can_have_its_own_owner(huey: DurableHuey, fetch: Any) -> None:
    huey.enqueue(fetch.using(owner="ann").s(1).then(fetch.using(owner="bob").s(2)))
    assert [(job.args, job.owner) for job in huey.jobs()] == [((2,), "bob"), ((1,), "ann")]


def test_job_submitted_by_a_job_has_the_same_owner(huey: DurableHuey) -> None:
    child = huey.task(name="child")(lambda *args: None)
    handler = huey.task(name="handler")(lambda *args: None)

    @huey.task()
    def parent() -> None:
        child()
        huey.enqueue(group([child.s(), child.s()]).then(child))
        child.using(owner="bob")()
        raise ValueError("and its error handler too")

    huey.enqueue(parent.using(owner="ann").s().error(handler))
    work(huey)
    owners = [(job.name, job.owner) for job in reversed(huey.jobs())]
    assert owners.count(("child", "ann")) == 4
    assert owners.count(("child", "bob")) == 1
    assert ("handler", "ann") in owners


@pytest.mark.parametrize("by", ["its handle", "its id"])
def test_rescheduled_job_differs_only_in_its_time(huey: DurableHuey, fetch: Any, by: str) -> None:
    handle = fetch.using(owner="ann").schedule((1,), delay=60, priority=7, retries=2, expires=3600)
    again = (handle if by == "its handle" else huey.job(handle.id)).reschedule(delay=120)
    old, new = handle.get_job(), again.get_job()
    assert (new.args, new.owner, new.priority, new.task) == (old.args, old.owner, old.priority, old.task)
    assert (old.state, new.state) == (State.CANCELLED, State.SCHEDULED)
    assert old.run_at is not None and new.run_at is not None
    assert (new.run_at - old.run_at).total_seconds() == pytest.approx(60, abs=2)


def test_rescheduled_chord_member_takes_the_old_ones_place(
    huey: DurableHuey, fetch: Any, collect: Any, world: World
) -> None:
    world.up = True
    result = huey.enqueue(chord([fetch.s(1, delay=60), fetch.s(2)], collect.s()))
    next(iter(result.results)).reschedule(delay=0)
    work(huey)
    assert result() == ["1", "2"]


# --- cancel ---


def test_waiting_job_is_cancelled_with_its_followers(huey: DurableHuey, fetch: Any, world: World) -> None:
    world.up = True
    first, second, third = huey.enqueue(fetch.s(1).then(fetch, 2).then(fetch, 3))
    assert second.cancel()
    assert [handle.state for handle in (first, second, third)] == [State.QUEUED, State.CANCELLED, State.CANCELLED]
    work(huey)
    assert (first.state, second.state, world.ran) == (State.SUCCEEDED, State.CANCELLED, [1])


@pytest.mark.parametrize("state", [State.QUEUED, State.SCHEDULED])
def test_job_that_has_not_started_is_cancelled_immediately(
    huey: DurableHuey, fetch: Any, world: World, state: State
) -> None:
    handle = fetch(1) if state is State.QUEUED else fetch.schedule((1,), delay=60)
    assert handle.state is state
    assert handle.cancel()
    work(huey)
    assert (handle.state, handle.get_job().error, world.ran) == (State.CANCELLED, "Cancelled.", [])
    assert not handle.cancel()
    with pytest.raises(TaskException, match="cancelled"):
        handle.get(blocking=True, timeout=1)


@pytest.mark.parametrize("up", [True, False])
def test_ended_job_cannot_be_cancelled(huey: DurableHuey, fetch: Any, world: World, up: bool) -> None:
    world.up = up
    handle = fetch(1)
    work(huey)
    before = handle.get_job()
    assert not handle.cancel()
    assert handle.get_job() == before


def test_cancelled_running_job_is_interrupted_at_its_next_step(huey: DurableHuey) -> None:
    went_on: list[str] = []

    @huey.task(retries=3)
    def long() -> None:
        assert huey.job(str(current_job().id)).cancel()
        try:
            current_job().step("a", lambda: 1)
        except Exception:  # the task's own handler does not catch it
            went_on.append("except")
        went_on.append("after")

    handle = long()
    work(huey)
    assert (handle.state, handle.get_job().attempt, went_on) == (State.CANCELLED, 1, [])


def test_chord_skips_a_cancelled_member(huey: DurableHuey, fetch: Any, collect: Any, world: World) -> None:
    world.up = True
    result = huey.enqueue(chord([fetch.s(1), fetch.s(2)], collect.s()))
    next(iter(result.results)).cancel()
    work(huey)
    assert result() == ["SKIPPED", "2"]


def test_blocking_get_returns_when_the_job_is_cancelled(huey: DurableHuey, fetch: Any) -> None:
    handle = fetch.schedule((1,), delay=60)
    canceller = threading.Timer(0.1, handle.cancel)
    canceller.start()
    with pytest.raises(TaskException, match="Cancelled"):
        handle.get(blocking=True, timeout=5)
    canceller.join()


# --- manual retry ---


def test_retry_of_a_failed_job_clears_its_error(huey: DurableHuey, fetch: Any, world: World) -> None:
    handle = fetch(1)
    work(huey)
    with pytest.raises(TaskException):
        handle.get()
    world.up = True
    assert handle.retry()
    job = handle.get_job()
    assert (job.state, job.error, job.traceback, job.ended_at, job.progress) == (State.QUEUED, "", "", None, None)
    assert (handle.is_ready(), handle.get()) == (False, None)
    work(huey)
    assert (handle.get(), handle.get_job().attempt) == (1, 2)


def test_cancelled_job_can_be_retried(huey: DurableHuey, fetch: Any, world: World) -> None:
    world.up = True
    handle = fetch.schedule((1,), delay=60)
    handle.cancel()
    assert handle.retry()
    assert handle.state is State.QUEUED  # a manual retry does not wait for the retry delay
    work(huey)
    assert handle() == 1


def test_retry_of_an_expired_job_drops_its_expiry(huey: DurableHuey, fetch: Any, world: World) -> None:
    world.up = True
    handle = fetch(1, expires=-1)
    work(huey)
    assert handle.state is State.FAILED
    assert handle.retry()
    work(huey)
    assert handle() == 1


@pytest.mark.parametrize("state", [State.WAITING, State.SCHEDULED, State.QUEUED, State.SUCCEEDED])
def test_only_failed_and_cancelled_jobs_can_be_retried(
    huey: DurableHuey, fetch: Any, world: World, state: State
) -> None:
    world.up = True
    handle = {
        State.WAITING: lambda: list(huey.enqueue(fetch.s(1).then(fetch)))[1],
        State.SCHEDULED: lambda: fetch.schedule((1,), delay=60),
    }.get(state, lambda: fetch(1))()
    if state is State.SUCCEEDED:
        work(huey)
    before = handle.get_job()
    assert before.state is state
    assert not handle.retry()
    assert handle.get_job() == before


@pytest.mark.parametrize("asked", [0, 1, 2])
def test_retry_of_any_part_continues_a_failed_pipeline_where_it_failed(
    huey: DurableHuey, fetch: Any, world: World, asked: int
) -> None:
    first, second, third = huey.enqueue(
        huey.task(name="first")(lambda: 1).s().then(fetch, 2).then(huey.task(name="third")(lambda x: [x]))
    )
    work(huey)
    assert [handle.state for handle in (first, second, third)] == [State.SUCCEEDED, State.FAILED, State.CANCELLED]
    world.up = True
    put_back = (first, second, third)[asked].retry()
    assert put_back is (asked > 0)
    if asked:
        assert [handle.state for handle in (second, third)] == [State.QUEUED, State.WAITING]
        work(huey)
        third.reset()
        assert (second(), third()) == (2, [2])


def test_pipeline_retried_twice_runs_its_next_job_once(huey: DurableHuey, fetch: Any, world: World) -> None:
    first, second = huey.enqueue(fetch.s(1).then(fetch, 2))
    for _ in range(2):
        work(huey)
        assert second.retry()
        assert not second.retry()
    world.up = True
    work(huey)
    assert world.ran == [1, 1, 1, 2]
    assert (first(), second()) == (1, 2)


def test_chord_waits_for_a_retried_member(huey: DurableHuey, fetch: Any, collect: Any, world: World) -> None:
    result = huey.enqueue(chord([fetch.s(1), fetch.s(2, delay=60)], collect.s()))
    work(huey)
    one, two = result.results
    assert (one.state, two.state) == (State.FAILED, State.SCHEDULED)
    world.up = True
    assert one.retry()
    two.cancel()
    assert result.callback.state is State.WAITING
    work(huey)
    assert result() == ["1", "SKIPPED"]
    assert world.ran == [1, 1, ("collected", [1, world.ran[-1][1][1]])]


def test_member_retried_after_its_chord_ended_is_not_counted_again(
    huey: DurableHuey, fetch: Any, collect: Any, world: World
) -> None:
    result = huey.enqueue(chord([fetch.s(1), fetch.s(2)], collect.s()))
    work(huey)
    assert world.ran == [1, 2, ("collected", ["error", "error"])]
    world.up = True
    for member in result.results:
        assert member.retry()
    work(huey)
    assert world.ran == [1, 2, ("collected", ["error", "error"]), 1, 2]
    assert [member.get() for member in result.results] == [1, 2]


def test_retried_member_pipeline_is_counted_once(huey: DurableHuey, fetch: Any, collect: Any, world: World) -> None:
    result = huey.enqueue(chord([fetch.s(1).then(fetch, 2), fetch.s(3, delay=60)], collect.s()))
    work(huey)
    tail, other = result.results
    assert (tail.state, other.state) == (State.CANCELLED, State.SCHEDULED)
    world.up = True
    assert tail.retry()
    work(huey)
    assert (tail.state, result.callback.state) == (State.SUCCEEDED, State.WAITING)
    assert other.cancel()
    work(huey)
    assert result() == ["2", "SKIPPED"]


def test_retried_callback_collects_its_members_results(
    huey: DurableHuey, fetch: Any, collect: Any, world: World
) -> None:
    world.up = True
    result = huey.enqueue(chord([fetch.s(1), fetch.s(2)], collect.s()))
    result.callback.cancel()
    work(huey)
    assert result.callback.state is State.CANCELLED
    assert result.callback.retry()
    work(huey)
    assert result() == ["1", "2"]


def test_cancelled_callback_stays_cancelled_when_a_member_is_retried(
    huey: DurableHuey, fetch: Any, collect: Any, world: World
) -> None:
    result = huey.enqueue(chord([fetch.s(1)], collect.s(priority=-1)))
    huey.execute(huey.dequeue())
    assert result.callback.state is State.QUEUED
    result.callback.cancel()
    world.up = True
    (member,) = result.results
    assert member.retry()
    work(huey)
    assert (member.state, result.callback.state) == (State.SUCCEEDED, State.CANCELLED)


def test_retried_poison_job_may_lose_three_more_workers(huey: DurableHuey, fetch: Any) -> None:
    handle = fetch(1)
    for _ in range(3):
        claimed = huey.claim("consumer", "worker")
        assert claimed is not None
        huey.ledger.consumers.mark_worker_lost("consumer", "worker")
    assert (handle.state, handle.get_job().losses) == (State.FAILED, 3)
    assert handle.retry()
    assert (handle.state, handle.get_job().losses) == (State.QUEUED, 0)


# --- states and progress as types ---


def test_states_are_text_and_know_whether_they_are_final() -> None:
    assert [str(state) for state in State if state.ended] == ["succeeded", "failed", "cancelled"]
    assert State("queued") == "queued"


def test_handle_shows_progress(huey: DurableHuey) -> None:
    @huey.task()
    def task() -> None:
        current_job().progress(3, 12, "fetching")

    handle = task()
    assert handle.progress is None
    work(huey)
    assert handle.progress == handle.get_job().progress == Progress(3, 12, "fetching") == (3, 12, "fetching")
