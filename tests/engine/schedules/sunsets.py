"""The table of sunsets in docs/schedules.md. `python -m tests.engine.schedules.sunsets` computes and prints it."""

from datetime import UTC, date, datetime, timedelta

from jobqueue import every

YEAR = 2026
PLACES = {
    "Montreal": every("sunday at sunset", tz="America/Toronto", place="Montreal"),
    "Tromsø": every("sunday at sunset", tz="Europe/Oslo", place=(69.65, 18.96)),
    "Sydney": every("sunday at sunset", tz="Australia/Sydney", place="Sydney"),
}


def table() -> str:
    """Return the table: a line for each Sunday of the year, and a dash if the sun does not set."""
    dues: dict[str, dict[date, str]] = {}
    for name, schedule in PLACES.items():
        dues[name] = {}
        due = schedule.next_after(datetime(YEAR, 1, 1, tzinfo=UTC))
        while due is not None and due.year == YEAR:
            dues[name][due.date()] = f"{due:%H:%M}"
            due = schedule.next_after(due)
    first = date(YEAR, 1, 1) + timedelta(days=6 - date(YEAR, 1, 1).weekday())
    sundays = [first + timedelta(weeks=week) for week in range(53) if (first + timedelta(weeks=week)).year == YEAR]
    lines = [f"| Sunday | {' | '.join(PLACES)} |", "|---|" + "---|" * len(PLACES)]
    lines += [f"| {day} | {' | '.join(dues[name].get(day, '–') for name in PLACES)} |" for day in sundays]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(table(), end="")
