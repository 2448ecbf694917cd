"""Days of the calendar that a schedule selects: weekdays, days of the month, business days, and every nth week."""

import calendar
import difflib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import lru_cache
from typing import Any

ALL_WEEKDAYS = frozenset(range(7))  # Monday is 0
BUSINESS_WEEKDAYS = frozenset(range(5))
START = date(2024, 1, 1)  # a Monday; the first day of a schedule for every second day, week or month
YEARS = 101  # to search for the next day; one more than the longest period


@dataclass(frozen=True)
class Holidays:
    """The public holidays of a country, one of its regions, or a market, from the `holidays` library."""

    name: str
    _calendar: Any = field(compare=False, repr=False)

    def __contains__(self, day: date) -> bool:
        return day in self._calendar


@dataclass(frozen=True)
class Days:
    """The days that meet every condition.

    `numbers`: days of the month; -1 is the last. `nth`: the nth of a month's days that meet the other conditions; -1 is the last.
    `step` and `unit`: every second week, for example, counted from the week of `start`.
    """

    weekdays: frozenset[int] = ALL_WEEKDAYS
    numbers: frozenset[int] = frozenset()
    nth: int | None = None
    months: frozenset[int] = frozenset(range(1, 13))
    step: int = 1
    unit: str = "day"
    start: date = START
    holidays: Holidays | None = None

    def since(self, first: date) -> Iterator[date]:
        """Yield the days from a date on, for YEARS years."""
        month = first.replace(day=1)
        for _ in range(12 * YEARS):
            yield from (day for day in _of_month(self, month) if day >= first)
            month = (month + timedelta(days=31)).replace(day=1)

    def in_turn(self, day: date) -> bool:
        """Return whether a day is in a counted day or week."""
        if self.step == 1 or self.unit == "month":
            return True
        if self.unit == "day":
            return (day - self.start).days % self.step == 0
        monday = self.start - timedelta(days=self.start.weekday())
        return (day - monday).days // 7 % self.step == 0


@lru_cache(maxsize=100)
def _of_month(selected: Days, month: date) -> list[date]:
    """Return the selected days of a month. The next due moment is asked for often, and is mostly in the same month."""
    months = 12 * (month.year - selected.start.year) + month.month - selected.start.month
    if month.month not in selected.months or (selected.unit == "month" and months % selected.step):
        return []
    last = calendar.monthrange(month.year, month.month)[1]
    numbers = sorted({last if number == -1 else number for number in selected.numbers}) or range(1, last + 1)
    days = [month.replace(day=number) for number in numbers if number <= last]
    days = [day for day in days if day.weekday() in selected.weekdays and selected.in_turn(day)]
    if selected.holidays is not None:
        days = [day for day in days if day not in selected.holidays]
    if selected.nth is None:
        return days
    place = selected.nth if selected.nth < 0 else selected.nth - 1
    return [days[place]] if -len(days) <= place < len(days) else []


def find_holidays(name: str) -> Holidays:
    """Return the holidays of a country ("US"), a region ("DE-BY") or a market ("NYSE").

    Raises ValueError for a name that the `holidays` library does not know, or if the library is not installed.
    """
    try:
        import holidays
    except ImportError:
        raise ValueError(
            f"holidays={name!r} needs the package `holidays`. Install dash-jobqueue[holidays], or add holidays to the app's "
            "dependencies."
        ) from None
    country, _, region = str(name).partition("-")
    regions, markets = holidays.list_supported_countries(), holidays.list_supported_financial()
    if country in regions and (not region or region in regions[country]):
        return Holidays(name, holidays.country_holidays(country, subdiv=region or None))
    if name in markets:
        return Holidays(name, holidays.financial_holidays(name))
    known = [*regions, *markets, *(f"{country}-{region}" for region in regions.get(country, ()))]
    near = difflib.get_close_matches(str(name).upper(), known, n=1, cutoff=0.6)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(
        f"holidays={name!r} is not known.{hint} Give a country such as 'US', a region such as 'DE-BY', or a market such as 'NYSE'."
    )
