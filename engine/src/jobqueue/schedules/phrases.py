"""Parse phrases such as "weekday at 18:00" into rules. No library is imported for this, which keeps web processes light.

A phrase is a period ("15 minutes"), or days with times of day ("monday at 9:00"), or a cron expression. The functions below read
one part of a phrase each, and return None for a text that is no such part.
"""

import re
from dataclasses import replace
from datetime import date, time
from typing import NoReturn

from jobqueue.schedules.cron_expressions import NICKNAMES, looks_like_cron, rule_of_cron
from jobqueue.schedules.days import BUSINESS_WEEKDAYS, START, Days, Holidays
from jobqueue.schedules.recurrence import DAY, Cron, Period, Rule, Sun, TimesOfDay
from jobqueue.schedules.similar import understood_variant
from jobqueue.schedules.vocabulary import (
    CLOCK,
    MONTHS,
    NUMBERS,
    ORDINALS,
    UNITS,
    WEEKDAYS,
    amount,
    joined,
    listed,
    month_of,
    ordinal,
    weekday_of,
)

FORMS = (
    "30 seconds",
    "15 minutes",
    "hour",
    "6 hours",
    "hour at :15",
    "30 minutes between 9:00 and 17:00 on weekdays",
    "day at 07:30",
    "day at 07:30 and 18:00",
    "day except sunday at 8",
    "weekday at 18:00",
    "weekend at 10:00",
    "monday and thursday at 9:00",
    "monday to friday at 9 am",
    "other monday at 9:00",
    "2 weeks",
    "month on the 1st at 06:00",
    "month on the last day at 18:00",
    "first monday of the month at 09:00",
    "last friday of the month at 17:00",
    "last business day of the month at 17:00",
    "quarter",
    "december 24 at 9:00",
    "sunday at sunset",
    "day at sunrise + 30 minutes",
)

LONGEST = 36525 * DAY  # seconds, which is 100 years
LONGEST_STEP = {"day": 36525, "week": 5217, "month": 1200}  # 100 years
MIDNIGHT = (time(),)
NTH_BUSINESS_DAY = 15  # every month has that many, less its holidays
LAST_NUMBER = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}  # of the months that have no 31st
SEVERAL = {  # of the words for months: the first month and the last month of each
    "month": (frozenset(range(1, 13)), frozenset(range(1, 13))),
    "quarter": (frozenset({1, 4, 7, 10}), frozenset({3, 6, 9, 12})),
    "year": (frozenset({1}), frozenset({12})),
}
SHORT = {  # phrases of one word
    "hourly": "hour",
    "daily": "day",
    "weekly": "week",
    "fortnightly": "2 weeks",
    "fortnight": "2 weeks",
    "monthly": "month",
    "quarterly": "quarter",
    "yearly": "year",
    "annually": "year",
    "half hour": "30 minutes",
    "half an hour": "30 minutes",
    "quarter hour": "15 minutes",
    "half day": "12 hours",
}
Part = tuple[Days, str]  # days, and how they are called


class NotUnderstood(ValueError):
    """A phrase that matches no supported form. The message lists the forms, and the nearest phrase of the same meaning."""


def rule_of(phrase: str, *, holidays: Holidays | None = None, start: date = START) -> Rule:
    """Return the rule for a phrase. Raises NotUnderstood for an unknown form, ValueError for an impossible number.

    :param holidays: the days that are no business days.
    :param start: the day from which every second day, week or month is counted.
    """
    text = _normal(phrase)
    rule = _Parser(phrase, holidays, start).rule(text)
    if rule is None:
        raise NotUnderstood(_not_understood(phrase, text))
    return rule


def _normal(phrase: str) -> str:
    text = " ".join(phrase.lower().replace("–", "-").split())
    text = re.sub(r"(?<=\d) ?([ap])\.?m\b\.?", r"\1m", text)
    text = re.sub(r"^(?:every|each|on) (?:the )?", "", text)
    for words, same in SHORT.items():
        text = re.sub(rf"^{words}\b", same, text)
    numbers = "|".join(NUMBERS)
    return re.sub(
        rf"^({numbers}|an?)(?= (?:second|minute|hour|day|week|month|year))", lambda found: str(NUMBERS[found[1]]), text
    )


def _not_understood(phrase: str, text: str) -> str:
    def is_understood(other: str) -> bool:
        try:
            return _Parser(other, None, START).rule(_normal(other)) is not None
        except ValueError:
            return False

    near = understood_variant(text, is_understood)
    hint = f"Did you mean {near!r}? " if near else ""
    forms = "\n".join(f"    {form}" for form in FORMS)
    return (
        f"{phrase!r} is not understood. {hint}The supported forms are:\n{forms}\nFor any other schedule, use cron(...)."
    )


class _Parser:
    """Parser of one phrase."""

    def __init__(self, phrase: str, holidays: Holidays | None, start: date) -> None:
        self._phrase = phrase
        self._holidays = holidays
        self._start = start

    def rule(self, text: str) -> Rule | None:
        """Return the rule of a normal text, or None if it is not understood."""
        if text in NICKNAMES:
            return rule_of_cron(NICKNAMES[text])
        if looks_like_cron(text):
            return rule_of_cron(text)
        return self._period(text) or self._minutes_of_hour(text) or self._within_days(text) or self._on_days(text)

    # --- periods ---

    def _period(self, text: str) -> Period | None:
        found = re.fullmatch(r"(?:(\d{1,18}) ?)?([a-z]+)", text)
        if found is None or found[2] not in UNITS or (found[1] is None and len(found[2]) == 1):
            return None
        number, unit = self._number(found[1]), UNITS[found[2]][0]
        seconds = number * UNITS[found[2]][1]
        if seconds > LONGEST:
            self._too_long(f"{LONGEST // DAY} days")
        if seconds == DAY:
            return Period(
                seconds, "every day at midnight" if unit == "day" else f"every {amount(number, unit)} at midnight"
            )
        return Period(seconds, f"every {amount(number, unit) if number > 1 else unit}")

    def _number(self, digits: str | None) -> int:
        number = int(digits or 1)
        if number == 0:
            self._refuse("is not a period. Choose a number of at least 1.")
        return number

    def _too_long(self, most: str) -> NoReturn:
        self._refuse(f"is longer than 100 years. Choose a period of at most {most}.")

    def _refuse(self, problem: str) -> NoReturn:
        raise ValueError(f"{self._phrase!r} {problem}")

    def _minutes_of_hour(self, text: str) -> Cron | None:
        found = re.fullmatch(r"hour at (:\d\d(?:(?:, and |, | and ):\d\d)*)", text)
        if found is None:
            return None
        minutes = sorted({int(word[1:]) for word in listed(found[1])})
        if minutes[-1] > 59:
            self._refuse("names a minute that no hour has. Choose from :00 to :59.")
        english = joined([f":{minute:02}" for minute in minutes])
        return Cron(f"{','.join(map(str, minutes))} * * * *", f"every hour at {english}")

    def _within_days(self, text: str) -> TimesOfDay | None:
        """Read "30 minutes between 9:00 and 17:00 on weekdays", with its last two parts in any order."""
        window = r"(?: (?:between|from) (?P<first>\S+) (?:and|to|until) (?P<last>\S+))"
        period = r"(?:(?P<number>\d{1,4}) ?)?(?P<unit>[a-z]+)"
        found = re.fullmatch(rf"{period}{window}(?: on (?P<days>.+))?", text) or re.fullmatch(
            rf"{period} on (?P<days>.+?){window}?", text
        )
        if found is None or UNITS.get(found["unit"], [""])[0] not in ("minute", "hour"):
            return None
        days = self._days_except(found["days"] or "day")
        if days is None:
            return None
        window_text = ""
        first, last = 0, 24 * 60 - 1  # minutes of the day
        if found["first"]:
            times = self._times([found["first"], found["last"]])
            if times is None:
                return None
            first, last = (60 * at.hour + at.minute for at in times)
            if last <= first:
                self._refuse("ends before it begins. Choose a later end on the same day, or say am or pm.")
            window_text = f" between {times[0]:%H:%M} and {times[1]:%H:%M}"
        number, unit = self._number(found["number"]), UNITS[found["unit"]][0]
        step = number * UNITS[found["unit"]][1] // 60
        if step > last - first:
            self._refuse("has a period that is longer than its hours. Write the times of day instead.")
        minutes = range(first, last + 1, step)
        of_days = f" of every {days[1]}" if found["days"] else ""
        english = f"every {amount(number, unit) if number > 1 else unit}{window_text}{of_days}"
        return self._at_times(days[0], tuple(time(*divmod(minute, 60)) for minute in minutes), english)

    # --- days, with times of day or the sun ---

    def _on_days(self, text: str) -> Rule | None:
        days_text, at, times_text = text.partition(" at ")
        if not at:
            first = text.removeprefix("at ")
            if self._times(listed(first.partition(" on ")[0])) or re.match(r"sunrise|sunset", first):
                days_text, times_text = "day", first
        if times_text and " on " in times_text:
            if days_text != "day":
                return None
            times_text, _, days_text = times_text.partition(" on ")
        elif times_text and " except " in times_text:
            times_text, _, without = times_text.partition(" except ")
            days_text += f" except {without}"
        days = self._days_except(days_text.removeprefix("the "))
        if days is None:
            return None
        sun = re.fullmatch(r"(sunrise|sunset)(?: ?([+-]) ?(\d{1,18}) (second|minute|hour)s?)?", times_text)
        if sun is not None:
            return self._by_the_sun(days, sun)
        times = self._times(listed(times_text)) if times_text else MIDNIGHT
        if times is None:
            return None
        return self._at_times(days[0], times, f"every {days[1]} at {joined([f'{at:%H:%M}' for at in times])}")

    def _at_times(self, days: Days, times: tuple[time, ...], english: str) -> TimesOfDay:
        return TimesOfDay(days, tuple(sorted(set(times))), english + self._counted(days))

    def _counted(self, days: Days) -> str:
        return f", counted from {days.start}" if days.step > 1 else ""

    def _by_the_sun(self, days: Part, found: re.Match[str]) -> Sun:
        event, sign, number, unit = found.groups()
        seconds = 0 if sign is None else int(f"{sign}{number}") * UNITS[unit][1]
        if abs(seconds) >= DAY // 2:
            self._refuse(f"is too far from {event}. Choose an offset of at most 11 hours.")
        offset = f"{amount(int(number), unit)} {'after' if sign == '+' else 'before'}" if sign else "at"
        return Sun(days[0], event, seconds, f"every {days[1]} {offset} {event}{self._counted(days[0])}")

    def _times(self, words: list[str]) -> tuple[time, ...] | None:
        """Read times of day, in their order."""
        found = [re.fullmatch(r"(\d{1,2})(?::(\d\d))?(am|pm)?", CLOCK.get(word, word)) for word in words]
        times = []
        for word, parts in zip(words, found, strict=True):
            if parts is None:
                return None
            hour, minute, half = int(parts[1]), int(parts[2] or 0), parts[3]
            if (half is None and hour > 23) or (half and not 1 <= hour <= 12) or minute > 59:
                self._refuse(f"has an impossible time: {word} is not a time of day. Choose a time from 00:00 to 23:59.")
            times.append(time(hour if half is None else hour % 12 + 12 * (half == "pm"), minute))
        halves = {parts[3] for word, parts in zip(words, found, strict=True) if parts is not None and word not in CLOCK}
        if None in halves and len(halves) > 1:
            self._refuse("has a time with am or pm, and one without. Say which half of the day each time is in.")
        return tuple(times)

    # --- days ---

    def _days_except(self, text: str) -> Part | None:
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
            self._refuse("leaves no day. Leave fewer days out.")
        return days, f"{english} except {_capital(without_text.removeprefix('on '))}"

    def _needed_holidays(self) -> Holidays:
        if self._holidays is None:
            self._refuse("does not say which holidays. Give a country, for example every(..., holidays='US').")
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
        number = 2 if found[1] == "other" else self._number(found[1])
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
            self._too_long("100 years")
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
            self._refuse(f"is not possible: no month has a {text}. Choose a day from 1st to 31st.")
        english = "on the " + joined([_suffixed(number) for number in sorted(numbers)])
        if max(numbers) > 28:
            english += ", where it has one,"
        return Days(numbers=frozenset(numbers), months=months), english

    def _nth(self, nth: int, which: str, kind: str, months: frozenset[int]) -> Part | None:
        """Read "first monday", "last business day", "3rd weekday"."""
        words = "last" if nth == -1 else (ORDINALS[nth - 1] if nth <= len(ORDINALS) else _suffixed(nth))
        if kind in ("business day", "working day"):
            if nth > NTH_BUSINESS_DAY:
                self._refuse(
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
            self._refuse(f"is not possible: {MONTHS[month - 1]} has the days 1 to {most}.")
        english = f"year on {MONTHS[month - 1]} {joined([str(number) for number in sorted(numbers)])}"
        if (month, max(numbers)) == (2, 29):
            english += ", where it has one,"
        return Days(numbers=frozenset(numbers), months=frozenset({month})), english


def _capital(text: str) -> str:
    return re.sub(r"\b(mon|tue|wed|thu|fri|sat|sun)", lambda found: found[1].capitalize(), text)


def _suffixed(number: int) -> str:
    ending = "th" if 11 <= number <= 13 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
