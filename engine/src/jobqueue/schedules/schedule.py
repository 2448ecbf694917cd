"""Schedules: `every("weekday at 18:00")` and `cron("0 7 * * MON-FRI")`, for `@huey.periodic_task(...)`.

A schedule only computes due moments. The consumer's scheduler fires them (consumer/scheduler.py).
"""

import difflib
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import takewhile
from typing import Literal
from zoneinfo import ZoneInfo

from jobqueue.database.times import utc
from jobqueue.schedules.cron_expressions import rule_of_cron
from jobqueue.schedules.days import START, find_holidays
from jobqueue.schedules.phrases import rule_of
from jobqueue.schedules.recurrence import Minutes, Period, Place, Rule, Sun

POLAR = 65  # degrees; nearer to the equator the sun rises and sets each day, and no app has to import astral to know
Overlap = Literal["skip", "queue"]
Where = str | tuple[float, float]  # a city, or degrees north and east


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A rule with a time zone, and a place if it needs one. Make one with `every(...)` or `cron(...)`.

    `str(schedule)` describes it in plain English. A schedule without a time zone or place gets those of the DurableHuey that
    registers it. Without any of these the time zone is UTC.
    """

    rule: Rule
    tz: ZoneInfo | None = None
    place: Place | None = None
    grace_s: float | None = None  # None: one period, at most a day
    overlap: Overlap = "skip"

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the first due moment after an aware one, in the schedule's time zone.

        Return None if it is never due again. Raises ValueError for a moment without a time zone.
        """
        if moment.tzinfo is None:
            raise ValueError(f"{moment!r} has no time zone. Pass an aware datetime, for example datetime.now(UTC).")
        try:
            due = self.rule.next_after(moment.astimezone(UTC), self._zone, self.place)
        except OverflowError:  # past the year 9999
            return None
        return None if due is None else due.astimezone(self._zone)

    def between(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """Yield the due moments after one moment, up to and including another."""
        if isinstance(self.rule, Minutes):
            yield from self.rule.between(after, until)
        else:
            yield from takewhile(lambda due: due.astimezone(UTC) <= until, self.following(after))

    def following(self, moment: datetime) -> Iterator[datetime]:
        """Yield the due moments after an aware one."""
        due = self.next_after(moment)
        while due is not None:
            yield due
            due = self.next_after(due)

    def last_between(self, after: datetime, until: datetime) -> datetime | None:
        """Return the last due moment after one moment, up to and including another, without computing all of them.

        A rule that is a function is asked only about the last day, and for at most half a second.
        """
        if isinstance(self.rule, Minutes):
            return self.rule.last_between(max(after, until - timedelta(days=1)), until)
        span = timedelta(hours=1)
        while span < until - after:
            if found := list(self.between(until - span, until)):
                return found[-1]
            span *= 4
        return max(self.between(after, until), default=None, key=lambda due: due.astimezone(UTC))

    def grace(self, due: datetime) -> timedelta:
        """Return how late a missed fire is still made up."""
        if self.grace_s is not None:
            return timedelta(seconds=self.grace_s)
        following = None if isinstance(self.rule, Minutes) else self.next_after(due)
        day = timedelta(days=1)
        return day if following is None else min(following.astimezone(UTC) - due.astimezone(UTC), day)

    def skipped(self, after: datetime, until: datetime) -> list[date]:
        """Return the days between two moments that are skipped because the sun does not rise or set."""
        if not isinstance(self.rule, Sun):
            return []
        return self.rule.skipped(after.astimezone(UTC), until.astimezone(UTC), self._zone, self.place)

    def local(self, seconds: float | None) -> datetime | None:
        """Return seconds since the epoch as a time in the schedule's time zone, and None for None."""
        return None if seconds is None else utc(seconds).astimezone(self._zone)

    def bound(self, tz: ZoneInfo, place: Where | None) -> "Schedule":
        """Return the schedule with this time zone and place as defaults.

        Raises ValueError for a schedule by the sun that ends up without a place, or that is never due at its place.
        """
        if not isinstance(self.rule, Sun):
            return replace(self, tz=self.tz or tz)
        found = self.place or (None if place is None else find_place(place))
        if found is None:
            raise ValueError(
                f"{self} needs a place. Pass every(..., place='Montreal') or place=(45.5, -73.57) in degrees north and east, "
                "or set DurableHuey(place=...) for all schedules."
            )
        schedule = replace(self, tz=self.tz or tz, place=found)
        if abs(found.latitude) > POLAR and schedule.next_after(datetime.now(UTC)) is None:
            verb = "rise" if self.rule.event == "sunrise" else "set"
            raise ValueError(
                f"{schedule} is never due: on these days the sun does not {verb} there. Choose other days or another place."
            )
        return schedule

    def __call__(self, moment: datetime) -> bool:
        """Return whether the schedule is due in the minute of a naive moment in UTC. Huey asks this of a periodic task."""
        minute = moment.replace(second=0, microsecond=0, tzinfo=UTC)
        return next(self.between(minute - timedelta(microseconds=1), minute + timedelta(seconds=59)), None) is not None

    def __str__(self) -> str:
        english = self.rule.english
        if isinstance(self.rule, Sun) and self.place is not None:
            english += f" in {self.place}"
        same_on_any_clock = isinstance(self.rule, Minutes) or (isinstance(self.rule, Period) and not self.rule.of_day)
        return english if same_on_any_clock else f"{english} ({self._zone})"

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
    holidays: str | None = None,
    start: date | str | None = None,
) -> Schedule:
    """Return a schedule for a phrase in plain English.

    Example::

        @huey.periodic_task(every("weekday at 18:00", tz="Europe/Paris"))
        def close_of_day(): ...

    Other phrases: "30 seconds", "daily at 7:30 and 18:00", "mon-fri at 9", "30 minutes between 9:00 and 17:00 on weekdays",
    "last business day of the month at 17:00", "other monday", "sunday at sunset". docs/schedules.md has a table.

    :param phrase: the recurrence. A leading "every" is ignored. A phrase without a time of day is due at midnight.
    :param tz: an IANA time zone, such as "Europe/Paris". By default the DurableHuey's.
    :param place: for sunrise and sunset: a city that astral knows, or (degrees north, degrees east). By default the
        DurableHuey's.
    :param grace: seconds, or a timedelta, within which a missed fire is still made up. By default one period, at most a day.
    :param overlap: how to treat a due moment while the previous run has not ended: "skip" it, or "queue" its job to run
        after that run.
    :param holidays: the days that are no business days: a country ("US"), a region ("DE-BY") or a market ("NYSE") of the
        `holidays` library, which is the extra `holidays`. By default, every Monday to Friday is a business day.
    :param start: the day from which "2 weeks", "other monday" and the like are counted, as a date or ISO text. By default
        Monday, 2024-01-01.

    Raises NotUnderstood, which lists the supported forms, for a phrase that matches none of them. Raises ValueError for an
    impossible number, time zone, place, grace, overlap, holidays or start, and for one of the last two that the phrase does
    not use.
    """
    rule = rule_of(
        phrase,
        holidays=None if holidays is None else find_holidays(holidays),
        start=START if start is None else _date(start),
    )
    days = getattr(rule, "days", None)
    if holidays is not None and (days is None or days.holidays is None):
        raise ValueError(f"{phrase!r} has no business days, so holidays={holidays!r} has no effect. Leave it out.")
    if start is not None and (days is None or days.step == 1):
        raise ValueError(f"{phrase!r} does not count from a day, so start={start!r} has no effect. Leave it out.")
    return _schedule(rule, tz, place, grace, overlap)


def cron(
    expression: str,
    *,
    tz: str | None = None,
    grace: float | timedelta | None = None,
    overlap: Overlap = "skip",
) -> Schedule:
    """Return a schedule for a cron expression.

    Example::

        @huey.periodic_task(cron("0 7 * * MON-FRI", tz="Europe/Paris"))
        def opening_prices(): ...

    :param expression: minute, hour, day of the month, month, day of the week. `L`, `LW` and `#` work as in cronsim.
    :param tz: an IANA time zone, as for `every`.
    :param grace: seconds or a timedelta, as for `every`.
    :param overlap: "skip" or "queue", as for `every`.

    Raises ValueError for an expression that cronsim cannot parse, that is never due, or that has a step longer than its range,
    and for an impossible time zone, grace or overlap.
    """
    return _schedule(rule_of_cron(expression), tz, None, grace, overlap)


def _schedule(
    rule: Rule, tz: str | None, place: Where | None, grace: float | timedelta | None, overlap: Overlap
) -> Schedule:
    if overlap not in ("skip", "queue"):
        raise ValueError(f"overlap={overlap!r} is not supported. Choose 'skip' or 'queue'.")
    return Schedule(
        rule=rule,
        tz=None if tz is None else find_zone(tz),
        place=None if place is None else find_place(place),
        grace_s=None if grace is None else _grace_s(grace),
        overlap=overlap,
    )


def _date(given: date | str) -> date:
    """Return a date, or raise ValueError."""
    try:
        return date.fromisoformat(given) if isinstance(given, str) else date(given.year, given.month, given.day)
    except (AttributeError, TypeError, ValueError):
        raise ValueError(f"start={given!r} is not a day. Give a date, for example '2026-11-30'.") from None


def _grace_s(grace: float | timedelta) -> float:
    """Return a grace period in seconds. Raises ValueError unless it is finite, and 0 or more."""
    try:
        grace_s = (grace if isinstance(grace, timedelta) else timedelta(seconds=grace)).total_seconds()
    except (TypeError, ValueError, OverflowError):
        grace_s = -1.0
    if grace_s < 0:
        raise ValueError(f"grace={grace!r} is not possible. Give 0 seconds or more, or a timedelta.")
    return grace_s


def find_zone(name: str) -> ZoneInfo:
    """Return the time zone of an IANA name. Raises ValueError, which names the nearest one, if it is unknown."""
    try:
        return ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        near = difflib.get_close_matches(name, zoneinfo.available_timezones(), n=1, cutoff=0.5) or ["Europe/Paris"]
        raise ValueError(f"{name!r} is not a time zone. Give an IANA name, for example {near[0]!r}.") from None


def find_place(where: Where) -> Place:
    """Return the place of a city that astral knows, or of (degrees north, degrees east). Raises ValueError for others."""
    if not isinstance(where, str):
        try:
            latitude, longitude = map(float, where)
        except (TypeError, ValueError):
            raise ValueError(
                f"place={where!r} is not a place. Give a city, or degrees north and east: (45.5, -73.57)."
            ) from None
        if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
            raise ValueError(
                f"place={where!r} is not on Earth. Give -90 to 90 degrees north and -180 to 180 degrees east."
            )
        return Place(f"({latitude:g}, {longitude:g})", latitude, longitude)
    from astral.geocoder import all_locations, database

    cities = {city.name: city for city in all_locations(database())}
    names = {name.lower(): name for name in cities}
    if (name := names.get(where.lower())) is None:
        near = difflib.get_close_matches(where.title(), cities, n=1, cutoff=0.6)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"place={where!r} is not a city that astral knows.{hint} You can also give degrees north and east: (45.5, -73.57)."
        )
    return Place(name, cities[name].latitude, cities[name].longitude)
