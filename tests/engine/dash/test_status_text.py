"""A job in words, in each of its states."""

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from jobqueue import DurableHuey, Job, State
from jobqueue.dash.formatting import whole_span
from jobqueue.dash.status_text import Glance, glance, sentence, time_left

MINUTE = timedelta(minutes=1)


@pytest.fixture
def job() -> Iterator[Job]:
    huey = DurableHuey("words", immediate=True)
    yield replace(huey.task()(lambda: None)().get_job(), error="", ended_at=None)
    huey.storage.close()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"state": State.WAITING}, "Waiting for another job to end."),
        ({"state": State.QUEUED, "attempt": 0}, "In the queue."),
        ({"state": State.QUEUED, "attempt": 0, "created_at": -5 * MINUTE}, "Waiting to start for 5 min."),
        ({"state": State.QUEUED, "attempt": 1, "losses": 1}, "for attempt 2: the last attempt was interrupted."),
        ({"state": State.QUEUED, "attempt": 1, "returns": 1}, "the last attempt was interrupted."),
        ({"state": State.SCHEDULED, "attempt": 0, "run_at": 10.1 * MINUTE}, "Starts in 10 min."),
        (
            {"state": State.SCHEDULED, "attempt": 1, "run_at": 10.1 * MINUTE, "error": "OSError: no route"},
            "Attempt 1 failed. The next starts in 10 min: OSError: no route",
        ),
        ({"state": State.RUNNING}, "Running."),
        ({"state": State.RUNNING, "attempt": 2, "losses": 1}, "Running, attempt 2: the last attempt was interrupted."),
        (
            {"state": State.QUEUED, "attempt": 1, "losses": 1, "has_steps": True, "done": 211, "total": 335},
            "In the queue again, for attempt 2: the last attempt was interrupted. It continues after 211 of 335.",
        ),
        ({"state": State.RUNNING, "attempt": 2, "error": "OSError"}, "Running, attempt 2: the last attempt failed."),
        (
            {"state": State.RUNNING, "attempt": 2, "losses": 1, "has_steps": False, "done": 5, "total": 9},
            "Running, attempt 2: the last attempt was interrupted. It starts from the beginning.",
        ),
        (
            {"state": State.RUNNING, "attempt": 2, "returns": 1, "has_steps": True},
            "the last attempt was interrupted. Finished steps are kept.",
        ),
        ({"state": State.SUCCEEDED, "claimed_at": -10 * MINUTE, "ended_at": 0 * MINUTE}, "Done in 10 min."),
        ({"state": State.FAILED, "error": "ValueError: no"}, "Failed: ValueError: no"),
        ({"state": State.CANCELLED, "error": "Cancelled."}, "Cancelled."),
    ],
)  # fmt: skip
def test_each_state_is_a_sentence(job: Job, changes: dict[str, object], words: str) -> None:
    """Times are given from now."""
    now = datetime.now(UTC)
    changes = {name: now + value if isinstance(value, timedelta) else value for name, value in changes.items()}
    assert words in sentence(replace(job, **changes))  # type: ignore[arg-type]


def test_an_attempt_after_a_crash_says_where_it_continues(job: Job) -> None:
    """Until it has passed the saved steps, the progress is that of the lost attempt."""
    again = replace(job, state=State.RUNNING, attempt=2, losses=1, has_steps=True, done=211, total=335)
    first = glance(again)
    assert (
        sentence(again, None, first)
        == "Running, attempt 2: the last attempt was interrupted. It continues after 211 of 335."
    )
    assert sentence(replace(again, done=212), None, first) == "Running, attempt 2: the last attempt was interrupted."
    assert (
        sentence(replace(again, has_steps=None), None, first) == "Running, attempt 2: the last attempt was interrupted."
    )


@pytest.mark.parametrize(
    ("ahead", "words"),
    [
        (0, "In the queue, next in line."),
        (1, "In the queue, behind 1 other job."),
        (12, "In the queue, behind 12 other jobs."),
        (1000, "In the queue, behind 1,000 other jobs or more."),
    ],
)
def test_a_queued_job_shows_its_place_in_line(job: Job, ahead: int, words: str) -> None:
    assert sentence(replace(job, state=State.QUEUED, attempt=0), ahead) == words


def test_the_time_left_follows_from_the_attempts_speed(job: Job) -> None:
    half = replace(job, state=State.RUNNING, done=5, total=10, claimed_at=datetime.now(UTC) - 10 * MINUTE)
    assert time_left(half) == "about 10 min left"


def test_an_attempt_after_a_crash_is_measured_from_the_first_glance(job: Job) -> None:
    """It began with saved steps. Measured from its start, it would seem too fast."""
    again = replace(job, state=State.RUNNING, attempt=2, done=200, total=300)
    assert time_left(again) == ""
    later = replace(again, done=210)
    assert time_left(later, Glance(2, time.time() - 600, 200)) == "about 1 h 30 min left"


def test_the_first_glance_is_kept_until_the_next_attempt(job: Job) -> None:
    running = replace(job, state=State.RUNNING, done=3, total=9)
    first = glance(running)
    assert first is not None and first.done == 3
    assert glance(replace(running, done=6), first) == first
    third = glance(replace(running, attempt=3, done=6), first)
    assert third is not None and (third.attempt, third.done) == (3, 6)
    assert glance(replace(running, state=State.SUCCEEDED), first) is None


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "1 s"), (89, "89 s"), (180, "3 min"), (4800, "80 min"), (9000, "2 h 30 min")]
)
def test_durations_are_in_the_unit_that_fits(seconds: float, words: str) -> None:
    assert whole_span(seconds) == words


@pytest.mark.parametrize(
    ("changes", "hinted"),
    [
        ({"state": State.RUNNING, "returns": 5, "has_steps": False}, True),
        ({"state": State.QUEUED, "returns": 6, "has_steps": False}, True),
        ({"state": State.RUNNING, "returns": 4, "has_steps": False}, False),
        ({"state": State.RUNNING, "returns": 5, "has_steps": True}, False),
        ({"state": State.FAILED, "returns": 5, "has_steps": False}, False),
    ],
)  # fmt: skip
def test_a_job_that_is_released_again_and_again_without_a_step_gives_a_hint(
    job: Job, changes: dict[str, object], hinted: bool
) -> None:
    assert ("Save partial results with job.step(...)" in replace(job, **changes).hint) is hinted  # type: ignore[arg-type]
