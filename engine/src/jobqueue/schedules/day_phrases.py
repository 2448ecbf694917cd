"""Read the days in a phrase: "monday and thursday", "2 weeks", "last business day of the month", "december 24"."""

import re
from dataclasses import replace
from datetime import date
from typing import NoReturn

from jobqueue.schedules.days import BUSINESS_WEEKDAYS, Days, Holidays
from jobqueue.schedules.vocabulary import (
    MONTHS,
    ORDINALS,
    WEEKDAYS,
    amount,
    joined,
    listed,
    month_of,
    ordinal,
    weekday_of,
)

LONGEST_STEP = {"day": 36525, "week": 5217, "month": 1200}  # 100 years
NTH_BUSINESS_DAY = 15  # every month has that many, less its holidays
LAST_NUMBER = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}  # of the months that have no 31st
SEVERAL = {  # of the words for months: the first month and the last month of each
    "month": (frozenset(range(1, 13)), frozenset(range(1, 13))),
    "quarter": (frozenset({1, 4, 7, 10}), frozenset({3, 6, 9, 12})),
    "year": (frozenset({1}), frozenset({12})),
}
Part = tuple[Days, str]  # days, and how they are called


class DayReader:
    """Reader of the days in a phrase. Its methods return None for a text that is no such part of a phrase.

    :param phrase: the whole phrase, for errors.
    :param holidays: the days that are no business days.
    :param start: the day from which every second day, week or month is counted.
    """

    def __init__(self, phrase: str, holidays: Holidays | None, start: date) -> None:
        self._phrase = phrase
        self._holidays = holidays
        self._start = start

    def days(self, text: str) -> Part | None:
        """Read the days of a phrase, such as "day except sunday". Return them with their name."""
        text, _, without_text = text.partition(" except ")
        part = self._days(text)
        if part is None or not without_text:
            return part
        days, english = part
        for word in listed(without_text.removeprefix("on ")):
            if word in ("holiday", "holidays"):
                days = replace(days, holidays=self._needed_holidays())
                continue
            without = self._weekdays(word)
            if without is None:
                return None
            days = replace(days, weekdays=days.weekdays - without)
        if not days.weekdays:
            self.refuse("leaves no day. Leave fewer days out.")
        return days, f"{english} except {_capital(without_text.removeprefix('on '))}"

    def _needed_holidays(self) -> Holidays:
        if self._holidays is None:
            self.refuse("does not say which holidays. Give a country, for example every(..., holidays='US').")
        return self._holidays

    def _days(self, text: str) -> Part | None:
        if text in ("day", "days"):
            return Days(), "day"
        if text in ("business day", "business days", "working day", "working days"):
            return self._business_days(), f"business day{self._of_holidays()}"
        return self._of_week(text) or self._in_steps(text) or self._of_period(text) or self._on_date(text)

    def _business_days(self) -> Days:
        return Days(weekdays=BUSINESS_WEEKDAYS, holidays=self._holidays)

    def _of_holidays(self) -> str:
        return "" if self._holidays is None else f" ({self._holidays.name})"

    def _of_week(self, text: str) -> Part | None:
        if text in ("weekday", "weekdays"):
            return Days(weekdays=BUSINESS_WEEKDAYS), "weekday"
        found: set[int] = set()
        for word in listed(text):
            numbers = self._weekdays(word)
            if numbers is None:
                return None
            found |= numbers
        if (ends := self._ends(text)) is not None and len(ends) == 2:
            return Days(weekdays=frozenset(found)), f"{WEEKDAYS[ends[0]]} to {WEEKDAYS[ends[1]]}"
        return Days(weekdays=frozenset(found)), joined([WEEKDAYS[number] for number in sorted(found)])

    def _weekdays(self, word: str) -> frozenset[int] | None:
        """Read one weekday, a range of them, weekdays or the weekend."""
        if word in ("weekday", "weekdays"):
            return BUSINESS_WEEKDAYS
        if word in ("weekend", "weekends"):
            return frozenset({5, 6})
        ends = self._ends(word)
        return None if ends is None else frozenset((ends[0] + n) % 7 for n in range((ends[-1] - ends[0]) % 7 + 1))

    def _ends(self, word: str) -> list[int] | None:
        """Read one weekday, or the first and the last of a range."""
        numbers = [weekday_of(end) for end in re.split(r" ?- ?| to | through ", word)]
        found = [number for number in numbers if number is not None]
        return found if len(found) == len(numbers) <= 2 else None

    def _in_steps(self, text: str) -> Part | None:
        """Read "2 weeks", "other monday", "week on friday" and the like."""
        if text.startswith("other ") and (weekly := self._of_week(text.removeprefix("other "))) is not None:
            return replace(weekly[0], step=2, unit="week", start=self._start), f"second {weekly[1]}"
        found = re.fullmatch(r"(?:(\d{1,18}|other) )?(day|week|month|quarter|year)s?(?: on (?:the )?(.+))?", text)
        if found is None:
            return None
        number = 2 if found[1] == "other" else self.number_of(found[1])
        unit, on = found[2], found[3]
        if unit == "day":
            if on is not None:
                return None
            return self._stepped(Days(), number, "day", amount(number, "day") if number > 1 else "day")
        if unit == "week":
            weekly = self._of_week(on or "monday")
            if weekly is None:
                return None
            name = weekly[1] if number == 1 else f"{amount(number, 'week')} on {weekly[1]}"
            return self._stepped(weekly[0], number, "week", name)
        if unit == "year" and on is not None and number == 1:
            return self._on_date(on)
        part = self._of_month(on or "1st", unit)
        if part is None or (number > 1 and unit == "quarter"):
            return None
        name = f"{unit if number == 1 else amount(number, unit)} {part[1]}"
        months = {"month": number, "quarter": 1, "year": 12 * number if number > 1 else 1}[unit]
        days = part[0] if months == 1 else replace(part[0], months=Days().months)
        return self._stepped(days, months, "month", name)

    def _stepped(self, days: Days, step: int, unit: str, english: str) -> Part:
        if step > LONGEST_STEP[unit]:
            self.too_long("100 years")
        return (days if step == 1 else replace(days, step=step, unit=unit, start=self._start)), english

    def _of_period(self, text: str) -> Part | None:
        """Read "first monday of the month", "last day of the quarter", "2nd tuesday of january"."""
        found = re.fullmatch(r"(?:the )?(.+) of (?:(?:the|every|each) )?(\w+)", text)
        if found is None:
            return None
        on, period = found.groups()
        if period in SEVERAL:
            part = self._of_month(on, period)
            return part and (part[0], f"{period} {part[1]}")
        month = month_of(period)
        part = None if month is None else self._of_month(on, "month")
        if part is None or month is None or part[0].nth is None:
            return self._on_date(f"{on} {period}")
        return replace(part[0], months=frozenset({month})), f"{MONTHS[month - 1]} {part[1]}"

    def _of_month(self, text: str, period: str) -> Part | None:
        """Read days of each month, or of the first or last month of a longer period."""
        which, _, kind = text.partition(" ")
        firsts, lasts = SEVERAL[period]
        months = lasts if which == "last" else firsts
        if period != "month" and which not in ("first", "last", "1st"):
            return None
        if text == "last day":
            return Days(numbers=frozenset({-1}), months=months), "on the last day"
        numbers = {ordinal(word.removesuffix(" day")) for word in listed(text)}
        if None not in numbers:
            return self._numbers({number for number in numbers if number is not None}, months, text)
        nth = -1 if which == "last" else ordinal(which)
        return None if nth is None else self._nth(nth, which, kind, months)

    def _numbers(self, numbers: set[int], months: frozenset[int], text: str) -> Part:
        if not all(1 <= number <= 31 for number in numbers):
            self.refuse(f"is not possible: no month has a {text}. Choose a day from 1st to 31st.")
        english = "on the " + joined([_suffixed(number) for number in sorted(numbers)])
        if max(numbers) > 28:
            english += ", where it has one,"
        return Days(numbers=frozenset(numbers), months=months), english

    def _nth(self, nth: int, which: str, kind: str, months: frozenset[int]) -> Part | None:
        """Read "first monday", "last business day", "3rd weekday"."""
        words = "last" if nth == -1 else (ORDINALS[nth - 1] if nth <= len(ORDINALS) else _suffixed(nth))
        if kind in ("business day", "working day"):
            if nth > NTH_BUSINESS_DAY:
                self.refuse(
                    f"is not possible: some months have no {which} {kind}. Choose at most the {NTH_BUSINESS_DAY}th."
                )
            days = replace(self._business_days(), nth=nth, months=months)
            return days, f"on the {words} business day{self._of_holidays()}"
        if kind == "weekday" and nth <= NTH_BUSINESS_DAY:
            return Days(weekdays=BUSINESS_WEEKDAYS, nth=nth, months=months), f"on the {words} weekday"
        number = weekday_of(kind)
        if number is None or nth > 4:
            return None
        return Days(weekdays=frozenset({number}), nth=nth, months=months), f"on the {words} {WEEKDAYS[number]}"

    def _on_date(self, text: str) -> Part | None:
        """Read "december 24", "24 december" and "24th and 31st of december"."""
        found = re.fullmatch(r"(?:([a-z]+) (?:the )?(\d.*)|(\d.*?)(?: of)? ([a-z]+))", text)
        month = None if found is None else month_of(found[1] or found[4])
        if found is None or month is None:
            return None
        matches = [re.fullmatch(r"(\d{1,2})(?:st|nd|rd|th)?", word) for word in listed(found[2] or found[3])]
        numbers = {int(each[1]) for each in matches if each is not None}
        if None in matches:
            return None
        most = LAST_NUMBER.get(month, 31)
        if not all(1 <= number <= most for number in numbers):
            self.refuse(f"is not possible: {MONTHS[month - 1]} has the days 1 to {most}.")
        english = f"year on {MONTHS[month - 1]} {joined([str(number) for number in sorted(numbers)])}"
        if (month, max(numbers)) == (2, 29):
            english += ", where it has one,"
        return Days(numbers=frozenset(numbers), months=frozenset({month})), english

    def number_of(self, digits: str | None) -> int:
        number = int(digits or 1)
        if number == 0:
            self.refuse("is not a period. Choose a number of at least 1.")
        return number

    def too_long(self, most: str) -> NoReturn:
        self.refuse(f"is longer than 100 years. Choose a period of at most {most}.")

    def refuse(self, problem: str) -> NoReturn:
        raise ValueError(f"{self._phrase!r} {problem}")


def _capital(text: str) -> str:
    return re.sub(r"\b(mon|tue|wed|thu|fri|sat|sun)", lambda found: found[1].capitalize(), text)


def _suffixed(number: int) -> str:
    ending = "th" if 11 <= number <= 13 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
