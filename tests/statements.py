"""Every SQL statement of the engine under its name: `statements.CLAIM`. Tests name statements; the engine keeps each beside its method."""

from types import ModuleType

from jobqueue.dash import callback_updates
from jobqueue.ledger import (
    attempts,
    claiming,
    consumers,
    dataset_versions,
    ending,
    entries,
    ledger,
    reading,
    retention,
    shared_runs,
    sql,
    submitting,
)
from jobqueue.monitoring import figures, search
from jobqueue.schedules import timetable

MODULES: tuple[ModuleType, ...] = (
    attempts,
    callback_updates,
    claiming,
    consumers,
    dataset_versions,
    ending,
    entries,
    figures,
    ledger,
    reading,
    retention,
    search,
    shared_runs,
    sql,
    submitting,
    timetable,
)


def of(module: ModuleType) -> dict[str, str]:
    """Return the statements that a module names: constants in capitals whose value is text."""
    return {name: value for name, value in vars(module).items() if name.isupper() and isinstance(value, str)}


BY_NAME: dict[str, str] = {name: text for module in MODULES for name, text in of(module).items()}


def __getattr__(name: str) -> str:
    try:
        return BY_NAME[name]
    except KeyError:
        raise AttributeError(name) from None
