"""The table of phrases in docs/schedules.md. `python -m tests.engine.schedules.phrase_table` computes and prints it.

Each phrase stands with the days and the times of day that a person reads in it, so that tests can compare the two.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice

from jobqueue import every

AFTER = datetime(2026, 11, 28, tzinfo=UTC)  # a Saturday, at midnight
DAY = timedelta(days=1)
OnDay = Callable[[date], bool]

# Of the United States from 2011 to 2021, as the law sets them, and observed on the weekday beside a weekend.
INDEPENDENCE = {date(2011, 7, 4), date(2012, 7, 4), date(2015, 7, 3), date(2020, 7, 3), date(2021, 7, 5)}


def always(day: date) -> bool:
    return True


def weekday(day: date) -> bool:
    return day.weekday() < 5


def month_of(day: date) -> list[date]:
    """Return the days of a day's month."""
    first = day.replace(day=1)
    return [first + n * DAY for n in range(31) if (first + n * DAY).month == day.month]


def nth(number: int, on: OnDay) -> OnDay:
    """Return whether a day is the nth of its month's days of a kind; -1 is the last."""
    return lambda day: day == [each for each in month_of(day) if on(each)][number]


def named(*numbers: int) -> OnDay:
    return lambda day: day.weekday() in numbers


def numbered(*numbers: int) -> OnDay:
    return lambda day: day.day in numbers


def of_month(*months: int, on: OnDay) -> OnDay:
    return lambda day: day.month in months and on(day)


def second_week(on: OnDay) -> OnDay:
    """Return whether a day is in every second week, counted from the one of Monday, 2024-01-01."""
    return lambda day: on(day) and (day.toordinal() - date(2024, 1, 1).toordinal()) // 7 % 2 == 0


def times(*texts: str) -> list[time]:
    return [time.fromisoformat(text) for text in texts]


def from_to(first: int, last: int, step: int) -> list[time]:
    """Return the times of day between two minutes of the day, inclusive."""
    return [time(*divmod(minute, 60)) for minute in range(first, last + 1, step)]


NINE, MIDNIGHT = times("09:00"), times("00:00")
PHRASES: dict[str, tuple[OnDay, Sequence[time]]] = {
    "30 minutes": (always, from_to(0, 1439, 30)),
    "15 min": (always, from_to(0, 1439, 15)),
    "half hour": (always, from_to(0, 1439, 30)),
    "hourly": (always, from_to(0, 1439, 60)),
    "1h": (always, from_to(0, 1439, 60)),
    "two hours": (always, from_to(0, 1439, 120)),
    "hour at :15": (always, from_to(15, 1439, 60)),
    "30 minutes between 9:00 and 17:00 on weekdays": (weekday, from_to(540, 1020, 30)),
    "hour from 8am to 6pm": (always, from_to(480, 1080, 60)),
    "midnight": (always, MIDNIGHT),
    "noon": (always, times("12:00")),
    "9:30 am": (always, times("09:30")),
    "6pm": (always, times("18:00")),
    "daily at 18:00": (always, times("18:00")),
    "day at 07:30 and 18:00": (always, times("07:30", "18:00")),
    "day except sunday at 8": (lambda day: day.weekday() != 6, times("08:00")),
    "6pm on weekdays": (weekday, times("18:00")),
    "mon-fri at 9": (weekday, NINE),
    "monday to friday": (weekday, MIDNIGHT),
    "weekend at 10:00": (named(5, 6), times("10:00")),
    "monday and thursday at 9:00": (named(0, 3), NINE),
    "tues": (named(1), MIDNIGHT),
    "weekly": (named(0), MIDNIGHT),
    "weekly on friday at 17:00": (named(4), times("17:00")),
    "2 weeks": (second_week(named(0)), MIDNIGHT),
    "other monday": (second_week(named(0)), MIDNIGHT),
    "other week on friday at 17:00": (second_week(named(4)), times("17:00")),
    "other day at 9": (lambda day: (day - date(2024, 1, 1)).days % 2 == 0, NINE),
    "monthly": (numbered(1), MIDNIGHT),
    "1st of the month": (numbered(1), MIDNIGHT),
    "1st and 15th of the month at noon": (numbered(1, 15), times("12:00")),
    "month on the 31st at 06:00": (numbered(31), times("06:00")),
    "last day of the month at 18:00": (nth(-1, always), times("18:00")),
    "2nd monday of the month": (nth(1, named(0)), MIDNIGHT),
    "last friday of the month at 17:00": (nth(-1, named(4)), times("17:00")),
    "business day at 9": (weekday, NINE),
    "first business day of the month": (nth(0, weekday), MIDNIGHT),
    "3rd business day of the month at 9": (nth(2, weekday), NINE),
    "last business day of the month at 17:00": (nth(-1, weekday), times("17:00")),
    "quarterly": (of_month(1, 4, 7, 10, on=numbered(1)), MIDNIGHT),
    "last day of the quarter at 18:00": (of_month(3, 6, 9, 12, on=nth(-1, always)), times("18:00")),
    "2 months": (of_month(1, 3, 5, 7, 9, 11, on=numbered(1)), MIDNIGHT),
    "yearly": (of_month(1, on=numbered(1)), MIDNIGHT),
    "december 24 at 9": (of_month(12, on=numbered(24)), NINE),
    "24th and 31st of december at noon": (of_month(12, on=numbered(24, 31)), times("12:00")),
    "last friday of january": (of_month(1, on=nth(-1, named(4))), MIDNIGHT),
    "@daily": (always, MIDNIGHT),
    "@weekly": (named(6), MIDNIGHT),
    "0 9 * * 1-5": (weekday, NINE),
}
BY_CLOCK = {"30 minutes", "15 min", "half hour", "hourly", "1h", "hour at :15"}  # due twice in an hour that comes twice


def table() -> str:
    """Return the table: each phrase, how it is read, and its first three fires after AFTER."""
    lines = ["| phrase | is read as | next |", "|---|---|---|"]
    for phrase in PHRASES:
        schedule = every(phrase)
        dues = islice(schedule.following(AFTER), 3)
        shown = phrase.replace("*", "\\*") if "`" in phrase else phrase
        lines.append(
            f"| `{shown}` | {str(schedule).removesuffix(' (UTC)')} | {', '.join(f'{due:%a %m-%d %H:%M}' for due in dues)} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(table(), end="")
