"""TODO-DOC."""

from datetime import UTC, datetime


def in_words(seconds: float) -> str:
    """4 s, 3 min, 1 h 20 min."""
    seconds = max(1, round(seconds))
    if seconds < 90:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def span(seconds: float | None) -> str:
    """0.2 s, 4 s, 3 min, 1 h 20 min, 2 d 3 h; "" for None."""
    if seconds is None:
        return ""
    seconds = max(0.0, float(seconds))
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"


def ago(seconds: float) -> str:
    return "now" if seconds < 1 else f"{span(seconds)} ago"


def moment(at: datetime | None) -> str:
    return "" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def size(count: float | None) -> str:
    """In bytes, KiB, MiB."""
    if count is None:
        return ""
    for unit in ("bytes", "KiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.0f} MiB"


def plural(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
