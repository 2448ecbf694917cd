"""What consumers do about schedules, here without their processes: `turn` is what a main process calls five times a second.

Time that has passed is a watermark that is set back.
"""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from huey import crontab, signals

from jobqueue import DurableHuey, Schedule, ScheduleNotFound, State, every
from jobqueue.consumer.scheduler import ASLEEP, Scheduler
from jobqueue.jobs.job import Job
from tests.engine.conftest import HueyFactory
from tests.engine.consumers import wait_until, work

SECOND, MINUTE = 1.0, 60.0  # seconds


def scheduler(huey: DurableHuey, consumer: str) -> Scheduler:
    """The scheduler of a consumer with this code."""
    ledger, tasks = huey.ledger, huey.periodic_tasks
    return Scheduler(huey.name, consumer, ledger, huey.submitter, huey._emit, tasks, huey.lease_s)


class Clocked:
    """A huey with one schedule, and the consumers that have its code."""

    def __init__(self, huey: DurableHuey, schedule: Any, function: Callable[[], Any] = lambda: None) -> None:
        self.huey = huey
        huey.periodic_task(schedule, name="task")(function)

    def consumer(self, name: str = "a consumer") -> Scheduler:
        firing = scheduler(self.huey, name)
        firing.start()
        return firing

    def turn(self, firing: Scheduler) -> None:
        firing.fire_due(now(self.huey))

    def set_back(self, seconds: float) -> None:
        """All this was so long ago, and nobody was there since."""
        with self.huey.ledger.database.statement() as tx:
            tx.run("UPDATE schedules SET watermark = watermark - :seconds", seconds=seconds)

    def fires(self) -> list[Job]:
        """Their jobs, oldest first."""
        return self.huey.jobs(limit=1000)[::-1]

    def look(self) -> Any:
        (look,) = self.huey.schedules()
        return look


def now(huey: DurableHuey) -> float:
    """By the database's clock."""
    return huey.ledger.consumers.heartbeat("nobody", [], 0)


def at_leisure(huey: DurableHuey) -> None:
    """Go on when the minute has some seconds left, so that what follows sees one minute."""
    wait_until(lambda: now(huey) % MINUTE < 55, timeout=MINUTE)


@pytest.fixture
def minutely(huey: DurableHuey) -> Clocked:
    at_leisure(huey)
    return Clocked(huey, every("minute"))


def test_a_schedule_that_is_new_is_not_due_at_once(minutely: Clocked) -> None:
    minutely.turn(minutely.consumer())
    assert minutely.fires() == []
    assert (minutely.look().last_due, minutely.look().last_job, minutely.look().note) == (None, None, "")


def test_each_moment_has_one_job_whoever_comes_first_and_however_late(
    make_huey: HueyFactory, huey: DurableHuey
) -> None:
    clocked = [Clocked(made, every("second", overlap="queue")) for made in (huey, make_huey())]
    emitted: list[str] = []
    for each in clocked:
        each.huey.signal(signals.SIGNAL_ENQUEUED)(lambda _, task: emitted.append(task.id))
    a, b = (each.consumer(name) for each, name in zip(clocked, "ab", strict=True))

    def both_turn() -> list[Job]:
        clocked[0].turn(a)
        clocked[1].turn(b)
        return clocked[0].fires()

    wait_until(lambda: len(both_turn()) >= 2)
    late = now(huey) + 2.5
    wait_until(lambda: now(huey) > late)
    fires = both_turn()
    assert len(fires) >= 4  # each by itself: both consumers ran all the time
    dues = [fire.due_at.timestamp() for fire in fires if fire.due_at]
    assert dues == [dues[0] + n for n in range(len(fires))]
    assert not any(fire.made_up for fire in fires)
    assert all(fire.due_at <= fire.created_at for fire in fires if fire.due_at)
    assert emitted == [fire.id for fire in fires]


def test_what_was_missed_while_no_consumer_ran_is_made_up_once(minutely: Clocked) -> None:
    minutely.consumer()
    minutely.set_back(3 * MINUTE)
    minutely.turn(minutely.consumer("the next"))
    (fire,) = minutely.fires()
    last = now(minutely.huey) // MINUTE * MINUTE
    assert (fire.due_at, fire.made_up) == (datetime.fromtimestamp(last, UTC), True)
    assert minutely.look().note.endswith("was made up: no consumer ran then.")
    minutely.turn(minutely.consumer("the one after"))
    assert len(minutely.fires()) == 1


def test_what_was_missed_longer_ago_than_its_grace_is_not_made_up_and_that_is_said(
    make_huey: HueyFactory, huey: DurableHuey
) -> None:
    at_leisure(huey)
    clocked = Clocked(huey, every("minute", grace=0))
    clocked.consumer()
    clocked.set_back(3 * MINUTE)
    clocked.turn(clocked.consumer("the next"))
    assert clocked.fires() == []
    assert "was missed: no consumer ran within its grace of 0 s." in clocked.look().note
    clocked.turn(clocked.consumer("the one after"))
    assert clocked.fires() == []


def test_a_consumer_that_starts_leaves_what_was_due_before_to_others_that_may_live(huey: DurableHuey) -> None:
    """And makes it up when none does, though its grace, one period, is over by then."""
    clocked = Clocked(huey, every("second", overlap="queue"))
    huey.ledger.consumers.register("another", "host", 1, 1, [])
    clocked.consumer()
    clocked.set_back(MINUTE)
    starts = clocked.consumer("starts")
    begun = now(huey)
    wait_until(lambda: now(huey) > begun + 1.2)
    clocked.turn(starts)
    assert clocked.fires() == []
    huey.ledger.consumers.deregister("another")
    clocked.turn(starts)
    fires = clocked.fires()
    assert [fire.made_up for fire in fires] == [True] + [False] * (len(fires) - 1)
    dues = [fire.due_at.timestamp() for fire in fires if fire.due_at]
    assert dues == [dues[0] + n for n in range(len(fires))]
    assert dues[0] <= begun < dues[-1]


def test_a_main_process_that_stood_still_makes_up_one(minutely: Clocked) -> None:
    firing = minutely.consumer()
    minutely.turn(firing)
    minutely.set_back(3 * MINUTE)
    firing.fire_due(now(minutely.huey) + ASLEEP + MINUTE)  # its clock went on: the machine slept
    assert [fire.made_up for fire in minutely.fires()] == [True]


def test_pruned_history_fires_nothing_again(minutely: Clocked) -> None:
    minutely.consumer()
    minutely.set_back(MINUTE)
    minutely.turn(minutely.consumer())
    assert len(minutely.fires()) == 1
    with minutely.huey.ledger.database.statement() as tx:
        tx.run("DELETE FROM jobs")
    minutely.turn(minutely.consumer("the next"))
    assert minutely.fires() == []


def test_a_job_that_is_there_is_not_made_again_even_if_the_watermark_is_lost(minutely: Clocked) -> None:
    minutely.consumer()
    minutely.set_back(MINUTE)
    minutely.turn(minutely.consumer())
    minutely.set_back(MINUTE)
    minutely.turn(minutely.consumer())
    assert len(minutely.fires()) == 1


# --- the run before it still goes on ---


def next_due(clocked: Clocked, firing: Scheduler) -> None:
    """Take turns until the next moment has been dealt with."""
    before = clocked.look().upcoming(1)
    wait_until(lambda: now(clocked.huey) >= before[0].timestamp())
    clocked.turn(firing)


@pytest.mark.parametrize("storage", ["sqlite"], indirect=True)
@pytest.mark.parametrize("state", [State.QUEUED, State.RUNNING])
def test_a_fire_whose_run_before_it_goes_on_is_skipped_and_that_is_said(huey: DurableHuey, state: State) -> None:
    clocked = Clocked(huey, every("second"))
    firing = clocked.consumer()
    clocked.turn(firing)
    next_due(clocked, firing)
    task = huey.claim("a consumer", "a worker") if state is State.RUNNING else None
    next_due(clocked, firing)
    (fire,) = clocked.fires()
    assert clocked.look().note.endswith(f"was skipped: the previous run, job {fire.id}, was still {state}.")
    huey.execute(task or huey.dequeue())
    next_due(clocked, firing)
    assert len(clocked.fires()) == 2
    assert clocked.look().note == ""


@pytest.mark.parametrize("fails", [False, True])
def test_with_overlap_queue_it_runs_when_the_one_before_it_has_ended_however_that_ended(
    huey: DurableHuey, fails: bool
) -> None:
    def run() -> object:
        if fails:
            raise ValueError("no luck")
        return object()  # which nobody could keep, and nobody wants

    clocked = Clocked(huey, every("second", overlap="queue"), run)
    firing = clocked.consumer()
    clocked.turn(firing)
    for _ in range(2):
        next_due(clocked, firing)
    first, second, *_ = clocked.fires()
    assert (first.state, second.state) == (State.QUEUED, State.WAITING)
    assert " was queued: the previous run, job " in clocked.look().note
    work(huey)
    assert {fire.state for fire in clocked.fires()} == {State.FAILED if fails else State.SUCCEEDED}
    first, second, *_ = clocked.fires()
    assert first.ended_at and second.claimed_at and first.ended_at <= second.claimed_at


@pytest.mark.parametrize("storage", ["sqlite"], indirect=True)
def test_a_fire_is_made_up_beside_a_run_that_nobody_was_there_to_begin_and_not_beside_one_that_goes_on(
    huey: DurableHuey,
) -> None:
    clocked = Clocked(huey, every("second"))

    def start_later() -> list[Job]:
        after = clocked.look().upcoming(1)[0].timestamp()
        wait_until(lambda: now(huey) >= after)
        clocked.turn(clocked.consumer())
        return clocked.fires()

    clocked.consumer()
    start_later()
    assert [fire.made_up for fire in start_later()] == [True, True]
    while (task := huey.claim("a consumer", "a worker")) is not None:
        last = task
    assert len(start_later()) == 2
    assert f"job {last.id}, was still running" in clocked.look().note


# --- paused, resumed, run now ---


def test_a_paused_schedule_is_not_due_until_it_is_resumed_and_that_is_not_made_up(minutely: Clocked) -> None:
    huey = minutely.huey
    assert huey.pause_schedule("task")  # before any consumer was there
    assert not huey.pause_schedule("task")
    minutely.set_back(3 * MINUTE)
    firing = minutely.consumer()
    minutely.turn(firing)
    assert minutely.look().paused_at
    assert minutely.fires() == []
    assert huey.resume_schedule("task")
    assert not huey.resume_schedule("task")
    minutely.turn(firing)
    minutely.turn(minutely.consumer("the next"))
    assert minutely.fires() == []
    assert minutely.look().paused_at is None
    minutely.set_back(MINUTE)
    minutely.turn(minutely.consumer("the one after"))
    assert len(minutely.fires()) == 1


def test_a_schedule_is_run_now_besides_what_is_due(minutely: Clocked) -> None:
    huey = minutely.huey
    huey.pause_schedule("task")
    handle = huey.run_schedule("task")
    work(huey)
    job = handle.get_job()
    assert (job.state, job.due_at, job.made_up) == (State.SUCCEEDED, None, False)


def test_an_unknown_schedule_is_answered_with_those_there_are(minutely: Clocked) -> None:
    name = minutely.look().name
    assert minutely.look().short_name == "task"
    for do in (minutely.huey.pause_schedule, minutely.huey.resume_schedule, minutely.huey.run_schedule):
        with pytest.raises(ScheduleNotFound, match=f"No schedule has the name 'tsak'. Known schedules: {name}."):
            do("tsak")


# --- the code changes ---


def test_a_schedule_whose_phrase_changed_takes_the_new_one_and_makes_up_nothing_of_it(
    make_huey: HueyFactory, minutely: Clocked
) -> None:
    minutely.consumer()
    minutely.set_back(5 * MINUTE)
    changed = Clocked(make_huey(), every("2 minutes"))
    changed.turn(changed.consumer())
    assert changed.fires() == []
    assert str(changed.look().schedule) == "every 2 minutes"
    changed.set_back(4 * MINUTE)
    changed.turn(changed.consumer())
    assert [fire.due_at.minute % 2 for fire in changed.fires() if fire.due_at] == [0]


def test_a_schedule_that_was_removed_is_dropped_when_no_consumer_has_it(
    make_huey: HueyFactory, minutely: Clocked
) -> None:
    minutely.huey.pause_schedule("task")
    name = minutely.look().name
    without = make_huey()
    without.ledger.consumers.register("of older code", "host", 1, 1, [name])
    firing = scheduler(without, "of newer code")
    firing.fire_due(now(without))
    assert minutely.look().paused_at
    without.ledger.consumers.deregister("of older code")
    scheduler(without, "the next").fire_due(now(without))
    assert without.schedules() == []
    assert minutely.look().paused_at is None
    at_leisure(minutely.huey)
    back = minutely.consumer()
    minutely.turn(back)
    assert minutely.fires() == []  # as new


def test_a_schedule_that_was_dropped_by_others_is_taken_in_again(minutely: Clocked) -> None:
    firing = minutely.consumer()
    with minutely.huey.ledger.database.statement() as tx:
        tx.run("DELETE FROM schedules")
    for _ in range(2):
        minutely.turn(firing)
    assert minutely.fires() == []
    with minutely.huey.ledger.database.statement() as tx:
        assert tx.one("SELECT 1 FROM schedules") is not None


# --- functions that Huey takes ---


def test_hueys_crontab_is_due_in_its_minutes_and_made_up_like_any(huey: DurableHuey) -> None:
    at_leisure(huey)
    clocked = Clocked(huey, crontab(minute="*/2", strict=True))
    clocked.consumer()
    clocked.set_back(5 * MINUTE)
    clocked.turn(clocked.consumer())
    (fire,) = clocked.fires()
    assert fire.made_up and fire.due_at
    assert fire.due_at.minute % 2 == 0
    assert 0 <= now(huey) - fire.due_at.timestamp() < 2 * MINUTE
    (due,) = clocked.look().upcoming(1)
    assert due == fire.due_at + timedelta(minutes=2)


def test_a_function_that_fails_hinders_no_other_schedule(huey: DurableHuey, caplog: pytest.LogCaptureFixture) -> None:
    at_leisure(huey)
    clocked = Clocked(huey, lambda moment: 1 / 0)
    huey.periodic_task(every("minute"), name="another")(lambda: None)
    clocked.consumer()
    clocked.set_back(MINUTE)
    with caplog.at_level(logging.ERROR):
        clocked.turn(clocked.consumer())
    assert [fire.name for fire in clocked.fires()] == ["another"]
    assert "Cannot compute when" in caplog.text


def test_days_without_the_sun_are_skipped_and_that_is_said(huey: DurableHuey, caplog: pytest.LogCaptureFixture) -> None:
    schedule: Schedule = every("day at sunset", place=(89.9, 0.0))  # where it sets once a year or so
    clocked = Clocked(huey, schedule)
    with caplog.at_level(logging.INFO):
        clocked.turn(clocked.consumer())
    assert "the sun does not rise or set on" in caplog.text
