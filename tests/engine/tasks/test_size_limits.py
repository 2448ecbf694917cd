"""Limits on the size of arguments and results. A refusal names the limit and the remedy."""

from collections.abc import Callable
from typing import Any

import pytest
from huey import chord, group
from huey.exceptions import TaskException

from jobqueue import ArgumentsTooLarge, DurableHuey, ResultTooLarge, State, current_job
from tests.engine.conftest import HueyFactory
from tests.engine.consumers import work

LIMIT = 10_000  # bytes
LARGE = "x" * LIMIT


@pytest.fixture
def huey(make_huey: HueyFactory) -> DurableHuey:
    return make_huey(max_arguments=LIMIT, max_result=LIMIT)


@pytest.fixture
def echo(huey: DurableHuey) -> Any:
    return huey.task(name="echo")(lambda *values: values[0])


SUBMITS: dict[str, Callable[[Any], Any]] = {
    "a call": lambda echo: echo(LARGE),
    "for later": lambda echo: echo.schedule((LARGE,), delay=60),
    "what follows": lambda echo: echo.huey.enqueue(echo.s(1).then(echo, LARGE)),
    "an error handler": lambda echo: echo.huey.enqueue(echo.s(1).error(echo, LARGE)),
    "a group": lambda echo: echo.huey.enqueue(group([echo.s(1), echo.s(LARGE)])),
    "a chord": lambda echo: echo.huey.enqueue(chord([echo.s(1)], echo.s(LARGE))),
    "many": lambda echo: echo.huey.enqueue_many([echo.s(1), echo.s(LARGE)]),
    "a unique job": lambda echo: echo.using(unique=True)(LARGE),
}


@pytest.mark.parametrize("way", SUBMITS)
def test_submit_of_too_large_arguments_accepts_nothing(huey: DurableHuey, echo: Any, way: str) -> None:
    with pytest.raises(ArgumentsTooLarge, match=r"10,000 \(max_arguments\).*pass the File"):
        SUBMITS[way](echo)
    assert huey.jobs() == []


@pytest.mark.parametrize("where", ["result", "step"])
def test_too_large_value_fails_its_job_without_retry(huey: DurableHuey, where: str) -> None:
    attempts: list[int] = []

    @huey.task(retries=3)
    def task() -> Any:
        attempts.append(current_job().attempt)
        return LARGE if where == "result" else current_job().step("prices", lambda: LARGE)

    handle = task()
    work(huey)
    job = handle.get_job()
    assert (job.state, attempts) == (State.FAILED, [1])
    assert "the limit for a result or a step is 10,000 (max_result)" in job.error
    with pytest.raises(TaskException, match="max_result"):
        handle.get()


def test_task_can_catch_the_error_of_a_too_large_step(huey: DurableHuey) -> None:
    @huey.task()
    def task() -> str:
        try:
            return str(current_job().step("prices", lambda: LARGE))
        except ResultTooLarge:
            return "without"

    handle = task()
    work(huey)
    assert handle() == "without"


def test_values_within_the_limits_are_stored(huey: DurableHuey, echo: Any) -> None:
    handle = echo(LARGE[:-1000])
    work(huey)
    assert handle() == LARGE[:-1000]


def test_default_limits_are_one_megabyte_of_arguments_and_64_of_results(make_huey: HueyFactory) -> None:
    huey = make_huey()
    assert (huey.max_arguments, huey.max_result) == (1_000_000, 64_000_000)
