"""The scheduler of consumers, without their processes. A main process calls `fire_due` five times a second; here the tests do.

To let time pass, a test sets a watermark back.
"""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from huey import crontab, signals

from jobqueue import Dataset, DurableHuey, Schedule, ScheduleNotFound, State, every
from jobqueue.consumer.scheduler import ASLEEP, Scheduler
from jobqueue.jobs.job import Job
from tests.engine.conftest import HueyFactory
from tests.engine.consumers import environment, start_at_once, wait_until, work
from tests.moved_clock import MovedClock
from tests.storages import Storage

SECOND, MINUTE, HOUR = 1.0, 60.0, 3600.0  # seconds


def scheduler(huey: DurableHuey, consumer: str) -> Scheduler:
    """Return the scheduler of a consumer with this code."""
    ledger, tasks = huey.ledger, huey.periodic_tasks
    return Scheduler(huey.name, consumer, ledger, huey.submitter, huey._emit, tasks, huey.lease_s)


class Clocked:
    """A huey with one schedule, and consumers with its code."""

    def __init__(self, huey: DurableHuey, schedule: Any, function: Callable[[], Any] = lambda: None) -> None:
        self.huey = huey
        huey.periodic_task(schedule, name="task")(function)

    def consumer(self, name: str = "a consumer") -> Scheduler:
        running = scheduler(self.huey, name)
        running.start()
        return running

    def fire_due(self, running: Scheduler) -> None:
        running.fire_due(now(self.huey))

    def set_back(self, seconds: float) -> None:
        """Pretend that the last check was `seconds` earlier and that no consumer ran since."""
        with self.huey.ledger.database.statement() as tx:
            tx.run("UPDATE schedules SET watermark = watermark - :seconds", seconds=seconds)

    def fires(self) -> list[Job]:
        """Return the schedule's jobs, oldest first."""
        return self.huey.jobs(limit=1000)[::-1]

    def status(self) -> Any:
        (status,) = self.huey.schedules()
        return status


def now(huey: DurableHuey) -> float:
    """Return the database's time."""
    return huey.ledger.consumers.heartbeat("nobody", [], 0).now


def wait_until_early_in_the_minute(huey: DurableHuey) -> None:
    """Wait until the current minute has some seconds left, so that the test runs within one minute."""
    wait_until(lambda: now(huey) % MINUTE < 55, timeout=MINUTE)


@pytest.fixture
def minutely(huey: DurableHuey) -> Clocked:
    wait_until_early_in_the_minute(huey)
    return Clocked(huey, every("minute"))


def test_new_schedule_is_not_due_immediately(minutely: Clocked) -> None:
    minutely.fire_due(minutely.consumer())
    assert minutely.fires() == []
    assert (minutely.status().last_due, minutely.status().last_job, minutely.status().note) == (None, None, "")


def test_each_due_moment_has_one_job_however_late_and_many_consumers(make_huey: HueyFactory, huey: DurableHuey) -> None:
    clocked = [Clocked(made, every("second", overlap="queue")) for made in (huey, make_huey())]
    emitted: list[str] = []
    for each in clocked:
        each.huey.signal(signals.SIGNAL_ENQUEUED)(lambda _, task: emitted.append(task.id))
    a, b = (each.consumer(name) for each, name in zip(clocked, "ab", strict=True))

    def both_fire() -> list[Job]:
        clocked[0].fire_due(a)
        clocked[1].fire_due(b)
        return clocked[0].fires()

    wait_until(lambda: len(both_fire()) >= 2)
    late = now(huey) + 2.5
    wait_until(lambda: now(huey) > late)
    fires = both_fire()
    assert len(fires) >= 4  # one for each moment: both consumers ran all the time
    dues = [fire.due_at.timestamp() for fire in fires if fire.due_at]
    assert dues == [dues[0] + n for n in range(len(fires))]
    assert not any(fire.made_up for fire in fires)
    assert all(fire.due_at <= fire.created_at for fire in fires if fire.due_at)
    assert emitted == [fire.id for fire in fires]


def test_moment_missed_while_no_consumer_ran_is_made_up_once(minutely: Clocked) -> None:
    minutely.consumer()
    minutely.set_back(3 * MINUTE)
    minutely.fire_due(minutely.consumer("the next"))
    (fire,) = minutely.fires()
    last = now(minutely.huey) // MINUTE * MINUTE
    assert (fire.due_at, fire.made_up) == (datetime.fromtimestamp(last, UTC), True)
    assert minutely.status().note.endswith("was made up: no consumer ran then.")
    minutely.fire_due(minutely.consumer("the one after"))
    assert len(minutely.fires()) == 1


def test_moment_missed_beyond_its_grace_is_not_made_up_but_noted(make_huey: HueyFactory, huey: DurableHuey) -> None:
    wait_until_early_in_the_minute(huey)
    clocked = Clocked(huey, every("minute", grace=0))
    clocked.consumer()
    clocked.set_back(3 * MINUTE)
    clocked.fire_due(clocked.consumer("the next"))
    assert clocked.fires() == []
    assert "was missed: no consumer ran within its grace of 0 s." in clocked.status().note
    clocked.fire_due(clocked.consumer("the one after"))
    assert clocked.fires() == []


def test_starting_consumer_leaves_earlier_moments_to_live_consumers(huey: DurableHuey) -> None:
    """If no other consumer fires it, the moment is made up, although its grace of one period has passed."""
    clocked = Clocked(huey, every("second", overlap="queue"))
    huey.ledger.consumers.register("another", "host", 1, 1, [])
    clocked.consumer()
    clocked.set_back(MINUTE)
    starts = clocked.consumer("starts")
    begun = now(huey)
    wait_until(lambda: now(huey) > begun + 1.2)
    clocked.fire_due(starts)
    assert clocked.fires() == []
    huey.ledger.consumers.deregister("another")
    clocked.fire_due(starts)
    fires = clocked.fires()
    assert [fire.made_up for fire in fires] == [True] + [False] * (len(fires) - 1)
    dues = [fire.due_at.timestamp() for fire in fires if fire.due_at]
    assert dues == [dues[0] + n for n in range(len(fires))]
    assert dues[0] <= begun < dues[-1]


def test_consumer_that_was_suspended_makes_up_one_moment(minutely: Clocked) -> None:
    running = minutely.consumer()
    minutely.fire_due(running)
    minutely.set_back(3 * MINUTE)
    running.fire_due(now(minutely.huey) + ASLEEP + MINUTE)  # the machine slept, and the clock went on
    assert [fire.made_up for fire in minutely.fires()] == [True]


def test_moments_over_which_the_clock_jumps_forward_are_made_up_once(
    huey: DurableHuey, make_huey: HueyFactory, clock: MovedClock
) -> None:
    """Two consumers of two schedules. Each estimates the time, and hears of the jump when it reads the clock."""
    clocked = [Clocked(each, every("second", overlap="queue")) for each in (huey, make_huey())]
    for each in clocked:
        each.huey.periodic_task(every("2 seconds", overlap="queue"), name="slower")(lambda: None)
    running = [each.consumer(name) for each, name in zip(clocked, "ab", strict=True)]
    estimate = clock.now() + 2
    wait_until(lambda: clock.now() > estimate)
    assert [each.fire_due(estimate) for each in running] == [True, True]
    before = len(clocked[0].fires())
    clock.move(HOUR)
    assert [each.fire_due(estimate + 2) for each in running] == [False, False]
    assert len(clocked[0].fires()) == before
    jumped = clock.now()
    assert [each.fire_due(jumped) for each in running] == [True, True]
    fires = clocked[0].fires()[before:]
    assert sorted(fire.name for fire in fires if fire.made_up) == ["slower", "task"]
    assert all(fire.due_at and fire.due_at.timestamp() > jumped - 3 for fire in fires)


def test_a_pass_fires_for_a_short_time_and_the_next_continues_with_the_schedule_that_is_behind(
    huey: DurableHuey, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two passes the main process renews leases, and hears SIGTERM."""
    monkeypatch.setattr("jobqueue.consumer.scheduler.FIRE_FOR", 0.0)
    clocked = Clocked(huey, every("second", overlap="queue"))
    huey.periodic_task(every("2 seconds", overlap="queue"), name="slower")(lambda: None)
    running = clocked.consumer()
    clock.move(ASLEEP - 3)
    late = clock.now()
    running.fire_due(late - 2)  # this reads the clock, which is not so far ahead that it jumped
    for number in range(1, 15):
        assert len(clocked.fires()) == number
        running.fire_due(late)
    dues = [fire.due_at.timestamp() for fire in clocked.fires() if fire.due_at]
    assert all(due >= max(dues[:n]) - 2 for n, due in enumerate(dues) if n)
    assert {fire.name for fire in clocked.fires()} == {"slower", "task"}


def test_pruned_history_fires_nothing_again(minutely: Clocked) -> None:
    minutely.consumer()
    minutely.set_back(MINUTE)
    minutely.fire_due(minutely.consumer())
    assert len(minutely.fires()) == 1
    with minutely.huey.ledger.database.statement() as tx:
        tx.run("DELETE FROM jobs")
    minutely.fire_due(minutely.consumer("the next"))
    assert minutely.fires() == []


def test_job_is_not_inserted_twice_even_if_the_watermark_is_lost(minutely: Clocked) -> None:
    minutely.consumer()
    minutely.set_back(MINUTE)
    minutely.fire_due(minutely.consumer())
    minutely.set_back(MINUTE)
    minutely.fire_due(minutely.consumer())
    assert len(minutely.fires()) == 1


# --- overlap with the previous run ---


def next_due(clocked: Clocked, running: Scheduler) -> None:
    """Let the scheduler run until the next moment is handled."""
    before = clocked.status().upcoming(1)
    wait_until(lambda: now(clocked.huey) >= before[0].timestamp())
    clocked.fire_due(running)


@pytest.mark.parametrize("storage", ["sqlite"], indirect=True)
@pytest.mark.parametrize("state", [State.QUEUED, State.RUNNING])
def test_moment_is_skipped_and_noted_while_the_previous_run_has_not_ended(huey: DurableHuey, state: State) -> None:
    clocked = Clocked(huey, every("second"))
    running = clocked.consumer()
    clocked.fire_due(running)
    next_due(clocked, running)
    task = huey.claim("a consumer", "a worker") if state is State.RUNNING else None
    next_due(clocked, running)
    (fire,) = clocked.fires()
    assert clocked.status().note.endswith(f"was skipped: the previous run, job {fire.id}, was still {state}.")
    huey.execute(task or huey.dequeue())
    next_due(clocked, running)
    assert len(clocked.fires()) == 2
    assert clocked.status().note == ""


@pytest.mark.parametrize("fails", [False, True])
def test_overlap_queue_runs_the_job_after_any_end_of_the_previous_run(huey: DurableHuey, fails: bool) -> None:
    def run() -> object:
        if fails:
            raise ValueError("no luck")
        return object()  # a value that cannot be stored, and that no job needs

    clocked = Clocked(huey, every("second", overlap="queue"), run)
    running = clocked.consumer()
    clocked.fire_due(running)
    for _ in range(2):
        next_due(clocked, running)
    first, second, *_ = clocked.fires()
    assert (first.state, second.state) == (State.QUEUED, State.WAITING)
    assert " was queued: the previous run, job " in clocked.status().note
    work(huey)
    assert {fire.state for fire in clocked.fires()} == {State.FAILED if fails else State.SUCCEEDED}
    first, second, *_ = clocked.fires()
    assert first.ended_at and second.claimed_at and first.ended_at <= second.claimed_at


@pytest.mark.parametrize("storage", ["sqlite"], indirect=True)
def test_moment_is_made_up_only_if_the_previous_run_never_started(
    huey: DurableHuey,
) -> None:
    clocked = Clocked(huey, every("second"))

    def start_later() -> list[Job]:
        after = clocked.status().upcoming(1)[0].timestamp()
        wait_until(lambda: now(huey) >= after)
        clocked.fire_due(clocked.consumer())
        return clocked.fires()

    clocked.consumer()
    start_later()
    assert [fire.made_up for fire in start_later()] == [True, True]
    while (task := huey.claim("a consumer", "a worker")) is not None:
        last = task
    assert len(start_later()) == 2
    assert f"job {last.id}, was still running" in clocked.status().note


# --- paused, resumed, run now ---


def test_paused_schedule_is_not_due_and_pause_is_not_made_up(minutely: Clocked) -> None:
    huey = minutely.huey
    assert huey.pause_schedule("task")  # before any consumer ran
    assert not huey.pause_schedule("task")
    minutely.set_back(3 * MINUTE)
    running = minutely.consumer()
    minutely.fire_due(running)
    assert minutely.status().paused_at
    assert minutely.fires() == []
    assert huey.resume_schedule("task")
    assert not huey.resume_schedule("task")
    minutely.fire_due(running)
    minutely.fire_due(minutely.consumer("the next"))
    assert minutely.fires() == []
    assert minutely.status().paused_at is None
    minutely.set_back(MINUTE)
    minutely.fire_due(minutely.consumer("the one after"))
    assert len(minutely.fires()) == 1


def test_run_schedule_submits_a_job_besides_the_due_moments(minutely: Clocked) -> None:
    huey = minutely.huey
    huey.pause_schedule("task")
    handle = huey.run_schedule("task")
    work(huey)
    job = handle.get_job()
    assert (job.state, job.due_at, job.made_up) == (State.SUCCEEDED, None, False)


def test_unknown_schedule_name_is_refused_with_the_known_names(minutely: Clocked) -> None:
    name = minutely.status().name
    assert minutely.status().short_name == "task"
    for do in (minutely.huey.pause_schedule, minutely.huey.resume_schedule, minutely.huey.run_schedule):
        with pytest.raises(ScheduleNotFound, match=f"No schedule has the name 'tsak'. Known schedules: {name}."):
            do("tsak")


# --- the first version of a dataset ---


def dataset(huey: DurableHuey, content: Callable[[], Any] = lambda: [1]) -> Dataset[Any]:
    made: Dataset[Any] = huey.dataset(every("monday at 18:00"), name="numbers")(content)
    return made


AT_FIRST_DEPLOY = """
from os import getpid
from jobqueue import DurableHuey
from tests.engine.consumer.test_scheduler import dataset, scheduler
def start(database_url):
    huey = DurableHuey("tests", database_url, secret_key="a key for tests")
    dataset(huey)
    scheduler(huey, str(getpid())).start()
"""


def test_dataset_has_its_first_version_at_once_and_once_from_any_number_of_consumers(
    huey: DurableHuey, storage: Storage
) -> None:
    numbers = dataset(huey)
    path = environment(Path(__file__).parents[3])["PYTHONPATH"]
    assert start_at_once(4, AT_FIRST_DEPLOY, storage.database_url, PYTHONPATH=path) == ["None"] * 4
    (job,) = huey.jobs()
    assert [event.name for event in huey.history(job.id)] == ["submitted", "first version"]
    (status,) = huey.schedules()
    assert (status.last_due, status.last_job, status.note) == (
        None,
        job.id,
        "The first version did not wait for a due moment.",
    )
    work(huey)
    assert numbers.read() == [1] and numbers.info().job_id == job.id
    with huey.ledger.database.statement() as tx:
        tx.run("DELETE FROM jobs")
    scheduler(huey, "the next").start()
    assert huey.jobs() == []


@pytest.mark.parametrize("storage", ["sqlite"], indirect=True)
def test_dataset_that_failed_or_is_paused_has_no_first_version_at_the_next_deploy(
    huey: DurableHuey, make_huey: HueyFactory
) -> None:
    numbers = dataset(huey, lambda: [])
    huey.pause_schedule("numbers")
    scheduler(huey, "a").start()
    assert huey.jobs() == []
    huey.resume_schedule("numbers")
    scheduler(huey, "b").start()
    work(huey)
    assert "without rows" in numbers.info().error
    scheduler(huey, "c").start()
    assert len(huey.jobs()) == 1


@pytest.mark.parametrize("storage", ["sqlite"], indirect=True)
def test_moment_that_is_due_while_the_first_version_is_made_is_skipped(huey: DurableHuey) -> None:
    huey.dataset(every("second"), name="numbers")(lambda: [1])
    running = scheduler(huey, "a consumer")
    running.start()
    (first,) = huey.jobs()
    begun = now(huey)
    wait_until(lambda: now(huey) > begun + 1)
    running.fire_due(now(huey))
    assert [job.id for job in huey.jobs()] == [first.id]
    assert f"was skipped: the previous run, job {first.id}, was still queued." in huey.schedules()[0].note


# --- the code changes ---


def test_changed_phrase_takes_effect_from_now_on(make_huey: HueyFactory, minutely: Clocked) -> None:
    minutely.consumer()
    minutely.set_back(5 * MINUTE)
    changed = Clocked(make_huey(), every("2 minutes"))
    changed.fire_due(changed.consumer())
    assert changed.fires() == []
    assert str(changed.status().schedule) == "every 2 minutes"
    changed.set_back(4 * MINUTE)
    changed.fire_due(changed.consumer())
    assert [fire.due_at.minute % 2 for fire in changed.fires() if fire.due_at] == [0]


def test_removed_schedule_is_dropped_when_no_consumer_has_it(make_huey: HueyFactory, minutely: Clocked) -> None:
    minutely.huey.pause_schedule("task")
    name = minutely.status().name
    without = make_huey(lease_s=10)

    def runs_for_a_lease(consumer: str) -> None:
        running = scheduler(without, consumer)
        for later in (0, without.lease_s):
            running.fire_due(now(without) + later)

    without.ledger.consumers.register("of older code", "host", 1, 1, [name])
    runs_for_a_lease("of newer code")
    assert minutely.status().paused_at
    without.ledger.consumers.deregister("of older code")
    runs_for_a_lease("the next")
    assert without.schedules() == []
    assert minutely.status().paused_at is None
    wait_until_early_in_the_minute(minutely.huey)
    back = minutely.consumer()
    minutely.fire_due(back)
    assert minutely.fires() == []  # registered as new


def test_clock_that_jumps_forward_drops_no_schedule_of_a_live_consumer(
    make_huey: HueyFactory, minutely: Clocked, clock: MovedClock
) -> None:
    minutely.huey.pause_schedule("task")
    without = make_huey(lease_s=10)
    running = scheduler(without, "of newer code")
    estimate = clock.now() - 1  # so that the other consumer's heartbeat is younger than a lease in any case
    without.ledger.consumers.register("of older code", "host", 1, 1, [minutely.status().name])
    running.fire_due(estimate)
    clock.move(HOUR)
    for moment in (estimate + without.lease_s, clock.now()):  # before and after it hears of the jump
        running.fire_due(moment)
        assert minutely.status().paused_at


def test_schedule_dropped_by_other_consumers_is_registered_again(minutely: Clocked) -> None:
    running = minutely.consumer()
    with minutely.huey.ledger.database.statement() as tx:
        tx.run("DELETE FROM schedules")
    for _ in range(2):
        minutely.fire_due(running)
    assert minutely.fires() == []
    with minutely.huey.ledger.database.statement() as tx:
        assert tx.one("SELECT 1 FROM schedules") is not None


# --- functions that Huey takes ---


def test_hueys_crontab_is_due_in_its_minutes_and_made_up(huey: DurableHuey) -> None:
    wait_until_early_in_the_minute(huey)
    clocked = Clocked(huey, crontab(minute="*/2", strict=True))
    clocked.consumer()
    clocked.set_back(5 * MINUTE)
    clocked.fire_due(clocked.consumer())
    (fire,) = clocked.fires()
    assert fire.made_up and fire.due_at
    assert fire.due_at.minute % 2 == 0
    assert 0 <= now(huey) - fire.due_at.timestamp() < 2 * MINUTE
    (due,) = clocked.status().upcoming(1)
    assert due == fire.due_at + timedelta(minutes=2)


def test_failing_schedule_function_does_not_affect_other_schedules(
    huey: DurableHuey, caplog: pytest.LogCaptureFixture
) -> None:
    wait_until_early_in_the_minute(huey)
    clocked = Clocked(huey, lambda moment: 1 / 0)
    huey.periodic_task(every("minute"), name="another")(lambda: None)
    clocked.consumer()
    clocked.set_back(MINUTE)
    with caplog.at_level(logging.ERROR):
        clocked.fire_due(clocked.consumer())
    assert [fire.name for fire in clocked.fires()] == ["another"]
    assert "Cannot compute when" in caplog.text


def test_days_without_sunset_are_skipped_and_logged(huey: DurableHuey, caplog: pytest.LogCaptureFixture) -> None:
    schedule: Schedule = every("day at sunset", place=(89.9, 0.0))  # near the pole, where the sun sets once a year
    clocked = Clocked(huey, schedule)
    with caplog.at_level(logging.INFO):
        clocked.fire_due(clocked.consumer())
    assert "the sun does not rise or set on" in caplog.text


def test_a_run_by_hand_keeps_its_result_and_a_fire_does_not(huey: DurableHuey) -> None:
    huey.periodic_task(every("1 second"), name="task")(lambda: [1])
    huey.periodic_task(every("day at 5:00"), name="odd")(lambda: object())
    running = scheduler(huey, "one")
    by_hand, odd = huey.run_schedule("task"), huey.run_schedule("odd")
    wait_until(lambda: running.fire_due(now(huey)) is not None and any(job.due_at for job in huey.jobs()))
    work(huey)
    assert by_hand.get() == [1]
    assert (odd.state, odd.get()) == (State.SUCCEEDED, None)
    assert {huey.job(job.id).get() for job in huey.jobs() if job.due_at} == {None}
