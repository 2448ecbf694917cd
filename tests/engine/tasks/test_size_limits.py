"""How much a job may be given, and may return: what is more is refused, with the limit and what to do."""

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
def test_arguments_that_are_too_large_are_refused_and_nothing_is_accepted(
    huey: DurableHuey, echo: Any, way: str
) -> None:
    with pytest.raises(ArgumentsTooLarge, match=r"10,000 \(max_arguments\).*pass its name"):
        SUBMITS[way](echo)
    assert huey.jobs() == []


@pytest.mark.parametrize("where", ["result", "step"])
def test_a_value_that_is_too_large_fails_its_job_for_good(huey: DurableHuey, where: str) -> None:
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


def test_a_task_may_do_without_a_step_that_is_too_large(huey: DurableHuey) -> None:
    @huey.task()
    def task() -> str:
        try:
            return str(current_job().step("prices", lambda: LARGE))
        except ResultTooLarge:
            return "without"

    handle = task()
    work(huey)
    assert handle() == "without"


def test_what_is_within_the_limits_is_kept(huey: DurableHuey, echo: Any) -> None:
    handle = echo(LARGE[:-1000])
    work(huey)
    assert handle() == LARGE[:-1000]


def test_by_default_a_job_is_given_a_megabyte_and_returns_64(make_huey: HueyFactory) -> None:
    huey = make_huey()
    assert (huey.max_arguments, huey.max_result) == (1_000_000, 64_000_000)
