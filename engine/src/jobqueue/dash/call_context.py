"""Dash's context of a call, as a background callback's job keeps it. Values that are arguments too are kept once.

The context repeats the values of all Inputs and States, which are the callback's arguments. A large one would take twice the
space.
"""

import io
import pickle
from collections.abc import Iterator
from typing import Any

LONG = 1000  # characters from which a text is kept once

Place = tuple[Any, ...]  # where a value is among the arguments: keys and indexes


def pack(context: dict[str, Any], args: Any) -> bytes:
    """Pickle a context. In place of a value that is among the arguments, it holds the value's place."""
    packed = io.BytesIO()
    _Packer(packed, {id(value): place for place, value in _values(args) if _is_large(value)}).dump(context)
    return packed.getvalue()


def unpack(packed: bytes | dict[str, Any], args: Any) -> dict[str, Any]:
    """Return the context that was packed with these arguments. A context that is not packed is returned as it is."""
    if isinstance(packed, dict):
        return packed
    context: dict[str, Any] = _Unpacker(io.BytesIO(packed), args).load()
    return context


class _Packer(pickle.Pickler):
    def __init__(self, file: io.BytesIO, places: dict[int, Place]) -> None:
        super().__init__(file)
        self._places = places

    def persistent_id(self, value: Any) -> Place | None:
        return self._places.get(id(value))


class _Unpacker(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, args: Any) -> None:
        super().__init__(file)
        self._args = args

    def persistent_load(self, place: Place) -> Any:
        value = self._args
        for key in place:
            value = value[key]
        return value


def _values(args: Any) -> Iterator[tuple[Place, Any]]:
    """Return the arguments with their places, and what is in them: an argument may be a group of values."""
    for key, value in _items(args):
        yield (key,), value
        for inner, part in _items(value):
            yield (key, inner), part


def _items(values: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(values, dict):
        yield from values.items()
    elif isinstance(values, list | tuple):
        yield from enumerate(values)


def _is_large(value: Any) -> bool:
    return isinstance(value, list | dict) or (isinstance(value, str) and len(value) > LONG)
