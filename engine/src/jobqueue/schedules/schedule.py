"""Schedules: `every("weekday at 18:00")` and `cron("0 7 * * MON-FRI")`, for `@huey.periodic_task(...)`.

A schedule only says when it is due. Who fires it, once, is in firing.py.
"""

import difflib
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Literal
from zoneinfo import ZoneInfo

from jobqueue.schedules.phrases import rule_of
from jobqueue.schedules.recurrence import Cron, Minutes, Period, Place, Rule, Sun

Overlap = Literal["skip", "queue"]
Where = str | tuple[float, float]  # a city, or degrees north and east


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """When something is due. Printed, it is plain English.

    Where no time zone or no place is given, those of the DurableHuey at which it is registered are taken, else UTC.
    """

    rule: Rule
    tz: ZoneInfo | None = None
    place: Place | None = None
    grace_s: float | None = None  # seconds; None: one period, at most a day
    overlap: Overlap = "skip"

    def next_after(self, moment: datetime) -> datetime | None:
        """The first due moment after an aware one, in the schedule's time zone; None where there is none.

        Raises ValueError for a moment without a time zone.
        """
        if moment.tzinfo is None:
            raise ValueError(f"{moment!r} has no time zone: give it one, for example datetime.now(UTC).")
        try:
            due = self.rule.next_after(moment.astimezone(UTC), self._zone, self.place)
        except OverflowError:  # the calendar's end
            return None
        return None if due is None else due.astimezone(self._zone)

    def between(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """The due moments after one and up to another, which may be one of them."""
        if isinstance(self.rule, Minutes):
            yield from self.rule.between(after, until)
            return
        due = self.next_after(after)
        while due is not None and due.astimezone(UTC) <= until:
            yield due
            due = self.next_after(due)

    def last_between(self, after: datetime, until: datetime) -> datetime | None:
        """The last of these, without a walk through all of them; of a function's minutes, in the last day."""
        if isinstance(self.rule, Minutes):
            after = max(after, until - timedelta(days=1))
        span = timedelta(hours=1)
        while span < until - after:
            if found := list(self.between(until - span, until)):
                return found[-1]
            span *= 4
        return max(self.between(after, until), default=None, key=lambda due: due.astimezone(UTC))

    def grace(self, due: datetime) -> timedelta:
        """How late a fire that was missed is still made up."""
        if self.grace_s is not None:
            return timedelta(seconds=self.grace_s)
        following = None if isinstance(self.rule, Minutes) else self.next_after(due)
        day = timedelta(days=1)
        return day if following is None else min(following.astimezone(UTC) - due.astimezone(UTC), day)

    def skipped(self, after: datetime, until: datetime) -> list[date]:
        """Days on which it would be due but for the sun, which does not rise or set there."""
        if not isinstance(self.rule, Sun):
            return []
        return self.rule.skipped(after.astimezone(UTC), until.astimezone(UTC), self._zone, self.place)

    def there(self, moment: float | None) -> datetime | None:
        """Seconds since the epoch as a time in the schedule's time zone."""
        return None if moment is None else datetime.fromtimestamp(moment, self._zone)

    def bound(self, tz: ZoneInfo, place: Where | None) -> "Schedule":
        """With the time zone and place of a DurableHuey, where it has none of its own. Raises ValueError without a place."""
        if not isinstance(self.rule, Sun):
            return replace(self, tz=self.tz or tz)
        there = self.place or (None if place is None else find_place(place))
        if there is None:
            raise ValueError(
                f"{self} needs a place: every(..., place='Montreal'), place=(45.5, -73.57) in degrees north and east, or "
                "DurableHuey(place=...) for all schedules."
            )
        return replace(self, tz=self.tz or tz, place=there)

    def __call__(self, moment: datetime) -> bool:
        """Whether it is due in the minute of a naive moment in UTC: what Huey asks of a periodic task."""
        minute = moment.replace(second=0, microsecond=0, tzinfo=UTC)
        return next(self.between(minute - timedelta(microseconds=1), minute + timedelta(seconds=59)), None) is not None

    def __str__(self) -> str:
        said = self.rule.english
        if isinstance(self.rule, Sun) and self.place is not None:
            said += f" in {self.place}"
        by_any_clock = isinstance(self.rule, Minutes) or (isinstance(self.rule, Period) and not self.rule.of_day)
        return said if by_any_clock else f"{said} ({self._zone})"

    @property
    def _zone(self) -> tzinfo:
        return self.tz or UTC


def every(
    phrase: str,
    *,
    tz: str | None = None,
    place: Where | None = None,
    grace: float | timedelta | None = None,
    overlap: Overlap = "skip",
) -> Schedule:
    """A schedule in a person's words: "30 seconds", "day at 07:30", "last friday of the month at 17:00", "sunday at sunset".

    :param tz: an IANA name, "Europe/Paris".
    :param place: for the sun: a city that astral knows, or degrees north and east.
    :param grace: how late a fire that was missed is made up, in seconds; by default one period, at most a day.
    :param overlap: what becomes of a fire when the run before it still goes on: "skip" it, or "queue" it to run after that.
    Raises ValueError: with the forms that there are, for a phrase that is none of them.
    """
    return _schedule(rule_of(phrase), tz, place, grace, overlap)


def cron(
    expression: str,
    *,
    tz: str | None = None,
    grace: float | timedelta | None = None,
    overlap: Overlap = "skip",
) -> Schedule:
    """A schedule as cron has it: minute, hour, day of the month, month, day of the week; `L`, `LW` and `#` as in cronsim.

    The rest as for `every`. Raises ValueError for an expression that cronsim cannot read.
    """
    from cronsim import CronSim, CronSimError

    try:
        english = CronSim(expression, datetime(2000, 1, 1)).explain()
    except CronSimError as error:
        raise ValueError(
            f"cron({expression!r}) cannot be read: {error}. It takes minute, hour, day of the month, month and day of the "
            "week: cron('0 7 * * MON-FRI')."
        ) from error
    return _schedule(Cron((expression,), english[0].lower() + english[1:]), tz, None, grace, overlap)


def _schedule(
    rule: Rule, tz: str | None, place: Where | None, grace: float | timedelta | None, overlap: Overlap
) -> Schedule:
    if overlap not in ("skip", "queue"):
        raise ValueError(f"overlap={overlap!r}: it is 'skip' or 'queue'.")
    grace_s = grace.total_seconds() if isinstance(grace, timedelta) else grace
    if grace_s is not None and grace_s < 0:
        raise ValueError(f"grace={grace!r}: it is 0 seconds or more.")
    return Schedule(
        rule=rule,
        tz=None if tz is None else find_zone(tz),
        place=None if place is None else find_place(place),
        grace_s=grace_s,
        overlap=overlap,
    )


def find_zone(name: str) -> ZoneInfo:
    """Raises ValueError, with the nearest name that there is."""
    try:
        return ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        near = difflib.get_close_matches(name, zoneinfo.available_timezones(), n=1, cutoff=0.5) or ["Europe/Paris"]
        raise ValueError(f"{name!r} is no time zone. It is an IANA name, like {near[0]!r}.") from None


def find_place(where: Where) -> Place:
    """A city that astral knows, or degrees north and east. Raises ValueError."""
    if not isinstance(where, str):
        try:
            latitude, longitude = map(float, where)
        except (TypeError, ValueError):
            raise ValueError(f"place={where!r}: it is a city, or degrees north and east: (45.5, -73.57).") from None
        if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
            raise ValueError(f"place={where!r}: from -90 to 90 degrees north, and from -180 to 180 degrees east.")
        return Place(f"({latitude:g}, {longitude:g})", latitude, longitude)
    from astral.geocoder import all_locations, database

    cities = {city.name: city for city in all_locations(database())}
    names = {name.lower(): name for name in cities}
    if (name := names.get(where.lower())) is None:
        near = difflib.get_close_matches(where.title(), cities, n=1, cutoff=0.6)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"place={where!r} is no city that astral knows.{hint} Degrees north and east do as well: (45.5, -73.57)."
        )
    return Place(name, cities[name].latitude, cities[name].longitude)
