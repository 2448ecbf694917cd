"""Wait for a condition, not for a time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

INTERVAL = 0.01  # seconds between two looks at a condition


def wait_until(condition: Callable[[], T], timeout: float = 10.0) -> T:
    """Return the condition's first true value. Raise TimeoutError with its last answer."""
    until = time.monotonic() + timeout
    while not (answer := condition()):
        if time.monotonic() >= until:
            raise TimeoutError(f"Not so within {timeout:g} s; the last answer was {answer!r}.")
        time.sleep(INTERVAL)
    return answer
