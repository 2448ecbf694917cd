"""Recurrence rules: periods, cron expressions, sunrise and sunset, each on a local clock.

Clock changes: a local time that is skipped stands for the end of the gap, and a local time that comes twice stands for its
first occurrence. Moments are aware and are compared in UTC, because Python compares two datetimes of one time zone by their
local times.
"""

import time as clock
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from itertools import count, islice
from typing import Protocol

from jobqueue.database.times import EPOCH, utc
from jobqueue.schedules.days import Days

HOUR, DAY = 3600, 24 * 3600  # seconds

SUN_SEARCH = 3 * 366  # selected days to search for one with a sunrise or sunset
MINUTE_SEARCH = 366 * DAY  # seconds to search for the next minute that a function accepts
LAST_SEARCH = 0.5  # seconds for a search for the last such minute, which keeps a consumer from its other work


@dataclass(frozen=True)
class Place:
    """A place for sunrise and sunset, in degrees north and east."""

    name: str
    latitude: float
    longitude: float

    def __str__(self) -> str:
        return self.name


class Rule(Protocol):
    """A recurrence. `english` describes it for people, for example "every weekday at 18:00"."""

    @property
    def english(self) -> str: ...

    def next_after(self, moment: datetime, tz: tzinfo, place: Place | None) -> datetime | None:
        """Return the first due moment after this one, both in UTC. Return None if the rule is never due again."""


@dataclass(frozen=True)
class Period:
    """A fixed number of seconds.

    A period that divides an hour follows the local clock, also across clock changes: 15 minutes is due at :00, :15, :30 and
    :45. A period that divides a day is due at fixed times of day. Any other period counts from the epoch.
    """

    seconds: int
    english: str

    @property
    def of_day(self) -> bool:
        """True if the period is due at fixed times of day."""
        return DAY % self.seconds == 0 and HOUR % self.seconds != 0

    def next_after(self, moment: datetime, tz: tzinfo, place: Place | None) -> datetime | None:
        now = _since_epoch(moment)
        if self.of_day:
            return self._next_time_of_day(moment, tz)
        if HOUR % self.seconds:
            return utc(now // self.seconds * self.seconds + self.seconds)
        offset = _offset(now, tz)
        due = (now + offset) // self.seconds * self.seconds + self.seconds - offset
        if _offset(due, tz) != offset:  # the clock changes before that
            changed = _change(now, due, tz)
            offset = _offset(changed, tz)
            due = -(-(changed + offset) // self.seconds) * self.seconds - offset
        return utc(due)

    def _next_time_of_day(self, moment: datetime, tz: tzinfo) -> datetime:
        local = moment.astimezone(tz).replace(tzinfo=None)
        midnight = datetime.combine(local.date(), time())
        for number in count((local - midnight) // timedelta(seconds=self.seconds) + 1):
            due = instant(midnight + timedelta(seconds=number * self.seconds), tz)
            if due > moment:
                return due
        raise AssertionError("there is always a next time of day")


@dataclass(frozen=True)
class TimesOfDay:
    """Times of day, in their order, on selected days."""

    days: Days
    times: tuple[time, ...]
    english: str

    def next_after(self, moment: datetime, tz: tzinfo, place: Place | None) -> datetime | None:
        days = self.days.since(moment.astimezone(tz).date())
        dues = (instant(datetime.combine(day, at), tz) for day in days for at in self.times)
        return next((due for due in dues if due > moment), None)


@dataclass(frozen=True)
class Cron:
    """A cron expression in cronsim's syntax."""

    expression: str
    english: str

    def next_after(self, moment: datetime, tz: tzinfo, place: Place | None) -> datetime | None:
        from cronsim import CronSim

        dues = (due.astimezone(UTC) for due in CronSim(self.expression, moment.astimezone(tz)))
        # In an hour that comes twice, the first of these may be earlier than the moment.
        return next((due for due in dues if due > moment), None)


@dataclass(frozen=True)
class Sun:
    """Sunrise or sunset, with an offset in seconds, on selected days.

    A day is a date in the time zone. Days without a sunrise or sunset at the place are skipped.
    """

    days: Days
    event: str  # "sunrise" or "sunset"
    seconds: int
    english: str

    def next_after(self, moment: datetime, tz: tzinfo, place: Place | None) -> datetime | None:
        for _, due in self._days(moment, tz, place):
            if due is not None and due > moment:
                return due
        return None

    def skipped(self, after: datetime, until: datetime, tz: tzinfo, place: Place | None) -> list[date]:
        """Return the selected days between two moments that have no sunrise or sunset."""
        days = []
        for day, due in self._days(after, tz, place):
            if day > until.astimezone(tz).date():
                break
            if due is None and day > after.astimezone(tz).date():
                days.append(day)
        return days

    def _days(self, moment: datetime, tz: tzinfo, place: Place | None) -> Iterator[tuple[date, datetime | None]]:
        from astral import Observer
        from astral.sun import sunrise, sunset

        assert place is not None, "Schedule.bound refuses a schedule by the sun without a place"
        observer, find = Observer(place.latitude, place.longitude), {"sunrise": sunrise, "sunset": sunset}[self.event]
        first = (moment - timedelta(seconds=self.seconds)).astimezone(tz).date()
        for day in islice(self.days.since(first), SUN_SEARCH):
            try:
                event = find(observer, day, tzinfo=tz).astimezone(UTC).replace(microsecond=0)
            except ValueError:  # astral: this day has no such event
                yield day, None
            else:
                yield day, event + timedelta(seconds=self.seconds)


@dataclass(frozen=True)
class Minutes:
    """The minutes that a function accepts: Huey's crontab(...), or a function of the app's own.

    :param is_due: called with a minute as Huey gives it: naive, in UTC or the host's local time.
    :param as_huey: converts seconds since the epoch to such a minute.
    """

    is_due: Callable[[datetime], bool]
    as_huey: Callable[[float], datetime]
    english: str = "every minute for which its function says so"

    def next_after(self, moment: datetime, tz: tzinfo, place: Place | None) -> datetime | None:
        return next(self.between(moment, moment + timedelta(seconds=MINUTE_SEARCH)), None)

    def between(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """Yield the due minutes after one moment, up to and including another."""
        for minute in self._minutes(after, until):
            if self.is_due(self.as_huey(minute)):
                yield utc(minute)

    def last_between(self, after: datetime, until: datetime) -> datetime | None:
        """Return the last due minute after one moment, up to and including another. Give up after LAST_SEARCH seconds."""
        started = clock.monotonic()
        for minute in reversed(self._minutes(after, until)):
            if self.is_due(self.as_huey(minute)):
                return utc(minute)
            if clock.monotonic() > started + LAST_SEARCH:
                return None
        return None

    @staticmethod
    def _minutes(after: datetime, until: datetime) -> range:
        return range(_since_epoch(after) // 60 * 60 + 60, _since_epoch(until) + 1, 60)


def instant(local: datetime, tz: tzinfo) -> datetime:
    """Return the moment of a local time in UTC: the first of two, or the end of the gap if the clock skips that time."""
    moment = local.replace(tzinfo=tz).astimezone(UTC)
    if moment.astimezone(tz).replace(tzinfo=None) == local:
        return moment
    before_the_gap = local.replace(tzinfo=tz, fold=1).astimezone(UTC)
    return utc(_change(_since_epoch(before_the_gap), _since_epoch(moment), tz))


def _change(before: int, after: int, tz: tzinfo) -> int:
    """Return the second of the one clock change after `before`, up to and including `after`."""
    offset = _offset(before, tz)
    while after - before > 1:
        middle = (before + after) // 2
        if _offset(middle, tz) == offset:
            before = middle
        else:
            after = middle
    return after


def _offset(seconds: int, tz: tzinfo) -> int:
    offset = utc(seconds).astimezone(tz).utcoffset()
    return 0 if offset is None else int(offset.total_seconds())


def _since_epoch(moment: datetime) -> int:
    """Return whole seconds since the epoch, rounded down."""
    return (moment - EPOCH) // timedelta(seconds=1)
