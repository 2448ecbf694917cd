"""Share one decoded value among many readers, so that none of them can change it for the others."""

import copy
from typing import Any

from jobqueue.codec import structures


def read_only(value: Any) -> Any:
    """Make the arrays in a value read-only, because many threads will share it. Return the value."""
    if isinstance(value, list | tuple | dict):
        for item in value.values() if isinstance(value, dict) else value:
            read_only(item)
    elif _library(value) == "numpy" and hasattr(value, "setflags"):
        value.setflags(write=False)
    else:
        structures.rebuilt(value, read_only)  # the copy is not needed: its arrays are the value's
    return value


def own_copy(value: Any) -> Any:
    """Return a copy of a value for one reader. pandas objects share their data until the reader changes it."""
    if type(value) in (list, tuple):
        return type(value)(map(own_copy, value))
    if type(value) is dict:
        return {key: own_copy(item) for key, item in value.items()}
    library = _library(value)
    if library == "pandas" and hasattr(value, "copy"):
        return value.copy(deep=False)
    if library == "plotly" or isinstance(value, set):
        return copy.deepcopy(value)
    return structures.rebuilt(value, own_copy)


def _library(value: Any) -> str:
    return type(value).__module__.partition(".")[0]
