"""When something is due next: periods, cron and the sun, each on a local clock.

A local time that a change of the clock leaves out stands for the end of that gap; one that comes twice, for the first time.
Moments are aware, and compared in UTC: two of one time zone would be compared by what their clocks show.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from itertools import count
from typing import Protocol

HOUR, DAY = 3600, 24 * 3600  # seconds

LONGEST_NIGHT = 3 * 366  # days in which a day that has a sunset is looked for
FARTHEST = 366 * DAY  # seconds in which a function's next minute is looked for


@dataclass(frozen=True)
class Place:
    """Where the sun rises. Degrees north and east."""

    name: str
    latitude: float
    longitude: float

    def __str__(self) -> str:
        return self.name


class Rule(Protocol):
    """What a schedule repeats. `english`: "every weekday at 18:00"."""

    @property
    def english(self) -> str: ...

    def next_after(self, moment: datetime, tz: tzinfo, place: Place | None) -> datetime | None:
        """The first due moment after this one; both in UTC. None where there is none."""


@dataclass(frozen=True)
class Period:
    """Each so many seconds.

    A period that divides an hour keeps to the local clock and runs through its changes: each quarter of an hour is one. One
    that divides a day is so many times of day. All others count from the epoch.
    """

    seconds: int
    english: str

    @property
    def of_day(self) -> bool:
        """Whether it is due at certain times of day."""
        return DAY % self.seconds == 0 and HOUR % self.seconds != 0

    def next_after(self, moment: datetime, tz: tzinfo, place: Place | None) -> datetime | None:
        now = _since_epoch(moment)
        if self.of_day:
            return self._next_time_of_day(moment, tz)
        if HOUR % self.seconds:
            return _at(now // self.seconds * self.seconds + self.seconds)
        offset = _offset(now, tz)
        due = (now + offset) // self.seconds * self.seconds + self.seconds - offset
        if _offset(due, tz) != offset:  # the clock changes until then
            changed = _change(now, due, tz)
            offset = _offset(changed, tz)
            due = -(-(changed + offset) // self.seconds) * self.seconds - offset
        return _at(due)

    def _next_time_of_day(self, moment: datetime, tz: tzinfo) -> datetime:
        there = moment.astimezone(tz).replace(tzinfo=None)
        midnight = datetime.combine(there.date(), time())
        for number in count((there - midnight) // timedelta(seconds=self.seconds) + 1):
            due = instant(midnight + timedelta(seconds=number * self.seconds), tz)
            if due > moment:
                return due
        raise AssertionError("there is always a next time of day")


@dataclass(frozen=True)
class Cron:
    """Cron expressions, as cronsim has them: due when any of them is."""

    expressions: tuple[str, ...]
    english: str

    def next_after(self, moment: datetime, tz: tzinfo, place: Place | None) -> datetime | None:
        found = [due for due in (self._next(expression, moment, tz) for expression in self.expressions) if due]
        return min(found, default=None)

    @staticmethod
    def _next(expression: str, moment: datetime, tz: tzinfo) -> datetime | None:
        from cronsim import CronSim

        dues = (due.astimezone(UTC) for due in CronSim(expression, moment.astimezone(tz)))
        return next((due for due in dues if due > moment), None)  # the first may lie before, where an hour comes twice


@dataclass(frozen=True)
class Sun:
    """Sunrise or sunset, or some seconds before or after, on the days of a cron expression's last three fields.

    A day is a date of the time zone. One on which the sun does not rise or set there is skipped.
    """

    days: str
    event: str  # "sunrise" or "sunset"
    seconds: int
    english: str

    def next_after(self, moment: datetime, tz: tzinfo, place: Place | None) -> datetime | None:
        for _, due in self._days(moment, tz, place):
            if due is not None and due > moment:
                return due
        return None

    def skipped(self, after: datetime, until: datetime, tz: tzinfo, place: Place | None) -> list[date]:
        """Days between two moments on which it would be due, and the sun does not rise or set."""
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
        from cronsim import CronSim

        assert place is not None, "a schedule that needs one is not registered without"
        observer, find = Observer(place.latitude, place.longitude), {"sunrise": sunrise, "sunset": sunset}[self.event]
        before = (moment - timedelta(seconds=self.seconds)).astimezone(tz).replace(tzinfo=None) - timedelta(days=1)
        for midnight in CronSim(f"0 0 {self.days}", before):
            if midnight > before + timedelta(days=LONGEST_NIGHT):
                return
            try:
                event = find(observer, midnight.date(), tzinfo=tz).astimezone(UTC).replace(microsecond=0)
            except ValueError:  # astral's word for a day without
                yield midnight.date(), None
            else:
                yield midnight.date(), event + timedelta(seconds=self.seconds)


@dataclass(frozen=True)
class Minutes:
    """The minutes for which a function says yes: Huey's crontab(...), or one's own."""

    is_due: Callable[[datetime], bool]  # given the minute as Huey gives it: naive, in UTC or the host's local time
    as_huey: Callable[[float], datetime]
    english: str = "every minute for which its function says so"

    def next_after(self, moment: datetime, tz: tzinfo, place: Place | None) -> datetime | None:
        return next(self.between(moment, moment + timedelta(seconds=FARTHEST)), None)

    def between(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """Those after a moment, up to another and with it."""
        for minute in range(_since_epoch(after) // 60 * 60 + 60, _since_epoch(until) + 1, 60):
            if self.is_due(self.as_huey(minute)):
                yield _at(minute)


def instant(local: datetime, tz: tzinfo) -> datetime:
    """The moment of a local time, in UTC: the first where it comes twice, the end of the gap where it does not come."""
    moment = local.replace(tzinfo=tz).astimezone(UTC)
    if moment.astimezone(tz).replace(tzinfo=None) == local:
        return moment
    before_the_gap = local.replace(tzinfo=tz, fold=1).astimezone(UTC)
    return _at(_change(_since_epoch(before_the_gap), _since_epoch(moment), tz))


def _change(before: int, after: int, tz: tzinfo) -> int:
    """The second at which the clock changes, once, after one and up to another."""
    offset = _offset(before, tz)
    while after - before > 1:
        middle = (before + after) // 2
        if _offset(middle, tz) == offset:
            before = middle
        else:
            after = middle
    return after


def _offset(seconds: int, tz: tzinfo) -> int:
    offset = _at(seconds).astimezone(tz).utcoffset()
    return 0 if offset is None else int(offset.total_seconds())


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _since_epoch(moment: datetime) -> int:
    """Whole seconds, rounded down."""
    return (moment - _EPOCH) // timedelta(seconds=1)


def _at(seconds: int) -> datetime:
    return _EPOCH + timedelta(seconds=seconds)
