"""The scheduler: it fires due moments of the schedules in this consumer's code.

Each due moment is fired once, by the consumer that is first. Moments that came while any consumer ran are all fired, however
late. Of the moments that came while no consumer ran, the last is made up if it is within its grace period. The time over which
the database's clock jumps forward counts as time in which no consumer ran. A consumer that starts cannot know at once whether
another one runs, so it leaves earlier moments to live consumers for OTHERS seconds.

A dataset does not wait for its first due moment: a consumer that registers its schedule submits the job of its first version.

The main process renews leases between two passes, so a pass is short.
"""

import logging
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from itertools import islice

from huey import signals
from huey.api import PeriodicTask

from jobqueue.database.times import utc
from jobqueue.ledger.ledger import Ledger
from jobqueue.ledger.records import NewJob
from jobqueue.schedules.recurrence import Minutes
from jobqueue.schedules.schedule import Schedule
from jobqueue.schedules.timetable import Fire, Timetable
from jobqueue.tasks.submission import Emit
from jobqueue.tasks.submitter import Submitter

logger = logging.getLogger("jobqueue.scheduler")

OTHERS = 5.0  # seconds within which a live consumer fires a due moment
ASLEEP = 15.0  # seconds between two checks after which this consumer counts as not having run in between
FIRE_FOR = 0.3  # seconds after which a pass leaves the remaining due moments to the next one
AT_ONCE = 100  # the most due moments of a schedule that a pass computes
DROP = 60.0  # seconds between two searches for schedules that no consumer's code has


class Scheduler:
    """Fires the schedules of one consumer's code.

    :param queue: the queue's name, part of the id of every scheduled job.
    :param consumer: the consumer's id.
    :param emit: sends one of Huey's signals.
    :param periodic_tasks: returns the periodic tasks of this code, by full name.
    :param lease_s: seconds after which a consumer without a heartbeat counts as dead.
    """

    def __init__(
        self,
        queue: str,
        consumer: str,
        ledger: Ledger,
        submitter: Submitter,
        emit: Emit,
        periodic_tasks: Callable[[], Mapping[str, type[PeriodicTask]]],
        lease_s: float,
    ) -> None:
        self._queue = queue
        self._consumer = consumer
        self._submitter = submitter
        self._emit = emit
        self._periodic_tasks = periodic_tasks
        self._lease_s = lease_s
        self._timetable = Timetable(ledger)
        self._tasks: Mapping[str, type[PeriodicTask]] = {}
        self._schedules: dict[str, Schedule] = {}
        self._check_at: dict[str, float] = {}  # by name: the database's time of the next check
        self._runs_since = self._checked_at = float("-inf")  # by the database's clock
        self._dropped_at = float("-inf")  # by time.monotonic()

    def start(self) -> None:
        """Register the schedules, and note that this consumer runs from now on. Raises DatabaseUnavailable."""
        self._runs_since = self._checked_at = self._register()

    def fire_due(self, now: float) -> bool:
        """Fire every due moment, or as many as FIRE_FOR allows. The next call continues.

        :param now: an estimate of the database's time. The database is asked only if a schedule is due by this estimate.
        :returns: False if the estimate is wrong, because the database's clock has jumped forward. Then nothing was fired.

        Raises DatabaseUnavailable.
        """
        until = time.monotonic() + FIRE_FOR
        if now > self._checked_at + ASLEEP:
            self._runs_since = now
        self._checked_at = now
        if self._periodic_tasks() != self._tasks:  # a notebook's cell defined a schedule
            self._register()
        if due := sorted((at, name) for name, at in self._check_at.items() if at <= now):
            rows, read_at = self._timetable.watermarks([name for _, name in due])
            if read_at > now + ASLEEP:
                return False
            for _, name in due:
                if name not in rows:
                    self._register()  # older code, which lacks this schedule, dropped it
                elif rows[name]["paused_at"] is None:
                    self._fire_schedule(name, rows[name]["watermark"], read_at, until)
                else:
                    self._check_at[name] = self._next_check(name, read_at)
                if time.monotonic() >= until:
                    break
        if time.monotonic() >= self._dropped_at + DROP and now >= self._runs_since + self._lease_s:
            self._dropped_at = time.monotonic()
            for name in self._timetable.drop(list(self._tasks), self._consumer, self._lease_s, now):
                logger.info("The schedule of %s is dropped: no live consumer's code has it.", name)
        return True

    def _register(self) -> float:
        """Register the schedules of this code. Return the database's time."""
        self._tasks = self._periodic_tasks()
        self._schedules = {name: task.schedule for name, task in self._tasks.items()}
        self._check_at = dict.fromkeys(self._tasks, 0.0)
        now = self._timetable.register({name: str(schedule) for name, schedule in self._schedules.items()})
        for name, task in self._tasks.items():
            if getattr(task, "makes_dataset", False):
                self._make_first_version(name)
        return now

    def _make_first_version(self, name: str) -> None:
        task, job = self._job(name, "first version")
        if self._timetable.make_first_version(name, job):
            logger.info("%s: the first version is made at once.", name)
            self._emit(signals.SIGNAL_ENQUEUED, task)

    def _job(self, name: str, occasion: str) -> tuple[PeriodicTask, NewJob]:
        """Return a new task and its job. Their id is the same in all consumers for the same occasion."""
        task = self._tasks[name]()
        task.unique = False  # `overlap` decides how to treat two runs
        task.id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self._queue}/{name}/{occasion}"))
        return task, self._submitter.row(task)

    def _fire_schedule(self, name: str, watermark: float, now: float, until: float) -> None:
        """Fire the due moments of one schedule. Stop after one that ends past `until`, by time.monotonic()."""
        schedule, since = self._schedules[name], min(self._runs_since, now)
        try:
            missed = schedule.last_between(utc(watermark), utc(since))
            moments = schedule.between(utc(watermark) if missed is None else missed, utc(now))
            late = list(islice(moments, AT_ONCE))
        except Exception:
            logger.exception("Cannot compute when %s is due. Checking again in a minute.", name)
            self._check_at[name] = now + 60
            return
        if missed is not None:
            if now < since + OTHERS and self._timetable.others_live(self._consumer, self._lease_s, now):
                return  # check again in the next pass
            self._make_up(name, watermark, missed, since)
            watermark = missed.timestamp()
        for due in late:
            self._fire(name, watermark, due)
            watermark = self._check_at[name] = due.timestamp()
            if time.monotonic() >= until:
                return  # the next pass continues, with the schedule that is the furthest behind
        if len(late) < AT_ONCE:
            self._check_at[name] = self._next_check(name, now)

    def _make_up(self, name: str, watermark: float, due: datetime, since: float) -> None:
        grace_s = self._schedules[name].grace(due).total_seconds()
        if since - due.timestamp() <= grace_s:  # not counting the time that was left to the others
            self._fire(name, watermark, due, made_up=True)
            return
        note = f"{_text(due)} was missed: no consumer ran within its grace of {grace_s:g} s."
        logger.warning("%s: %s", name, note)
        self._timetable.pass_over(name, watermark, due.timestamp(), note)

    def _fire(self, name: str, watermark: float, due: datetime, made_up: bool = False) -> None:
        task, job = self._job(name, f"{due.astimezone(UTC):%Y-%m-%d %H:%M:%S}")
        overlap = self._schedules[name].overlap
        fire = self._timetable.fire(
            name, watermark, due.timestamp(), job, overlap=overlap, made_up=made_up, moment=_text(due)
        )
        if fire is Fire.SKIPPED:
            logger.warning("%s: %s is skipped, because the previous run has not ended.", name, _text(due))
        elif fire is not Fire.TAKEN:
            after = ", to run after the previous run" if fire is Fire.QUEUED else ""
            logger.info("%s: %s is %s%s.", name, _text(due), "made up" if made_up else "due", after)
            self._emit(signals.SIGNAL_ENQUEUED, task)

    def _next_check(self, name: str, now: float) -> float:
        """Return when to check a schedule again: at its next due moment, or each minute if its rule is a function."""
        schedule = self._schedules[name]
        if isinstance(schedule.rule, Minutes):
            return now // 60 * 60 + 60
        due = schedule.next_after(utc(now))
        if due is None:
            return float("inf")
        if skipped := schedule.skipped(utc(now), due):
            logger.info("%s: the sun does not rise or set on %s; due next at %s.", name, _days(skipped), _text(due))
        return due.timestamp()


def _text(due: datetime) -> str:
    return f"{due:%Y-%m-%d %H:%M:%S %Z}"


def _days(days: list[date]) -> str:
    return f"{days[0]}" if len(days) == 1 else f"{len(days)} days from {days[0]} to {days[-1]}"
