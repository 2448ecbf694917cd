"""Checks of a submit's options, so that a job is accepted or refused alike on every database.

SQLite stores any type in any column. Postgres refuses other types, NUL, and text that an index cannot hold. So every option is
checked before a database sees it. Each error names the option, and says what was given and what to give.
"""

import difflib
import inspect
import math
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from numbers import Integral, Real
from typing import Any

from huey.api import Task

from jobqueue.ledger.queues import named
from jobqueue.schedules.schedule import every
from jobqueue.tasks.options import SubmitOptions
from jobqueue.text import is_storable

LONGEST_ID, LONGEST_OWNER, LONGEST_NAME = 255, 500, 1000  # bytes in UTF-8; Postgres indexes them together in 2,700
MOST_RETRIES = 2**31 - 1
CENTURY = 36525 * 24 * 3600.0  # seconds; a longer delay is a mistake

# The options of Huey's decorators, as it passes them on where they are defaults, and those of this queue.
DEFAULTS = ("retries", "retry_delay", "retry_backoff", "priority", "expires", "timeout")
OPTIONS = (*DEFAULTS, "context", "name", "owner", "queue", "unique", "cache_for", "concurrency", "max_arguments")
OF_SUBMIT = (*DEFAULTS, "id")  # of `task.schedule`, beside the time
OF_SCHEDULES = tuple(inspect.signature(every).parameters)[1:]
# Attributes that the engine's own decorators set, each with the names of what that decorator takes itself.
INTERNAL: Mapping[str, tuple[str, ...]] = {
    "task_base": (),
    "validate_datetime": (),
    "schedule": (),
    "makes_dataset": ("stale_after", "keep", "as_of"),
    "makes_pdf": ("code", "pdf"),
    "check_arguments": (),
    "keep_result": (),
}


def check_names(where: str, given: Collection[str], known: Collection[str] = OPTIONS) -> None:
    """Refuse options that do not exist. Raises TypeError, which names the nearest that does.

    :param where: the task, for the message.
    :param given: the names, as Huey passes them on.
    """
    internal = [name for name in INTERNAL if name in given]
    taken = [*known, *(name for kind in internal for name in INTERNAL[kind])]
    for name in given:
        if name in known or name in INTERNAL or name.removeprefix("default_") in DEFAULTS:
            continue
        if name in OF_SCHEDULES:
            raise TypeError(f"{where}: {name} is an option of its schedule. Write every(..., {name}=...).")
        near = difflib.get_close_matches(name, taken, n=1)
        advice = f"Did you mean {near[0]}?" if near else f"Its options are {', '.join(sorted(taken))}."
        raise TypeError(f"{where}: there is no option {name}. {advice}")


def check_options(task: Task) -> None:
    """Check all options of a task. Raises ValueError, which names the option."""
    options = SubmitOptions.of(task)
    text("id", task.id, LONGEST_ID)
    if options.owner not in (None, ""):
        text("owner", options.owner, LONGEST_OWNER)
    named(options.queue)
    if not (options.unique is None or isinstance(options.unique, bool | str)):
        raise _refused("unique", options.unique, "True, False, or a text that equal submissions share")
    whole("retries", task.retries, MOST_RETRIES)
    seconds("retry_delay", task.retry_delay)
    number("retry_backoff", task.retry_backoff)
    if task.priority is not None:
        number("priority", task.priority)
    if task.timeout is not None:
        number("timeout", task.timeout)
    if options.run_in is not None:
        seconds("delay", options.run_in)
    if options.cache_for is not None and options.cache_for != math.inf:
        seconds("cache_for", options.cache_for)
    if task.expires is not None and not isinstance(task.expires, datetime):
        seconds("expires", task.expires)
    if task.eta is not None and not isinstance(task.eta, datetime):
        raise _refused("eta", task.eta, "a datetime")


def text(name: str, value: Any, longest: int) -> str:
    """Return a text of at most `longest` bytes in UTF-8 that every database can store."""
    if not isinstance(value, str) or not value or not is_storable(value):
        raise _refused(name, value, "text without NUL characters and without halves of surrogate pairs")
    if len(value.encode()) > longest:
        raise _refused(name, value, f"text of at most {longest} bytes, not of {len(value.encode()):,}")
    return value


def number(name: str, value: Any) -> float:
    """Return a finite number as a float."""
    try:
        if isinstance(value, Real) and math.isfinite(found := float(value)):
            return found
    except OverflowError:
        pass
    raise _refused(name, value, "a finite number")


def whole(name: str, value: Any, most: int) -> int:
    """Return a whole number from 0 to `most`."""
    if isinstance(value, Integral) and 0 <= int(value) <= most:
        return int(value)
    raise _refused(name, value, f"a whole number from 0 to {most:,}")


def seconds(name: str, value: Any) -> float:
    """Return seconds, given as an int, a float or a timedelta."""
    found = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(found, int | float) and -CENTURY <= found <= CENTURY:
        return float(found)
    raise _refused(name, value, "seconds as an int or a float, or a timedelta, of at most a hundred years")


@contextmanager
def in_calendar(name: str, value: Any) -> Iterator[None]:
    """Turn an error of a time outside the calendar into a ValueError that names the option."""
    try:
        yield
    except (OverflowError, OSError):
        raise _refused(name, value, "a time in the years 1 to 9999") from None


def _refused(name: str, value: Any, expected: str) -> ValueError:
    given = repr(value) if isinstance(value, str | int | float | timedelta) else f"a {type(value).__qualname__}"
    return ValueError(f"{name} is {given if len(given) < 80 else given[:79] + '…'}. Give {expected}.")
