"""Durations, times, sizes and counts as text."""

from datetime import datetime, tzinfo

from jobqueue import text

DATE_AND_TIME = "%Y-%m-%d %H:%M:%S"
WITH_WEEKDAY = "%a %Y-%m-%d %H:%M:%S"
TIME = "%H:%M:%S"


def span(seconds: float | None) -> str:
    """Return a duration: 0.2 s, 4 s, 3 min, 1 h 20 min, 2 d 3 h. Return "" for None."""
    if seconds is None:
        return ""
    seconds = max(0.0, float(seconds))
    if seconds < 9.95:
        return f"{round(seconds, 1):g} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"


def whole_span(seconds: float) -> str:
    """Return a duration in whole seconds, at least one."""
    return span(max(1, round(seconds)))


def ago(seconds: float) -> str:
    """Return how long ago something was: now, 12 s ago."""
    return "now" if seconds < 1 else f"{span(seconds)} ago"


def moment(at: datetime | float | None, zone: tzinfo, form: str = DATE_AND_TIME) -> str:
    """Return a time with its time zone: 2026-11-29 14:03:05 CET. Return "" for None.

    :param at: an aware datetime, or seconds since the epoch.
    :param form: DATE_AND_TIME, WITH_WEEKDAY or TIME.
    """
    if at is None:
        return ""
    at = at.astimezone(zone) if isinstance(at, datetime) else datetime.fromtimestamp(at, zone)
    return f"{at:{form}} {zone_name(at)}"


def hour(at: float, zone: tzinfo) -> str:
    """Return a time for the axis of a chart, whose title names the time zone: 14:03."""
    return f"{datetime.fromtimestamp(at, zone):%H:%M}"


def zone_name(at: datetime) -> str:
    """Return the name of an aware time's zone: CET, or UTC-03 for a zone whose name is a number."""
    name = at.tzname() or ""
    return f"UTC{name}" if name.startswith(("+", "-")) else name


def size(count: float | None) -> str:
    """Return a size: 12 bytes, 1.5 kB, 64 MB, 1.02 GB. Return "" for None."""
    return "" if count is None else text.size(count)


def plural(number: int, word: str) -> str:
    """Return a count with its noun: 1 job, 2 jobs."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
