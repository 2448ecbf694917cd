"""`async def` tasks run in an event loop of their own, and are tasks like any other."""

import asyncio
from typing import Any

import pytest

from jobqueue import DurableHuey, State, current_job, every
from jobqueue.execution.coroutines import finished
from tests.engine.consumers import work


def test_async_task_returns_retries_and_knows_its_job(huey: DurableHuey) -> None:
    @huey.task(retries=1, context=True)
    async def add(one: int, other: int, task: object = None) -> list[object]:
        job = current_job()
        numbers = await asyncio.gather(*(asyncio.sleep(0.01, number) for number in (one, other)))
        if job.attempt == 1:
            raise ConnectionError("no route")
        kept = job.step("sum", sum, numbers)
        return [kept, await asyncio.to_thread(lambda: current_job().id), task is not None]

    handle = add(1, other=2)
    work(huey, until=lambda: handle.state.ended)
    assert handle.get() == [3, handle.id, True]
    assert handle.get_job().attempt == 2


@pytest.mark.usefixtures("running_loop")
def test_async_task_runs_where_an_event_loop_runs(huey: DurableHuey) -> None:
    @huey.task()
    async def own_id() -> str | None:
        await asyncio.sleep(0)
        return current_job().id

    handle = own_id()
    work(huey)
    assert handle.get() == handle.id


def test_async_tasks_follow_each_other(huey: DurableHuey) -> None:
    @huey.task()
    async def one() -> int:
        return 1

    @huey.task()
    async def add(before: int) -> int:
        return before + 1

    _, last = huey.enqueue(one.s().then(add))
    work(huey)
    assert last.get() == 2
    assert finished(add.call_local(2)) == 3


def test_async_function_makes_a_dataset(huey: DurableHuey) -> None:
    async def one() -> list[int]:
        await asyncio.sleep(0)
        return [1]

    numbers: Any = huey.dataset(every("hour"))(one)
    handle = numbers.refresh()
    work(huey)
    assert (handle.state, numbers.read()) == (State.SUCCEEDED, [1])
    assert finished(numbers()) == [1]
