"""Named tuples, dataclasses, enum members, and the dicts of `collections`: values of a class, made of other values.

A class is stored by its name. It is found again only in a module that this process has imported, so that reading a stored value
imports nothing. An object is made without a call of its class, and gets the fields that it had.
"""

import dataclasses
import sys
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from enum import Enum
from types import ModuleType
from typing import Any

Keep = Callable[..., Any]
Read = Callable[[Any], Any]


def how_to_write(kind: type) -> tuple[str, Callable[[Any, Keep], Any] | None]:
    """Return the tag and the writer for a type. The writer is None for an unsupported type."""
    return next(((tag, write) for tag, is_one, write in _HOW_TO_WRITE if is_one(kind)), ("", None))


def rebuilt(value: Any, change: Callable[[Any], Any]) -> Any:
    """Return a structure of the same type, in which each value is changed. Return any other value unchanged."""
    tag, write = how_to_write(type(value))
    if write is None:
        return value
    return HOW_TO_READ[f"${tag}"](write(value, lambda item, place="": change(item)), lambda item: item)


# --- classes ---


def _name_of(kind: type) -> str:
    """Return the name under which `_find` finds a class. Raises ValueError if it finds another, or none."""
    name = f"{kind.__module__}:{kind.__qualname__}"
    if _find(name) is not kind:
        raise ValueError("its class cannot be found by its name. Define it in a module, outside of functions.")
    return name


def _find(name: str) -> Any:
    """Return the object of a name, or None. Look only at modules that are imported, and call nothing of theirs."""
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        if not issubclass(type(found), ModuleType | type):
            return None
        found = object.__getattribute__(found, "__dict__").get(part)  # a lazy module would import itself
    return found


def _class_of(name: str, is_one: Callable[[type], bool]) -> Any:
    """Return the class of a stored object."""
    kind = _find(name)
    if not issubclass(type(kind), type) or not is_one(kind):
        module, _, path = name.partition(":")
        raise ValueError(
            f"The value is a {path}. Import {module}, which defines it, in the process that reads the value."
        )
    return kind


def _changed(kind: type) -> ValueError:
    return ValueError(f"The value was saved by another version of {kind.__qualname__}. Run its job again.")


def _refuse_attributes(value: Any) -> None:
    """Raise ValueError if an object has attributes beside its content."""
    if object.__getstate__(value):
        raise ValueError("it has attributes beside its content. Save them beside it, in a dict.")


# --- the dicts of `collections` ---


def _write_counter(value: Any, keep: Keep) -> Any:
    _refuse_attributes(value)
    return keep(dict(value))


def _write_ordered_dict(value: Any, keep: Keep) -> Any:
    _refuse_attributes(value)
    return keep(list(value.items()))


# --- enums ---


def _is_enum(kind: type) -> bool:
    return issubclass(kind, Enum)


def _write_member(value: Enum, keep: Keep) -> list[str]:
    kind = type(value)
    if kind._member_map_.get(value.name) is not value:
        raise ValueError("it is a combination of flags. Return its .value.")
    return [_name_of(kind), value.name]


def _read_member(data: list[str], read: Read) -> Enum:
    kind = _class_of(data[0], _is_enum)
    if data[1] not in kind._member_map_:
        raise _changed(kind)
    member: Enum = kind._member_map_[data[1]]
    return member


# --- named tuples ---


def _is_named_tuple(kind: type) -> bool:
    return (
        issubclass(kind, tuple) and isinstance(getattr(kind, "_fields", None), tuple) and not hasattr(kind, "__del__")
    )


def _write_named_tuple(value: Any, keep: Keep) -> list[Any]:
    _refuse_attributes(value)
    kind = type(value)
    names = zip(kind._fields, tuple.__iter__(value), strict=True)
    return [_name_of(kind), [keep(item, f".{name}") for name, item in names]]


def _read_named_tuple(data: list[Any], read: Read) -> Any:
    kind = _class_of(data[0], _is_named_tuple)
    if len(data[1]) != len(kind._fields):
        raise _changed(kind)
    return tuple.__new__(kind, map(read, data[1]))


# --- dataclasses ---


def _is_dataclass(kind: type) -> bool:
    """Return whether this is a dataclass whose objects have nothing but fields, and run no code when they go away."""
    # A built-in type has a content, and a __new__ of its own.
    return dataclasses.is_dataclass(kind) and vars(object)["__new__"] is kind.__new__ and not hasattr(kind, "__del__")


def _fit(kind: Any, names: Iterable[str]) -> bool:
    """Return whether these attributes are fields of a dataclass, and all that it needs. A class keeps its plain defaults."""
    fields, given = dataclasses.fields(kind), set(names)
    needed = {field.name for field in fields if field.default is dataclasses.MISSING}
    return needed <= given <= {field.name for field in fields}


def _write_dataclass(value: Any, keep: Keep) -> list[Any]:
    kind = type(value)
    state: Any = object.__getstate__(value) or {}
    if isinstance(state, tuple):  # with slots
        state = (state[0] or {}) | state[1]
    if not _fit(kind, state):
        raise ValueError(f"its attributes are not its fields: {', '.join(sorted(state))}. Return its fields as a dict.")
    return [_name_of(kind), {name: keep(item, f".{name}") for name, item in state.items()}]


def _read_dataclass(data: list[Any], read: Read) -> Any:
    kind = _class_of(data[0], _is_dataclass)
    if not _fit(kind, data[1]):
        raise _changed(kind)
    value = object.__new__(kind)
    for name, item in data[1].items():
        object.__setattr__(value, name, read(item))
    return value


_HOW_TO_WRITE: tuple[tuple[str, Callable[[type], bool], Callable[[Any, Keep], Any]], ...] = (
    ("counter", lambda kind: kind is Counter, _write_counter),
    ("ordered", lambda kind: kind is OrderedDict, _write_ordered_dict),
    ("enum", _is_enum, _write_member),
    ("namedtuple", _is_named_tuple, _write_named_tuple),
    ("dataclass", _is_dataclass, _write_dataclass),
)

HOW_TO_READ: dict[str, Callable[[Any, Read], Any]] = {
    "$counter": lambda data, read: Counter(read(data)),
    "$ordered": lambda data, read: OrderedDict(read(data)),
    "$enum": _read_member,
    "$namedtuple": _read_named_tuple,
    "$dataclass": _read_dataclass,
}
