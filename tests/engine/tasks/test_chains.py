"""Jobs that follow other jobs: Huey's pipelines, groups and chords."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from huey import chord, group
from huey.api import Huey
from huey.exceptions import CancelExecution, TaskException
from huey.utils import SKIPPED, Error

from jobqueue import DurableHuey, State
from tests.engine.consumers import work


@dataclass
class Desk:
    """A few tasks, and a record of the calls."""

    add: Any
    fail: Any
    collect: Any
    nothing: Any
    ran: list[Any]


@pytest.fixture
def desk(any_huey: Huey) -> Desk:
    return tasks_on(any_huey)


def tasks_on(huey: Huey) -> Desk:
    ran: list[Any] = []

    @huey.task()
    def add(*numbers: float) -> float:
        ran.append(numbers)
        return sum(numbers)

    @huey.task()
    def fail(*numbers: float) -> None:
        ran.append("fail")
        raise ValueError("no")

    @huey.task()
    def collect(values: list[Any], *more: Any) -> list[Any]:
        values = [f"error: {value.metadata['error']}" if isinstance(value, Error) else value for value in values]
        values = ["skipped" if value is SKIPPED else value for value in values]
        ran.append(("collected", values, *more))
        return values

    @huey.task()
    def nothing() -> None:
        pass

    return Desk(add, fail, collect, nothing, ran)


# --- pipelines ---


def test_each_task_of_a_pipeline_gets_the_previous_result(any_huey: Huey, desk: Desk) -> None:
    results = any_huey.enqueue(desk.add.s(1, 2).then(desk.add, 10).then(desk.add.s(100)))
    work(any_huey)
    assert results() == [3, 13, 113]
    assert desk.ran == [(1, 2), (10, 3), (100, 13)]


GIVEN = {
    "a value": ("x", ("x",), {}),
    "a list": ([1, 2], ([1, 2],), {}),
    "a tuple, as arguments": ((1, 2), (1, 2), {}),
    "a dict, as named arguments that are not given yet": ({"a": 1, "b": 2}, (), {"a": "own", "b": 2}),
    "nothing, as nothing": (None, (), {}),
    "an empty tuple, as nothing": ((), (), {}),
}


@pytest.mark.parametrize("what", GIVEN)
def test_result_becomes_arguments_of_the_next_task(any_huey: Huey, what: str) -> None:
    value, args, kwargs = GIVEN[what]
    received = []
    first = any_huey.task(name="first")(lambda: value)

    def second(*args: Any, **kwargs: Any) -> None:
        received.append((args, kwargs))

    any_huey.enqueue(first.s().then(any_huey.task()(second), **({"a": "own"} if kwargs else {})))
    work(any_huey)
    assert received == [(args, kwargs)]


def test_tasks_after_a_failed_task_do_not_run_and_raise_its_error(any_huey: Huey, desk: Desk) -> None:
    results = any_huey.enqueue(desk.add.s(1).then(desk.fail).then(desk.add).then(desk.add))
    work(any_huey)
    assert desk.ran == [(1,), "fail"]
    first, *others = list(results)
    assert first() == 1
    for handle in others:
        with pytest.raises(TaskException, match=r"ValueError\('no'\)"):
            handle.get(blocking=True, timeout=1)


def test_pipeline_continues_after_a_retry(any_huey: Huey, desk: Desk) -> None:
    failures = [ValueError("once")]

    @any_huey.task(retries=1)
    def flaky(number: int) -> int:
        if failures:
            raise failures.pop()
        return number

    results = any_huey.enqueue(flaky.s(1).then(desk.add, 10))
    work(any_huey)
    for handle in results:
        handle.reset()
    assert results() == [1, 11]


def test_delay_within_a_pipeline_is_kept(any_huey: Huey, desk: Desk) -> None:
    started = time.monotonic()
    results = any_huey.enqueue(desk.add.s(1).then(desk.add.s(10, delay=0.2)))
    work(any_huey, until=lambda: len(desk.ran) == 2)
    assert time.monotonic() - started >= 0.2 - 0.01
    assert results() == [1, 11]


def test_pipeline_passes_results_even_if_results_are_disabled(make_any_huey: Callable[..., Huey]) -> None:
    huey = make_any_huey(results=False)
    desk = tasks_on(huey)
    huey.enqueue(desk.add.s(1).then(desk.add, 10).then(desk.add, 100))
    work(huey)
    assert desk.ran == [(1,), (10, 1), (100, 11)]


# --- groups ---


def test_members_of_a_group_run_independently(any_huey: Huey, desk: Desk) -> None:
    results = any_huey.enqueue(group([desk.add.s(i) for i in range(3)]))
    work(any_huey)
    assert results() == [0, 1, 2]
    assert sorted(results.as_completed()) == [0, 1, 2]


def test_group_can_contain_pipelines(any_huey: Huey, desk: Desk) -> None:
    results = any_huey.enqueue(group([desk.add.s(1).then(desk.add, 10), desk.add.s(2)]))
    work(any_huey)
    assert results() == [[1, 11], 2]


# --- chords: the members -> the callback's argument ---

Members = Callable[[Desk], list[Any]]

CHORDS: dict[str, tuple[Members, list[Any]]] = {
    "one": (lambda d: [d.add.s(1)], [1]),
    "three, in their order": (
        lambda d: [d.add.s(3, priority=1), d.add.s(2, priority=3), d.add.s(1, priority=2)],
        [3, 2, 1],
    ),
    "none": (lambda d: [], []),
    "a failing one": (lambda d: [d.add.s(1), d.fail.s(), d.add.s(3)], [1, "error: ValueError('no')", 3]),
    "all failing": (lambda d: [d.fail.s(), d.fail.s()], ["error: ValueError('no')"] * 2),
    "a failing one with a retry": (lambda d: [d.fail.s(retries=1), d.add.s(3)], ["error: ValueError('no')", 3]),
    "an expired one": (lambda d: [d.add.s(1), d.add.s(2, expires=-1)], [1, "skipped"]),
    "one that returns nothing": (lambda d: [d.nothing.s(), d.add.s(1)], [None, 1]),
    "pipelines": (lambda d: [d.add.s(1).then(d.add, 10), d.add.s(2).then(d.add, 20).then(d.add, 30)], [11, 52]),
    "a pipeline that fails at its head": (
        lambda d: [d.fail.s().then(d.add).then(d.add), d.add.s(1)],
        ["error: ValueError('no')", 1],
    ),
    "a pipeline that fails at its end": (
        lambda d: [d.add.s(1).then(d.fail), d.add.s(1)],
        ["error: ValueError('no')", 1],
    ),
    "a pipeline that expires at its head": (lambda d: [d.add.s(1, expires=-1).then(d.add), d.add.s(1)], ["skipped", 1]),
    "a chord": (lambda d: [chord([d.add.s(1), d.add.s(2)], d.collect.s()), d.add.s(3)], [[1, 2], 3]),
    "an empty chord": (lambda d: [chord([], d.collect.s()), d.add.s(3)], [[], 3]),
    "a chord that goes on": (
        lambda d: [group([d.add.s(1), d.add.s(2)]).then(d.collect).then(d.collect), d.add.s(3)],
        [[1, 2], 3],
    ),
    "chords in chords": (
        lambda d: [chord([chord([d.add.s(1)], d.collect.s()), d.add.s(2)], d.collect.s())],
        [[[1], 2]],
    ),
    "a chord with a failing member": (lambda d: [chord([d.fail.s()], d.collect.s())], [["error: ValueError('no')"]]),
    "later ones": (lambda d: [d.add.s(1, delay=0.1), d.add.s(2)], [1, 2]),
}


@pytest.mark.parametrize("members", CHORDS)
def test_chord_callback_gets_every_members_result_once(any_huey: Huey, desk: Desk, members: str) -> None:
    make, values = CHORDS[members]
    result = any_huey.enqueue(chord(make(desk), desk.collect.s()))
    work(any_huey, until=result.callback.is_ready)
    assert result() == result.callback() == values
    assert [run for run in desk.ran if run == ("collected", values)] == [("collected", values)]


def test_then_on_a_group_makes_a_chord_with_its_own_arguments(any_huey: Huey, desk: Desk) -> None:
    result = any_huey.enqueue(group([desk.add.s(1), desk.add.s(2)]).then(desk.add, 10, 20).then(desk.add, 30))
    with_list = any_huey.enqueue(group([desk.add.s(1)]).then(desk.collect))
    work(any_huey)
    assert with_list() == [1]
    assert len(result.pipeline_results) == 2
    with pytest.raises(TaskException, match="TypeError"):  # 10 + 20 + [1, 2]
        result.get(blocking=True, timeout=1)


def test_chord_members_have_their_own_results(any_huey: Huey, desk: Desk) -> None:
    result = any_huey.enqueue(chord([desk.add.s(1), desk.add.s(2).then(desk.add, 10)], desk.collect.s()))
    work(any_huey)
    assert result.results() == [1, 12]
    assert result() == [1, 12]


def test_group_cannot_be_a_chord_member(any_huey: Huey, desk: Desk) -> None:
    with pytest.raises(ValueError, match="cannot use `group` as a chord member"):
        any_huey.enqueue(chord([group([desk.add.s(1)])], desk.collect.s()))
    work(any_huey)
    assert desk.ran == []


def test_chord_skips_a_revoked_member(any_huey: Huey, desk: Desk) -> None:
    result = any_huey.enqueue(chord([desk.add.s(1), desk.add.s(2), desk.add.s(3).then(desk.add)], desk.collect.s()))
    revoked = [task for task in any_huey.pending() if task.args in ((2,), (3,))]
    for task in revoked:
        any_huey.revoke(task)
    work(any_huey)
    assert result() == [1, "skipped", "skipped"]


def test_chord_skips_a_member_that_a_hook_cancels(any_huey: Huey, desk: Desk) -> None:
    @any_huey.pre_execute()
    def refuse_two(task: Any) -> None:
        if task.args == (2,):
            raise CancelExecution

    result = any_huey.enqueue(chord([desk.add.s(1), desk.add.s(2)], desk.collect.s()))
    work(any_huey)
    assert result() == [1, "skipped"]


def test_error_handler_of_a_chord_belongs_to_its_callback(any_huey: Huey, desk: Desk) -> None:
    handled: list[str] = []

    @any_huey.task()
    def on_error(error: Exception) -> None:
        handled.append(str(error))

    any_huey.enqueue(chord([desk.fail.s()], desk.fail.s()).error(on_error))
    work(any_huey)
    assert handled == ["no"]


# --- storage in the ledger ---


def test_following_jobs_exist_from_the_submit_on(huey: DurableHuey) -> None:
    desk = tasks_on(huey)
    result = huey.enqueue(chord([desk.add.s(1), desk.add.s(2).then(desk.add)], desk.collect.s()).then(desk.collect))
    states = {(job.name, job.state) for job in huey.jobs()}
    assert states == {("add", State.QUEUED), ("add", State.WAITING), ("collect", State.WAITING)}
    assert len(huey.jobs()) == 5
    assert result.callback.state is State.WAITING


def test_pipeline_can_have_any_length(huey: DurableHuey) -> None:
    desk = tasks_on(huey)
    tasks = [desk.fail.s(), *(desk.add.s() for _ in range(1500))]
    for before, after in pairwise(tasks):
        before.on_complete = after
    first, *_, last = huey.enqueue(tasks[0])
    work(huey)
    assert (first.state, last.state, desk.ran) == (State.FAILED, State.CANCELLED, ["fail"])
    assert last.retry()
    assert (first.state, last.state) == (State.QUEUED, State.WAITING)
    assert first.cancel()
    assert last.state is State.CANCELLED
    huey.task(name="after")(lambda: desk.ran.append("after"))()
    work(huey)
    assert desk.ran == ["fail", "after"]


def test_submit_of_an_argument_that_cannot_be_pickled_accepts_nothing(huey: DurableHuey) -> None:
    desk = tasks_on(huey)
    with pytest.raises((AttributeError, TypeError, ValueError), match="pickle|local"):
        huey.enqueue(chord([desk.add.s(1), desk.add.s(lambda: 1)], desk.collect.s()))
    assert huey.jobs() == []


def test_signature_at_the_end_of_two_pipelines_runs_for_both(any_huey: Huey, desk: Desk) -> None:
    tail = desk.add.s(10)
    for number in (1, 2):
        any_huey.enqueue(desk.add.s(number).then(tail))
        work(any_huey)
    assert len([run for run in desk.ran if run[0] == 10]) == 2
