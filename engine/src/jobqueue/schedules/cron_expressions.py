"""Read cron expressions, and refuse those that do not do what they seem to say."""

import re
from datetime import datetime

from jobqueue.schedules.recurrence import Cron

FIELDS = {  # the attributes of a CronSim, and their names for people
    "seconds": "second",
    "minutes": "minute",
    "hours": "hour",
    "days": "day of the month",
    "months": "month",
    "weekdays": "day of the week",
}
NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


def looks_like_cron(text: str) -> bool:
    """Return whether a phrase has the fields of a cron expression."""
    number = r"[\d*][\d*/,-]*"
    return re.fullmatch(rf"{number} {number}( \S+){{3,4}}", text) is not None


def rule_of_cron(expression: str) -> Cron:
    """Return the rule for a cron expression. Raises ValueError as `cron` does."""
    from cronsim import CronSim, CronSimError

    try:
        simulated = CronSim(expression, datetime(2000, 1, 1))
    except (CronSimError, ValueError) as error:  # ValueError: a number of too many digits
        raise ValueError(
            f"cron({expression!r}) cannot be parsed: {error}. Give minute, hour, day of the month, month and day of the "
            "week, for example cron('0 7 * * MON-FRI')."
        ) from error
    _check_steps(expression)
    english = simulated.explain()
    if next(simulated, None) is None:
        raise ValueError(f"cron({expression!r}) is never due: no such day comes in the next 50 years.")
    return Cron(expression, english[0].lower() + english[1:])


def _check_steps(expression: str) -> None:
    """Refuse a step that selects one value of its range. `*/90` minutes, for example, would be every hour."""
    from cronsim import CronSim

    fields = expression.split()
    for place, attribute in zip(range(len(fields)), list(FIELDS)[-len(fields) :], strict=True):
        for term in fields[place].split(","):
            values, step, _ = term.partition("/")
            if not step:
                continue
            alone = ["*"] * len(fields)
            alone[place] = term
            selected = getattr(CronSim(" ".join(alone), datetime(2000, 1, 1)), attribute)
            if attribute == "weekdays":
                selected = {day % 7 for day in selected}  # 0 and 7 are Sunday
            first, dash, last = values.partition("-")
            if len(selected) == 1 or (dash and first == last):
                raise ValueError(
                    f"cron({expression!r}): {term!r} selects a single {FIELDS[attribute]}, so its step has no effect. Leave the "
                    "step out. For a longer period, use every(...), for example every('90 minutes')."
                )
