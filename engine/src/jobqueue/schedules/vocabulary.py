"""The words of schedules: weekdays, months, units, numbers and times of day."""

import re

from jobqueue.schedules.recurrence import DAY, HOUR

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
SHORT_WEEKDAYS = {"tues": 1, "weds": 2, "thur": 3, "thurs": 3}  # beside the first three letters
MONTHS = "January February March April May June July August September October November December".split()
ORDINALS = ("first", "second", "third", "fourth")
NUMBERS = {
    "a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "eleven": 11, "twelve": 12, "fifteen": 15, "twenty": 20, "thirty": 30, "forty-five": 45,
}  # fmt: skip
UNITS = {  # each word with its unit and its seconds
    word: (unit, seconds)
    for unit, seconds, words in (
        ("second", 1, "second seconds sec secs s"),
        ("minute", 60, "minute minutes min mins"),
        ("hour", HOUR, "hour hours hr hrs h"),
        ("day", DAY, "day days d"),
    )
    for word in words.split()
}
CLOCK = {"midnight": "00:00", "noon": "12:00", "midday": "12:00"}


def weekday_of(word: str) -> int | None:
    """Return the number of a weekday, where Monday is 0, or None."""
    for number, name in enumerate(WEEKDAYS):
        if word in (name.lower(), f"{name.lower()}s", name.lower()[:3]):
            return number
    return SHORT_WEEKDAYS.get(word)


def month_of(word: str) -> int | None:
    """Return the number of a month, where January is 1, or None."""
    for number, name in enumerate(MONTHS, 1):
        if word in (name.lower(), name.lower()[:3]) or (word == "sept" and number == 9):
            return number
    return None


def ordinal(word: str) -> int | None:
    """Return the number of "first" or "21st", or None."""
    if word in ORDINALS:
        return ORDINALS.index(word) + 1
    found = re.fullmatch(r"(\d{1,18})(?:st|nd|rd|th)", word)
    return None if found is None else int(found[1])


def listed(text: str) -> list[str]:
    """Return the items of "a, b and c"."""
    return re.split(r", and |, | and ", text)


def joined(words: list[str]) -> str:
    """Return items as "a, b and c"."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def amount(number: int, unit: str) -> str:
    """Return a number with its unit, such as "2 hours"."""
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"
