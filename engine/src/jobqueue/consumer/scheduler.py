"""What a consumer's main process does for the schedules of its code: it fires what is due, once, whoever else does the same.

A moment that comes while a consumer runs is fired by whichever is first, each by itself, however late that is. Of those that
came while none ran the last is made up, if that is within its grace. When a consumer starts it cannot know at once whether
another runs: so it leaves what was due before to the others for a while.
"""

import logging
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime

from huey import signals
from huey.api import PeriodicTask

from jobqueue.ledger.ledger import Ledger
from jobqueue.schedules.recurrence import Minutes
from jobqueue.schedules.schedule import Schedule
from jobqueue.schedules.timetable import Fire, Timetable
from jobqueue.tasks.submission import Emit
from jobqueue.tasks.submitter import Submitter

logger = logging.getLogger("jobqueue.scheduler")

OTHERS = 5.0  # seconds in which another consumer that lives has fired what is due
STILL = 15.0  # seconds after which a main process that did not get to look did not run
DROP = 60.0  # seconds between two looks for schedules that no code has


class Scheduler:
    """Fires the schedules of one consumer's code.

    :param queue: the queue's name, part of the id of every scheduled job.
    :param consumer: the consumer's id.
    :param periodic_tasks: returns the periodic tasks of this code, by full name.
    :param lease_s: seconds after which a silent consumer counts as dead.
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
        self._ask_at: dict[str, float] = {}  # when to look next, by the database's clock
        self._runs_since = self._turned_at = float("-inf")  # likewise
        self._dropped_at = float("-inf")  # by time.monotonic()

    def begin(self) -> None:
        """From now on this consumer runs. Raises DatabaseUnavailable."""
        self._runs_since = self._turned_at = self._register()

    def turn(self, now: float) -> None:
        """Fire what is due. `now` is what the database's clock should say: it is asked only if something is due by that.

        Raises DatabaseUnavailable.
        """
        if now > self._turned_at + STILL:
            self._runs_since = now
        self._turned_at = now
        if due := [name for name, at in self._ask_at.items() if at <= now]:
            rows, now = self._timetable.watermarks(due)
            for name in due:
                if name not in rows:
                    self._register()  # it was dropped, by older code that did not know it
                elif rows[name]["paused_at"] is None:
                    self._fire_due(name, rows[name]["watermark"], now)
                else:
                    self._ask_at[name] = self._next(name, now)
        if time.monotonic() >= self._dropped_at + DROP:
            self._dropped_at = time.monotonic()
            for name in self._timetable.drop(list(self._tasks), self._consumer, self._lease_s):
                logger.info("The schedule of %s is dropped: no consumer's code has it.", name)

    def _register(self) -> float:
        """This code's schedules. Returns the database's time."""
        self._tasks = self._periodic_tasks()
        self._schedules = {name: task.schedule for name, task in self._tasks.items()}
        self._ask_at = dict.fromkeys(self._tasks, 0.0)
        return self._timetable.register({name: str(schedule) for name, schedule in self._schedules.items()})

    def _fire_due(self, name: str, watermark: float, now: float) -> None:
        schedule, since = self._schedules[name], min(self._runs_since, now)
        try:
            missed = schedule.last_between(_at(watermark), _at(since))
            late = list(schedule.between(_at(watermark) if missed is None else missed, _at(now)))
        except Exception:
            logger.exception("The schedule of %s cannot be read.", name)
            self._ask_at[name] = now + 60
            return
        if missed is not None:
            if now < since + OTHERS and self._timetable.others_live(self._consumer, self._lease_s):
                return  # in the next turn again
            self._make_up(name, watermark, missed, since)
            watermark = missed.timestamp()
        for due in late:
            self._fire(name, watermark, due)
            watermark = due.timestamp()
        self._ask_at[name] = self._next(name, now)

    def _make_up(self, name: str, watermark: float, due: datetime, since: float) -> None:
        grace_s = self._schedules[name].grace(due).total_seconds()
        if since - due.timestamp() <= grace_s:  # however long the others were waited for
            self._fire(name, watermark, due, made_up=True)
            return
        note = f"{_said(due)} was missed: no consumer ran within its grace of {grace_s:g} s."
        logger.warning("%s: %s", name, note)
        self._timetable.pass_over(name, watermark, due.timestamp(), note)

    def _fire(self, name: str, watermark: float, due: datetime, made_up: bool = False) -> None:
        task = self._tasks[name]()
        task.unique = False  # `overlap` says what becomes of two of them
        task.id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self._queue}/{name}/{due.astimezone(UTC):%Y-%m-%d %H:%M:%S}"))
        job = self._submitter.row(task)
        overlap = self._schedules[name].overlap
        fire = self._timetable.fire(
            name, watermark, due.timestamp(), job, overlap=overlap, made_up=made_up, said=_said(due)
        )
        if fire is Fire.SKIPPED:
            logger.warning("%s: %s is skipped, as the run before it still goes on.", name, _said(due))
        elif fire is not Fire.TAKEN:
            after = ", to run after the one before it, which still goes on" if fire is Fire.QUEUED else ""
            logger.info("%s: %s is %s%s.", name, _said(due), "made up" if made_up else "due", after)
            self._emit(signals.SIGNAL_ENQUEUED, task)

    def _next(self, name: str, now: float) -> float:
        """When to look again: at the next due moment, or the next minute to ask a function about."""
        schedule = self._schedules[name]
        if isinstance(schedule.rule, Minutes):
            return now // 60 * 60 + 60
        due = schedule.next_after(_at(now))
        if due is None:
            return float("inf")
        if skipped := schedule.skipped(_at(now), due):
            logger.info("%s: the sun does not rise or set on %s; due next at %s.", name, _days(skipped), _said(due))
        return due.timestamp()


def _at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _said(due: datetime) -> str:
    return f"{due:%Y-%m-%d %H:%M:%S %Z}"


def _days(days: list[date]) -> str:
    return f"{days[0]}" if len(days) == 1 else f"{len(days)} days from {days[0]} to {days[-1]}"
