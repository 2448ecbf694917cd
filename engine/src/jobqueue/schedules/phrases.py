"""Parse phrases such as "weekday at 18:00" into rules. No library is imported for this, which keeps web processes light.

A phrase is a period ("15 minutes"), or days with times of day ("monday at 9:00"), or a cron expression. The functions below read
one part of a phrase each, and return None for a text that is no such part.
"""

import re
from datetime import date, time

from jobqueue.schedules.cron_expressions import NICKNAMES, looks_like_cron, rule_of_cron
from jobqueue.schedules.day_phrases import DayReader, Part
from jobqueue.schedules.days import START, Days, Holidays
from jobqueue.schedules.recurrence import DAY, Cron, Period, Rule, Sun, TimesOfDay
from jobqueue.schedules.similar import understood_variant
from jobqueue.schedules.vocabulary import CLOCK, NUMBERS, UNITS, amount, joined, listed

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
MIDNIGHT = (time(),)
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


class _Parser(DayReader):
    """Parser of one phrase. Each method returns None for a text that is of another form."""

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
        number, unit = self.number_of(found[1]), UNITS[found[2]][0]
        seconds = number * UNITS[found[2]][1]
        if seconds > LONGEST:
            self.too_long(f"{LONGEST // DAY} days")
        if seconds == DAY:
            return Period(
                seconds, "every day at midnight" if unit == "day" else f"every {amount(number, unit)} at midnight"
            )
        return Period(seconds, f"every {amount(number, unit) if number > 1 else unit}")

    def _minutes_of_hour(self, text: str) -> Cron | None:
        found = re.fullmatch(r"hour at (:\d\d(?:(?:, and |, | and ):\d\d)*)", text)
        if found is None:
            return None
        minutes = sorted({int(word[1:]) for word in listed(found[1])})
        if minutes[-1] > 59:
            self.refuse("names a minute that no hour has. Choose from :00 to :59.")
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
        days = self.days(found["days"] or "day")
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
                self.refuse("ends before it begins. Choose a later end on the same day, or say am or pm.")
            window_text = f" between {times[0]:%H:%M} and {times[1]:%H:%M}"
        number, unit = self.number_of(found["number"]), UNITS[found["unit"]][0]
        step = number * UNITS[found["unit"]][1] // 60
        if step > last - first:
            self.refuse("has a period that is longer than its hours. Write the times of day instead.")
        minutes = range(first, last + 1, step)
        of_days = f" of every {days[1]}" if found["days"] else ""
        english = f"every {amount(number, unit) if number > 1 else unit}{window_text}{of_days}"
        return self._at_times(days[0], tuple(time(*divmod(minute, 60)) for minute in minutes), english)

    # --- days, with times of day or the sun ---

    def _on_days(self, text: str) -> Rule | None:
        days_text, at, times_text = text.partition(" at ")
        if not at:
            first = text.removeprefix("at ")
            if text.startswith("at ") or re.match(r"\d{1,2}(:\d\d|am|pm)|midnight|noon|midday|sunrise|sunset", text):
                days_text, times_text = "day", first
        if times_text and " on " in times_text:
            if days_text != "day":
                return None
            times_text, _, days_text = times_text.partition(" on ")
        elif times_text and " except " in times_text:
            times_text, _, without = times_text.partition(" except ")
            days_text += f" except {without}"
        days = self.days(days_text.removeprefix("the "))
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
            self.refuse(f"is too far from {event}. Choose an offset of at most 11 hours.")
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
                self.refuse(f"has an impossible time: {word} is not a time of day. Choose a time from 00:00 to 23:59.")
            times.append(time(hour if half is None else hour % 12 + 12 * (half == "pm"), minute))
        halves = {parts[3] for word, parts in zip(words, found, strict=True) if parts is not None and word not in CLOCK}
        if None in halves and len(halves) > 1:
            self.refuse("has a time with am or pm, and one without. Say which half of the day each time is in.")
        return tuple(times)
