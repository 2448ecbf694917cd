"""Unique jobs: submissions with equal keys share a run, and each has its own handle."""

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from huey import chord, group
from huey.exceptions import TaskException

from jobqueue import DurableHuey, JobHandle, JobNotFound, State, current_job
from jobqueue.ledger.records import ClaimRequest, Outcome
from tests.engine.conftest import HueyFactory
from tests.engine.consumers import work

AT_ONCE = 50
PROCESSES = 5  # the submissions come through as many DurableHueys, each with its own connections


class World:
    """The outside world of the tasks here. Tasks fail while it is not `up`."""

    def __init__(self) -> None:
        self.up = True
        self.ran: list[Any] = []


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise the database timeouts, so that fifty threads pass on a busy machine too."""
    for name in ("postgres.SILENCE", "postgres.HELD", "sqlite.BUSY_TIMEOUT"):
        monkeypatch.setattr(f"jobqueue.database.{name}", 60)


@pytest.fixture
def world() -> World:
    return World()


def analysis(huey: DurableHuey, world: World, **options: Any) -> Any:
    @huey.task(**({"unique": True} | options))
    def analyse(assets: Any, risk: str = "cvar", **more: Any) -> Any:
        world.ran.append(assets)
        if not world.up:
            raise ConnectionError("the market does not answer")
        return [assets, risk]

    return analyse


@pytest.fixture
def analyse(huey: DurableHuey, world: World) -> Any:
    return analysis(huey, world)


def submits_at_once(make_huey: HueyFactory, world: World, **options: Any) -> list[JobHandle]:
    """Submit the same job for fifty owners at the same moment. Return the handles."""
    tasks = [analysis(make_huey(), world, **options) for _ in range(PROCESSES)]
    barrier = threading.Barrier(AT_ONCE)

    def submit(n: int) -> JobHandle:
        barrier.wait(60)
        handle: JobHandle = tasks[n % PROCESSES].using(owner=f"owner-{n}")("AAPL")
        return handle

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(submit, range(AT_ONCE)))


def runs(huey: DurableHuey) -> int:
    return len(huey.jobs(limit=1000))


# --- one run, many handles ---


def test_fifty_concurrent_submissions_share_one_run_until_all_have_cancelled(
    huey: DurableHuey, make_huey: HueyFactory, world: World
) -> None:
    huey.migrate()
    handles = submits_at_once(make_huey, world)
    assert runs(huey) == 1
    assert len({handle.id for handle in handles}) == AT_ONCE
    for n, handle in enumerate(handles):
        (own,) = huey.jobs(owner=f"owner-{n}")
        assert (own.id, own.owner, own.state) == (handle.id, f"owner-{n}", State.QUEUED)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        assert all(pool.map(JobHandle.cancel, handles[1:]))
    assert [handle.state for handle in handles] == [State.QUEUED] + [State.CANCELLED] * (AT_ONCE - 1)
    assert [job.state for job in huey.jobs()] == [State.QUEUED]
    assert handles[0].cancel()
    assert [job.state for job in huey.jobs()] == [State.CANCELLED]
    analysis(huey, world)
    work(huey)
    assert world.ran == []


def test_fifty_concurrent_submissions_get_one_result(huey: DurableHuey, make_huey: HueyFactory, world: World) -> None:
    huey.migrate()
    handles = submits_at_once(make_huey, world)
    analysis(huey, world)
    work(huey)
    assert world.ran == ["AAPL"]
    assert [handle.get() for handle in handles] == [["AAPL", "cvar"]] * AT_ONCE
    assert {handle.state for handle in handles} == {State.SUCCEEDED}


@pytest.mark.parametrize("options", [{}, {"cache_for": 60}], ids=["unique", "cached"])
def test_submissions_while_runs_end_all_get_a_result(
    huey: DurableHuey, make_huey: HueyFactory, world: World, options: dict[str, Any]
) -> None:
    """Every handle gets a result. With a cache there is only one run."""
    huey.migrate()
    worker = make_huey()
    analysis(worker, world, **options)
    over = threading.Event()

    def be_the_worker() -> None:
        while not over.is_set():
            work(worker)

    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(be_the_worker)
        try:
            handles = submits_at_once(make_huey, world, **options)
            assert [handle.get(blocking=True, timeout=60) for handle in handles] == [["AAPL", "cvar"]] * len(handles)
        finally:
            over.set()
            working.result()
    assert len(world.ran) == runs(huey)
    assert not options or runs(huey) == 1


def test_handles_are_found_by_their_ids_and_show_the_run(huey: DurableHuey, make_huey: HueyFactory) -> None:
    seen: list[Any] = []

    @huey.task(unique=True)
    def task(number: int) -> int:
        current_job().progress(1, 3, "fetching")
        seen.extend(make_huey().job(handle.id).get_job() for handle in handles)
        return number

    handles = [task.using(owner=owner)(7) for owner in ("ann", "bob")]
    work(huey)
    assert [(job.id, job.owner, job.args) for job in seen] == [
        (handle.id, owner, (7,)) for handle, owner in zip(handles, ("ann", "bob"), strict=True)
    ]
    assert {(job.state, job.progress) for job in seen} == {(State.RUNNING, (1, 3, "fetching"))}
    again = make_huey().job(handles[1].id)
    assert (again.result, again.state, huey.result(again.id)) == (7, State.SUCCEEDED, 7)
    assert again.get(blocking=True, timeout=1) == 7
    assert again.is_ready()


def test_a_handle_does_not_show_the_ids_of_other_handles(huey: DurableHuey, world: World, analyse: Any) -> None:
    world.up = False
    handles = [analyse.using(owner=owner)("AAPL") for owner in ("ann", "bob")]
    work(huey)
    (run,) = huey.jobs()
    for owner, handle in zip(("ann", "bob"), handles, strict=True):
        with pytest.raises(TaskException) as error:
            handle.get()
        visible = repr((handle.get_job(), huey.jobs(owner=owner), error.value.metadata))
        assert handle.id in visible
        others = {run.id, *(other.id for other in handles)} - {handle.id}
        assert not any(other in visible for other in others)


def test_a_submit_with_a_known_id_returns_the_earlier_submission(huey: DurableHuey, world: World, analyse: Any) -> None:
    task = analyse.using(owner="ann")
    handles = [task("AAPL", id="form") for _ in range(2)]
    work(huey)
    handles.append(task("AAPL", id="form"))
    assert {handle.id for handle in handles} == {"form"}
    assert (len(huey.jobs(owner="ann")), runs(huey), world.ran) == (1, 1, ["AAPL"])


def test_an_ended_run_is_not_shared(huey: DurableHuey, world: World, analyse: Any) -> None:
    first = analyse("AAPL")
    work(huey)
    second = analyse("AAPL")
    assert (first.state, second.state) == (State.SUCCEEDED, State.QUEUED)
    work(huey)
    assert world.ran == ["AAPL"] * 2


STATES: dict[State, Callable[[DurableHuey, Any], JobHandle]] = {
    State.SCHEDULED: lambda huey, task: task.schedule(("AAPL",), delay=60),
    State.QUEUED: lambda huey, task: task("AAPL"),
    State.RUNNING: lambda huey, task: claimed(huey, task("AAPL")),
}


def claimed(huey: DurableHuey, handle: JobHandle) -> JobHandle:
    assert huey.ledger.claim(
        ClaimRequest(tasks=[handle.get_job().task], token="t", consumer="c", worker="w", lease_s=60)
    )
    return handle


@pytest.mark.parametrize("state", STATES)
def test_a_submission_joins_an_open_run_in_any_state(huey: DurableHuey, analyse: Any, state: State) -> None:
    handles = [STATES[state](huey, analyse), analyse("AAPL"), analyse.schedule(("AAPL",), delay=5)]
    assert [handle.state for handle in handles] == [state] * 3
    assert runs(huey) == 1


def test_submissions_that_are_not_unique_are_separate_jobs(huey: DurableHuey, world: World) -> None:
    task = analysis(huey, world, unique=False)
    handles = [task("AAPL"), task("AAPL"), task.using(unique=True)("AAPL"), task.using(unique=True)("AAPL")]
    assert runs(huey) == 3
    assert {job.id for job in huey.jobs()} > {handle.id for handle in handles[:2]}
    work(huey)
    assert [handle.get() for handle in handles] == [["AAPL", "cvar"]] * 4


# --- equal keys ---


SAME: dict[str, list[Callable[[Any], Any]]] = {
    "by place, by name, and by default": [
        lambda task: task("AAPL"),
        lambda task: task(assets="AAPL"),
        lambda task: task("AAPL", "cvar"),
        lambda task: task(risk="cvar", assets="AAPL"),
    ],
    "a dict in another order": [lambda task: task({"a": 1, "b": [2]}), lambda task: task({"b": [2], "a": 1})],
    "keywords in another order": [lambda task: task(1, x=1, y=2), lambda task: task(1, y=2, x=1)],
    "a set": [lambda task: task({"a", "b", "c"}), lambda task: task({"c", "b", "a"})],
    "counts in another order": [lambda task: task(Counter("ab")), lambda task: task(Counter("ba"))],
    "a dataclass": [lambda task: task(Outcome(error="x", log="y"))] * 2,
    "a date": [lambda task: task(datetime(2026, 1, 1, tzinfo=UTC))] * 2,
    "too many arguments": [lambda task: task(1, 2, 3)] * 2,
    "a key of one's own": [
        lambda task: task.using(unique="today")("AAPL"),
        lambda task: task.using(unique="today")("MSFT"),
    ],
}
OTHER: dict[str, list[Callable[[Any], Any]]] = {
    "values": [lambda task: task("AAPL"), lambda task: task("MSFT"), lambda task: task("AAPL", "variance")],
    "types": [lambda task: task([1, 2]), lambda task: task((1, 2)), lambda task: task("[1, 2]")],
    "decimals": [lambda task: task(Decimal("1.0")), lambda task: task(Decimal("1.00")), lambda task: task(1.0)],
    "fields of a dataclass": [lambda task: task(Outcome(error="x")), lambda task: task(Outcome(error="y"))],
    "orders of an ordered dict": [
        lambda task: task(OrderedDict(a=1, b=2)),
        lambda task: task(OrderedDict(b=2, a=1)),
        lambda task: task({"a": 1, "b": 2}),
    ],
    "members of an enum": [
        lambda task: task(State.QUEUED),
        lambda task: task(State.RUNNING),
        lambda task: task("queued"),
    ],
    "orders of a list": [lambda task: task([1, 2]), lambda task: task([2, 1])],
    "keys": [
        lambda task: task.using(unique="today")("AAPL"),
        lambda task: task.using(unique="tomorrow")("AAPL"),
        lambda task: task("AAPL"),
    ],
}


@pytest.mark.parametrize("what", SAME)
def test_submissions_with_equal_arguments_or_keys_share_a_run(huey: DurableHuey, analyse: Any, what: str) -> None:
    for submit in SAME[what]:
        submit(analyse)
    assert runs(huey) == 1


@pytest.mark.parametrize("what", OTHER)
def test_submissions_with_different_arguments_or_keys_do_not_share_a_run(
    huey: DurableHuey, analyse: Any, what: str
) -> None:
    for submit in OTHER[what]:
        submit(analyse)
    assert runs(huey) == len(OTHER[what])


def test_equal_keys_of_different_tasks_are_different(huey: DurableHuey, analyse: Any) -> None:
    other = huey.task(name="other", unique="today")(lambda assets: assets)
    other("AAPL")
    analyse.using(unique="today")("AAPL")
    assert runs(huey) == 2


def test_arguments_that_cannot_be_compared_are_refused_without_a_key(huey: DurableHuey, analyse: Any) -> None:
    with pytest.raises(TypeError, match=r"test_unique\.World.*\.using\(unique='\.\.\.'\)"):
        analyse(World())
    assert runs(huey) == 0
    assert analyse.using(unique="mine")(World()).state is State.QUEUED


FOLLOWED: dict[str, Callable[[Any, Any], Any]] = {
    "then": lambda unique, plain: unique.s(1).then(plain),
    "after another": lambda unique, plain: plain.s(1).then(unique),
    "error": lambda unique, plain: unique.s(1).error(plain),
    "member of a chord": lambda unique, plain: chord([unique.s(1), plain.s(1)], plain.s()),
    "callback of a chord": lambda unique, plain: chord([plain.s(1)], unique.s()),
    "group that goes on": lambda unique, plain: group([unique.s(1)]).then(plain),
}


@pytest.mark.parametrize("what", FOLLOWED)
def test_a_unique_job_cannot_be_part_of_a_pipeline_or_a_chord(
    huey: DurableHuey, world: World, analyse: Any, what: str
) -> None:
    plain = huey.task(name="plain")(lambda *args: args)
    with pytest.raises(ValueError, match=r"cannot be part of a pipeline.*\.using\(unique=False\)"):
        huey.enqueue(FOLLOWED[what](analyse, plain))
    assert runs(huey) == 0
    huey.enqueue(analyse.using(unique=False).s(1).then(plain))
    assert runs(huey) == 2


def test_a_group_of_unique_tasks_shares_runs(huey: DurableHuey, world: World, analyse: Any) -> None:
    result = huey.enqueue(group([analyse.s("AAPL"), analyse.s("MSFT"), analyse.s("AAPL")]))
    work(huey)
    assert result() == [["AAPL", "cvar"], ["MSFT", "cvar"], ["AAPL", "cvar"]]
    assert sorted(world.ran) == ["AAPL", "MSFT"]
    assert len(analyse.using(owner="ann").map(["AAPL", "AAPL"])) == 2
    assert runs(huey) == 3


def test_a_job_submitted_at_the_end_of_another_shares_a_run_too(huey: DurableHuey, world: World, analyse: Any) -> None:
    handler = analyse.using(unique="handler")

    @huey.task()
    def fails() -> None:
        raise ValueError("no")

    @huey.post_execute()
    def ask(task: Any, value: Any, error: Any) -> None:
        if task.name == "fails":
            handler("AAPL")

    fails(priority=2), fails(priority=1)
    for _ in range(2):
        huey.execute(huey.dequeue())
    assert [job.state for job in huey.jobs(task=analyse)] == [State.QUEUED]
    work(huey)
    assert world.ran == ["AAPL"]


# --- cancel ---


def test_a_cancelled_handle_is_cancelled_for_its_owner_while_the_run_goes_on(
    huey: DurableHuey, world: World, analyse: Any
) -> None:
    ann, bob = (analyse.using(owner=owner)("AAPL") for owner in ("ann", "bob"))
    assert ann.cancel()
    assert not ann.cancel()
    job = ann.get_job()
    assert (job.state, job.error) == (State.CANCELLED, "Cancelled.")
    assert job.ended_at is not None and job.ended_at >= job.created_at
    assert [job.state for job in huey.jobs(owner="ann")] == [State.CANCELLED]
    assert [job.id for job in huey.jobs(owner="ann", state=State.CANCELLED)] == [ann.id]
    assert huey.jobs(owner="ann", state=State.QUEUED) == []
    assert [job.id for job in huey.jobs(owner="bob", state=State.QUEUED, task=analyse)] == [bob.id]
    work(huey)
    assert (bob.get(), ann.state, bob.state) == (["AAPL", "cvar"], State.CANCELLED, State.SUCCEEDED)
    assert ann.get() is None
    with pytest.raises(TaskException, match="Cancelled"):
        ann.get(blocking=True, timeout=1)
    assert not bob.cancel()


def test_cancelling_the_last_handle_stops_the_run(huey: DurableHuey) -> None:
    went_on: list[str] = []

    @huey.task(unique=True)
    def long() -> None:
        for handle in handles:
            assert handle.cancel()
            current_job().step(handle.id, str)
            went_on.append(handle.id)

    handles = [long() for _ in range(3)]
    work(huey)
    assert went_on == [handle.id for handle in handles[:2]]
    assert {handle.state for handle in handles} == {State.CANCELLED}
    assert [job.state for job in huey.jobs()] == [State.CANCELLED]


def test_a_submission_after_a_cancelled_run_has_a_new_run(huey: DurableHuey, world: World, analyse: Any) -> None:
    analyse("AAPL").cancel()
    again = analyse("AAPL")
    work(huey)
    assert (again.get(), world.ran) == (["AAPL", "cvar"], ["AAPL"])


@pytest.mark.parametrize("by", ["revoke", "huey.revoke", "huey.revoke_by_id"])
def test_revoking_a_handle_cancels_it(huey: DurableHuey, world: World, analyse: Any, by: str) -> None:
    ann, bob = analyse("AAPL"), analyse("AAPL")
    {
        "revoke": ann.revoke,
        "huey.revoke": lambda: huey.revoke(ann.task),
        "huey.revoke_by_id": lambda: huey.revoke_by_id(ann.id),
    }[by]()
    work(huey)
    assert (ann.state, bob.state, world.ran) == (State.CANCELLED, State.SUCCEEDED, ["AAPL"])


def test_cancelling_by_the_runs_id_cancels_it_for_all(huey: DurableHuey, world: World, analyse: Any) -> None:
    handles = [analyse("AAPL") for _ in range(2)]
    (run,) = huey.jobs()
    assert huey.job(run.id).cancel()
    assert {handle.state for handle in handles} == {State.CANCELLED}
    work(huey)
    assert world.ran == []


@pytest.mark.parametrize("held", [True, False], ids=["held by another", "held by nobody else"])
def test_rescheduling_a_handle_cancels_it_and_submits_a_new_one(
    huey: DurableHuey, world: World, analyse: Any, held: bool
) -> None:
    ann = analyse.using(owner="ann", unique="today")("AAPL")
    bob = analyse.using(owner="bob", unique="today")("AAPL") if held else None
    again = huey.job(ann.id).reschedule(delay=60)
    assert (ann.state, again.state) == (State.CANCELLED, State.QUEUED if held else State.SCHEDULED)
    assert [job.id for job in huey.jobs(owner="ann")] == [again.id, ann.id]
    if bob is None:
        bob = analyse.using(owner="bob", unique="today")("AAPL")  # joins the scheduled run
        assert bob.state is State.SCHEDULED
        assert runs(huey) == 2
    else:
        assert runs(huey) == 1


# --- cache_for ---


def test_a_cached_result_replaces_a_run(huey: DurableHuey, world: World) -> None:
    task = analysis(huey, world, unique=None, cache_for=timedelta(seconds=60))
    first = task.using(owner="ann")("AAPL")
    work(huey)
    second = task.using(owner="bob")("AAPL")
    assert (second.state, second.get(), second.id != first.id) == (State.SUCCEEDED, ["AAPL", "cvar"], True)
    assert [job.id for job in huey.jobs(owner="bob")] == [second.id]
    assert not second.cancel()
    assert task.using(cache_for=0)("AAPL").state is State.QUEUED
    assert task.using(unique=False)("AAPL").state is State.QUEUED
    assert task("MSFT").state is State.QUEUED
    assert task("AAPL").state is State.QUEUED  # the queued run is newer


def test_a_result_older_than_cache_for_is_not_reused(huey: DurableHuey, world: World) -> None:
    task = analysis(huey, world, cache_for=60)
    task("AAPL")
    work(huey)
    with huey.ledger.database.statement() as tx:
        tx.run("UPDATE jobs SET ended_at = ended_at - 61")
    assert task("AAPL").state is State.QUEUED


@pytest.mark.parametrize("how", [State.FAILED, State.CANCELLED])
def test_a_failed_or_cancelled_run_is_not_cached(huey: DurableHuey, world: World, how: State) -> None:
    task = analysis(huey, world, cache_for=60)
    world.up = False
    first = task("AAPL")
    if how is State.CANCELLED:
        first.cancel()
    work(huey)
    assert first.state is how
    assert task("AAPL").state is State.QUEUED


# --- retry by a user ---


def test_retrying_a_failed_run_retries_it_for_all_who_share_it(huey: DurableHuey, world: World, analyse: Any) -> None:
    world.up = False
    ann, bob = (analyse.using(owner=owner)("AAPL") for owner in ("ann", "bob"))
    work(huey)
    assert (ann.state, bob.state) == (State.FAILED, State.FAILED)
    world.up = True
    assert bob.retry()
    assert not ann.retry()
    assert (ann.state, bob.state, runs(huey)) == (State.QUEUED, State.QUEUED, 1)
    work(huey)
    assert ann.get() == bob.get() == ["AAPL", "cvar"]
    assert len(world.ran) == 2


def test_a_retry_of_a_handle_joins_a_newer_run_with_its_key(huey: DurableHuey, world: World, analyse: Any) -> None:
    world.up = False
    ann, carl = (analyse.using(owner=owner)("AAPL") for owner in ("ann", "carl"))
    work(huey)
    world.up = True
    (failed,) = huey.jobs()
    bob = analyse.using(owner="bob")("AAPL")
    assert not huey.retry_job(failed.id)
    assert ann.retry()
    assert (ann.state, bob.state, carl.state, runs(huey)) == (State.QUEUED, State.QUEUED, State.FAILED, 2)
    assert bob.cancel()
    work(huey)
    assert (ann.get(), bob.state, carl.state) == (["AAPL", "cvar"], State.CANCELLED, State.FAILED)
    assert huey.retry_job(failed.id)


@pytest.mark.parametrize("ends", [True, False], ids=["which has succeeded", "which goes on"])
def test_a_retry_of_a_cancelled_handle_joins_the_run_again(
    huey: DurableHuey, world: World, analyse: Any, ends: bool
) -> None:
    ann, bob = analyse("AAPL"), analyse("AAPL")
    ann.cancel()
    if ends:
        work(huey)
    assert ann.retry()
    assert not ann.retry()
    work(huey)
    assert (ann.get(), bob.get(), world.ran) == (["AAPL", "cvar"], ["AAPL", "cvar"], ["AAPL"])


def test_a_run_that_all_cancelled_runs_again_for_the_one_who_retries(
    huey: DurableHuey, world: World, analyse: Any
) -> None:
    ann, bob = analyse("AAPL"), analyse("AAPL")
    ann.cancel(), bob.cancel()
    assert ann.retry()
    assert (ann.state, bob.state) == (State.QUEUED, State.CANCELLED)
    work(huey)
    assert (ann.get(), bob.state) == (["AAPL", "cvar"], State.CANCELLED)


def test_concurrent_retries_and_submissions_make_one_run(
    huey: DurableHuey, make_huey: HueyFactory, world: World
) -> None:
    failed = analysis(huey, world).using(owner="first")("AAPL")
    world.up = False
    work(huey)
    again = [make_huey().job(failed.id) for _ in range(3)]
    with ThreadPoolExecutor(len(again)) as pool:
        retries = pool.map(JobHandle.retry, again)
        handles = submits_at_once(make_huey, world)
    assert any(retries)
    open_runs = [job for job in huey.jobs() if not job.state.ended]
    assert len(open_runs) == 1
    assert {handle.state for handle in (failed, *handles)} == {State.QUEUED}


# --- lists ---


def test_an_owners_list_merges_jobs_and_handles_by_age(huey: DurableHuey, world: World, analyse: Any) -> None:
    plain = huey.task(name="plain")(lambda number: number)
    made = []
    for number in range(6):
        task = analyse if number % 2 else plain
        task(number)  # without an owner
        made.append(task.using(owner="ann")(number).id)
        threading.Event().wait(0.002)  # SQLite's clock tells milliseconds apart
    assert [job.id for job in huey.jobs(owner="ann")] == made[::-1]
    assert [job.id for job in huey.jobs(owner="ann", limit=3)] == made[:2:-1]
    assert [job.id for job in huey.jobs(owner="ann", task=analyse)] == made[5::-2]
    assert [job.id for job in huey.jobs(owner="ann", state=State.QUEUED, limit=2)] == made[:3:-1]


def test_handles_of_a_deleted_run_are_not_found(huey: DurableHuey, analyse: Any) -> None:
    handle = analyse.using(owner="ann")("AAPL")
    with huey.ledger.database.statement() as tx:
        tx.run("DELETE FROM jobs")
    with pytest.raises(JobNotFound):
        huey.job(handle.id)
    assert huey.jobs(owner="ann") == []
    assert (handle.cancel(), handle.retry(), handle.get()) == (False, False, None)


def test_a_unique_periodic_task_fires_once_for_each_due_moment(huey: DurableHuey, analyse: Any) -> None:
    for _ in range(2):
        huey.enqueue(analyse.using(unique="nightly").s("AAPL", id="the fire of 02:00"))
    work(huey)
    huey.enqueue(analyse.using(unique="nightly").s("AAPL", id="the fire of 02:00"))
    assert runs(huey) == 1


def test_in_immediate_mode_every_submission_runs(make_huey: HueyFactory, world: World) -> None:
    huey = make_huey()
    huey.immediate = True
    task = analysis(huey, world)
    assert [task("AAPL")() for _ in range(2)] == [["AAPL", "cvar"]] * 2
    assert [task.using(cache_for=60)("AAPL")() for _ in range(2)] == [["AAPL", "cvar"]] * 2
    assert world.ran == ["AAPL"] * 2
