"""Every SQL statement of the engine under its name: `statements.CLAIM`. The engine keeps each beside the method that runs it."""

import functools
import re
from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

from jobqueue import ledger, monitoring, schedules
from jobqueue.monitoring import figures, own_jobs, search, snapshot

SQL = re.compile(r"\b(SELECT|INSERT|UPDATE|DELETE)\b")


def modules() -> Iterator[ModuleType]:
    """Yield the modules that hold statements."""
    for package in (ledger, monitoring, schedules):
        for module in iter_modules(package.__path__, f"{package.__name__}."):
            yield import_module(module.name)
    yield import_module("jobqueue.dash.callback_updates")  # the last: Dash takes longer than all the others


@functools.cache
def of(module: ModuleType) -> dict[str, str]:
    """Return the statements that a module names: constants in capitals whose value is SQL."""
    return {
        name: value
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, str) and SQL.search(value)
    }


@functools.cache
def by_name() -> dict[str, str]:
    """Return every statement. Raise ValueError if two modules give one name to different statements."""
    found: dict[str, str] = {}
    for module in modules():
        for name, text in of(module).items():
            if found.setdefault(name, text) != text:
                raise ValueError(f"{module.__name__}.{name} differs from another statement of that name.")
    return found


LISTING = set[str]().union(*map(of, (search, figures, snapshot, own_jobs)))  # what people see of jobs


def __getattr__(name: str) -> str:
    for module in modules() if name.isupper() else ():
        if name in (found := of(module)):
            return found[name]
    raise AttributeError(name)
