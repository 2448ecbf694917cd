"""Options that do not exist are refused where they are given, with the nearest that does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobqueue import DurableHuey, every

Given = Callable[[DurableHuey], Any]


def nothing() -> None: ...


REFUSED: dict[str, tuple[Given, str]] = {
    "a task": (lambda huey: huey.task(retires=3)(nothing), "The task nothing: there is no option retires. Did you mean retries?"),
    "nothing like it": (
        lambda huey: huey.task(nonsense=3)(nothing),
        "there is no option nonsense. Its options are cache_for, concurrency, context, expires,",
    ),
    "a schedule's option": (
        lambda huey: huey.periodic_task(every("hour"), overlap="queue")(nothing),
        "overlap is an option of its schedule. Write every(..., overlap=...).",
    ),
    "a periodic task": (lambda huey: huey.periodic_task(every("hour"), timout=3)(nothing), "Did you mean timeout?"),
    "a dataset": (lambda huey: huey.dataset(every("hour"), stale_afer=3)(nothing), "Did you mean stale_after?"),
    "a notebook": (lambda huey: huey.notebook("report.ipynb", pfd=True), "Did you mean pdf?"),
    "a page report": (lambda huey: huey.page_report("/analysis", prority=1), "Did you mean priority?"),
    "a default by its inner name": (lambda huey: huey.task(default_queue="a")(nothing), "there is no option default_queue"),
    "a submit for later": (lambda huey: huey.task()(nothing).schedule(delay=1, piority=1), "Did you mean priority?"),
    "a submit with an owner": (
        lambda huey: huey.task()(nothing).using(owner="ann").schedule(delay=1, queue="a"),
        "schedule(): there is no option queue.",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("given", "words"), REFUSED.values(), ids=REFUSED)
def test_unknown_option_is_refused_with_the_nearest_that_exists(
    huey: DurableHuey, given: Given, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tmp_path.joinpath("report.ipynb").write_text('{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}')
    with pytest.raises(TypeError) as refused:
        given(huey)
    assert words in str(refused.value)


def test_options_of_huey_and_of_this_queue_are_accepted(huey: DurableHuey) -> None:
    everything = huey.task(
        retries=1, retry_delay=1, retry_backoff=2, priority=1, context=True, name="everything", expires=60, timeout=5,
        owner="ann", queue="heavy", unique=True, cache_for=5, concurrency=2, max_arguments=1000,
    )(nothing)  # fmt: skip
    everything.schedule(delay=60, priority=1, retries=1, retry_delay=1, retry_backoff=1, expires=99, timeout=1, id="a")
    assert huey.get_job("a").owner == "ann"
