"""Parse phrases such as "weekday at 18:00" into rules. No library is imported for this, which keeps web processes light."""

import difflib
import re

from jobqueue.schedules.recurrence import DAY, HOUR, Cron, Period, Rule, Sun

FORMS = (
    "30 seconds",
    "15 minutes",
    "hour",
    "6 hours",
    "day at 07:30",
    "day at 07:30 and 18:00",
    "weekday at 18:00",
    "weekend at 10:00",
    "monday and thursday at 9:00",
    "month on the 1st at 06:00",
    "month on the last day at 18:00",
    "first monday of the month at 09:00",
    "last friday of the month at 17:00",
    "sunday at sunset",
    "day at sunrise + 30 minutes",
)

LONGEST = 3653 * DAY  # seconds; a longer period would first be due years from now
UNITS = {"second": 1, "minute": 60, "hour": HOUR, "day": DAY}  # seconds
WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")  # by cron's numbers
ORDINALS = ("first", "second", "third", "fourth")
CLOCK = {"midnight": "00:00", "noon": "12:00"}


class NotUnderstood(ValueError):
    """A phrase that matches no supported form. The message lists the forms and names the nearest one."""


def rule_of(phrase: str) -> Rule:
    """Return the rule for a phrase. Raises NotUnderstood for an unknown form, ValueError for an impossible number."""
    text = " ".join(phrase.lower().split()).removeprefix("every ")
    days, at, time_of_day = text.partition(" at ")
    if not at:
        return _period(text, phrase)
    fields, days_in_english = _days(days, phrase)
    if (
        sun := re.fullmatch(r"(sunrise|sunset)(?: ?([+-]) ?(\d{1,18}) (second|minute|hour)s?)?", time_of_day)
    ) is not None:
        event, sign, number, unit = sun.groups()
        seconds = 0 if sign is None else int(f"{sign}{number}") * UNITS[unit]
        if abs(seconds) >= DAY // 2:
            raise ValueError(f"{phrase!r} is too far from {event}. Choose an offset of at most 11 hours.")
        offset = f"{_amount(int(number), unit)} {'after' if sign == '+' else 'before'}" if sign else "at"
        return Sun(fields, event, seconds, f"every {days_in_english} {offset} {event}")
    times = [_time_of_day(word, phrase) for word in _listed(time_of_day)]
    expressions = tuple(f"{int(minute)} {int(hour)} {fields}" for hour, minute in times)
    return Cron(expressions, f"every {days_in_english} at {_and([f'{hour}:{minute}' for hour, minute in times])}")


def _period(text: str, phrase: str) -> Period:
    found = re.fullmatch(r"(?:(\d{1,18}) )?(second|minute|hour|day)(s?)", text)
    if found is None:
        raise _not_understood(phrase)
    number = int(found[1] or 1)
    if number == 0:
        raise ValueError(f"{phrase!r} is not a period. Choose a number of at least 1.")
    seconds = number * UNITS[found[2]]
    if seconds > LONGEST:
        raise ValueError(f"{phrase!r} is longer than ten years. Choose a period of at most {LONGEST // DAY} days.")
    amount = _amount(number, found[2]) if number > 1 else found[2]
    return Period(seconds, f"every {amount} at midnight" if seconds == DAY else f"every {amount}")


def _days(text: str, phrase: str) -> tuple[str, str]:
    """Return the last three fields of a cron expression, and the days in English."""
    if text == "day":
        return "* * *", "day"
    if text in ("weekday", "weekdays"):
        return "* * 1-5", "weekday"
    if text in ("weekend", "weekends"):
        return "* * 0,6", "Saturday and Sunday"
    if (of_month := re.fullmatch(r"(?:the )?(\w+) (\w+) of (?:the|every|each) month", text)) is not None:
        which, day = of_month.groups()
        if (which, day) == ("last", "day"):
            return "L * *", "month on the last day"
        number = _weekday(day, phrase)
        if which == "last":
            return f"* * {number}L", f"month on the last {WEEKDAYS[number]}"
        if which in ORDINALS:
            return f"* * {number}#{ORDINALS.index(which) + 1}", f"month on the {which} {WEEKDAYS[number]}"
        raise _not_understood(phrase)
    if (on := re.fullmatch(r"month on the (.+)", text)) is not None:
        return _of_month(on[1], phrase)
    numbers = sorted({_weekday(word, phrase) for word in _listed(text)})
    ordered = sorted(numbers, key=lambda number: (number - 1) % 7)  # a week begins on Monday
    return f"* * {','.join(map(str, numbers))}", _and([WEEKDAYS[number] for number in ordered])


def _of_month(text: str, phrase: str) -> tuple[str, str]:
    if text == "last day":
        return "L * *", "month on the last day"
    days = set()
    for word in _listed(text):
        found = re.fullmatch(r"(\d{1,18})(?:st|nd|rd|th)", word)
        if found is None:
            raise _not_understood(phrase)
        if not 1 <= int(found[1]) <= 31:
            raise ValueError(f"{phrase!r}: no month has a {word}. Choose a day from 1st to 31st.")
        days.add(int(found[1]))
    english = "month on the " + _and([_ordinal(day) for day in sorted(days)])
    if max(days) > 28:
        english += ", where it has one,"
    return f"{','.join(map(str, sorted(days)))} * *", english


def _weekday(word: str, phrase: str) -> int:
    for number, name in enumerate(WEEKDAYS):
        if word in (name.lower(), f"{name.lower()}s", name.lower()[:3]):
            return number
    raise _not_understood(phrase)


def _time_of_day(word: str, phrase: str) -> tuple[str, str]:
    found = re.fullmatch(r"(\d{1,2}):(\d\d)", CLOCK.get(word, word))
    if found is None:
        raise _not_understood(phrase)
    if int(found[1]) > 23 or int(found[2]) > 59:
        raise ValueError(f"{phrase!r}: {word} is not a time of day. Choose a time from 00:00 to 23:59.")
    return found[1].zfill(2), found[2]


def _listed(text: str) -> list[str]:
    return re.split(r", and |, | and ", text)


def _and(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _ordinal(number: int) -> str:
    ending = "th" if 11 <= number <= 13 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _amount(number: int, unit: str) -> str:
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


def _not_understood(phrase: str) -> NotUnderstood:
    text = " ".join(phrase.lower().split()).removeprefix("every ")
    (nearest,) = difflib.get_close_matches(text, FORMS, n=1, cutoff=0)
    forms = "\n".join(f"    {form}" for form in FORMS)
    return NotUnderstood(
        f"{phrase!r} is not understood. Did you mean something like {nearest!r}? The supported forms are:\n{forms}\n"
        "For any other schedule, use cron(...)."
    )
