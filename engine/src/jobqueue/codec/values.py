"""Encode values as bytes with a media type, and decode them.

The format is a JSON tree followed by binary parts, each preceded by its length. A JSON object with a single key that starts with
`$` names the type of the value that it holds. Arrays, bytes and figures are binary parts, and the tree refers to them by number.
"""

import base64
import io
import json
import math
import re
import struct
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from pathlib import PosixPath, PurePath, PurePosixPath, PureWindowsPath, WindowsPath
from typing import Any
from uuid import UUID, SafeUUID
from zoneinfo import ZoneInfo

from jobqueue.codec import structures
from jobqueue.text import WITHIN, full_type_name, said, shown

TREE = "application/vnd.jobqueue.tree"
LENGTH = struct.Struct(">Q")  # before the tree, and before each of its parts
LABEL = 100  # characters of a key in an error
MAX_DEPTH = 100  # levels of nesting; decoding recurses, and may start deep in a web server's stack
USE_ZONEINFO = "cannot be saved. Use an IANA time zone, such as zoneinfo.ZoneInfo('Europe/Paris')."
SAFE_INT = 2**63  # larger integers are written in hexadecimal, which Python reads at any length
PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")  # two halves of a character, which JSON reads as the character
PATHS = {kind.__name__: kind for kind in (PosixPath, WindowsPath, PurePosixPath, PureWindowsPath)}
Keep = Callable[..., Any]  # turns a nested value into its tree; a second argument names its place, such as ".attrs"
Read = Callable[[Any], Any]  # turns a tree into its value


class ResultNotEncodable(TypeError):
    """A value of an unsupported type. The job fails without a retry, because another attempt would not help."""


class ResultTooLarge(ResultNotEncodable):
    """A value that takes more bytes than the queue allows. The job fails without a retry."""


def encode(value: Any, max_bytes: float = math.inf) -> tuple[str, bytes]:
    """Return a value's media type and bytes.

    :param value: a number, text, bytes, date, NumPy array, pandas object or Plotly figure, or a list, tuple, set, dict, named tuple
        or dataclass of them. docs/submitting.md lists the types.
    :param max_bytes: the size limit of the encoded value.
    :raises ResultNotEncodable: for an unsupported type. The message gives the type, its place in the value, and the remedy.
    :raises ResultTooLarge: if the encoded value exceeds `max_bytes`.

    >>> decode(*encode({"risk": (1, 2.5)}))
    {'risk': (1, 2.5)}
    """
    writer = _Writer()
    tree = json.dumps(writer.tree(value, "result"), separators=(",", ":")).encode()
    size = sum(LENGTH.size + len(part) for part in (tree, *writer.parts))
    if size > max_bytes:
        raise ResultTooLarge(
            f"The value takes {size:,} bytes; the limit for a result or a step is {max_bytes:,} (max_result). Save it "
            "with huey.files.save(...), and return the File."
        )
    return TREE, b"".join(LENGTH.pack(len(part)) + part for part in (tree, *writer.parts))


def decode(media_type: str, body: bytes) -> Any:
    """Return the value that `encode` was given.

    :raises ValueError: for an unknown media type, or a truncated body.
    """
    if media_type != TREE:
        raise ValueError(f"Media type {media_type!r} is unknown; this version of the code reads {TREE!r}.")
    parts = []
    view = memoryview(body)
    while view:
        if len(view) < LENGTH.size or len(view) - LENGTH.size < (length := LENGTH.unpack_from(view)[0]):
            raise ValueError("The stored value is truncated.")
        parts.append(bytes(view[LENGTH.size : LENGTH.size + length]))
        view = view[LENGTH.size + length :]
    return _Reader(parts[1:]).value(json.loads(parts[0]))


def register(kind: type, tag: str, write: Callable[[Any, Keep], Any], read: Callable[[Any, Read], Any]) -> None:
    """Let values of one more type of the engine be saved. The module that defines the type calls this when it is imported.

    :param tag: the name of the type in stored values. It never changes.
    :param write: returns a value's tree. It passes nested values to its second argument.
    :param read: returns the value of such a tree.
    """
    _PLAIN[kind] = (tag, write)
    _HOW_TO_READ[f"${tag}"] = read


class _Writer:
    """Encoder of one value. It collects the binary parts that the tree refers to."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.depth = 0

    def tree(self, value: Any, where: str) -> Any:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ResultNotEncodable(
                f"The result contains itself, or is nested deeper than {MAX_DEPTH} levels. Return a flatter value."
            )
        try:
            return self._tree(value, where)
        finally:
            self.depth -= 1

    def _tree(self, value: Any, where: str) -> Any:
        kind = type(value)
        if value is None or kind in (bool, float) or (kind is int and -SAFE_INT < value < SAFE_INT):
            return value
        if kind is str:
            return _text(value, where)
        if kind is list:
            return [self.tree(item, f"{where}[{i}]") for i, item in enumerate(value)]
        if kind is dict:
            return self._dict(value, where)
        if kind in (tuple, set, frozenset):
            return {f"${kind.__name__}": [self.tree(item, f"{where}[{i}]") for i, item in enumerate(value)]}
        tag, write = _how_to_write(kind)
        if write is None:
            raise ResultNotEncodable(
                f"{where} is a {full_type_name(value)}, which cannot be saved. Return numbers, text, "
                "bytes, dates, NumPy arrays, pandas DataFrames, Series and indexes, or Plotly figures, or lists, tuples, sets, "
                "dicts, named tuples and dataclasses of them. For a model, for example, return its parameters as a dict."
            )
        try:
            data = write(value, lambda part, place="": self.tree(part, where + place))
        except ResultNotEncodable:
            raise
        except Exception as error:
            raise ResultNotEncodable(
                f"{where} is a {full_type_name(value)} that cannot be saved: {said(error, WITHIN)}"
            ) from error
        if isinstance(data, bytes):
            self.parts.append(data)
            data = len(self.parts) - 1
        return {f"${tag}": data}

    def _dict(self, value: dict[Any, Any], where: str) -> Any:
        items = {key: self.tree(item, f"{where}[{shown(key, LABEL)}]") for key, item in value.items()}
        if all(type(key) is str and not key.startswith("$") and not PAIR.search(key) for key in items):
            return items
        return {"$dict": [[self.tree(key, f"a key of {where}"), item] for key, item in items.items()]}


def _text(value: str, where: str) -> str:
    if PAIR.search(value):
        raise ResultNotEncodable(
            f"{where} is text with the two halves of a character as two characters, which cannot be saved. Join them: "
            "text.encode('utf-16', 'surrogatepass').decode('utf-16')."
        )
    return value


class _Reader:
    """Decoder of one value, given its binary parts."""

    def __init__(self, parts: list[bytes]) -> None:
        self.parts = parts

    def value(self, tree: Any) -> Any:
        if isinstance(tree, list):
            return [self.value(item) for item in tree]
        if not isinstance(tree, dict):
            return tree
        tag = next(iter(tree), "")
        if not tag.startswith("$"):
            return {key: self.value(item) for key, item in tree.items()}
        data = tree[tag]
        if tag in _IN_PARTS:
            return _IN_PARTS[tag](self.parts[data])
        return _HOW_TO_READ[tag](data, self.value)


def _how_to_write(kind: type) -> tuple[str, Callable[[Any, Keep], Any] | None]:
    """Return a type's tag and writer. The writer is None for an unsupported type.

    The module name tells which library a type belongs to, so this imports only libraries that are already loaded.
    """
    if kind in _PLAIN:
        return _PLAIN[kind]
    library = str(kind.__module__).partition(".")[0]
    if library == "numpy":
        import numpy as np

        if kind is np.ndarray:
            return "array", lambda value, keep: _write_array(value)
        if issubclass(kind, np.generic):
            return "scalar", lambda value, keep: _write_array(np.asarray(value))
    elif library == "pandas":
        from jobqueue.codec import frames

        return frames.how_to_write(kind)
    elif library == "plotly":
        from plotly.graph_objects import Figure

        if kind is Figure:
            return "figure", lambda value, keep: value.to_json().encode()
    return structures.how_to_write(kind)


def _zone(zone: tzinfo | None) -> str | None:
    """Return a zone's IANA name, or None for no zone or a fixed offset, which the ISO text contains.

    Raises ValueError for a zone of another library, and for a fixed offset with a name of its own.
    """
    if zone is None or (type(zone) is timezone and str(zone) == str(timezone(zone.utcoffset(None)))):
        return None
    if type(zone) is ZoneInfo and zone.key is not None:
        return zone.key
    raise ValueError(f"its time zone {zone!r} {USE_ZONEINFO}")


def _read_datetime(data: list[Any], read: Read) -> datetime:
    text, zone, fold = data
    value = datetime.fromisoformat(text)
    if zone is not None:
        value = value.replace(tzinfo=ZoneInfo(zone))
    elif value.utcoffset() == timedelta(0):
        value = value.replace(tzinfo=UTC)
    return value.replace(fold=fold)


def _read_time(data: list[Any], read: Read) -> time:
    text, zone, fold = data
    value = time.fromisoformat(text)
    return (value if zone is None else value.replace(tzinfo=ZoneInfo(zone))).replace(fold=fold)


def _write_path(value: PurePath, keep: Keep) -> list[str]:
    kind, text = type(value), str(value)
    if kind(text).parts != value.parts:
        raise ValueError(f"its text {text!r} is another path. Return it as text.")
    return [kind.__name__, text]


def _write_array(value: Any) -> bytes:
    import numpy as np

    if value.dtype.hasobject:
        raise ValueError("its values are Python objects of any type; convert it to numbers or text, or to a list.")
    if np.lib.format.drop_metadata(value.dtype) is not value.dtype:
        raise ValueError("its dtype has metadata; save the metadata beside it, in a dict.")
    buffer = io.BytesIO()
    np.save(buffer, value, allow_pickle=False)
    return buffer.getvalue()


def _read_array(body: bytes) -> Any:
    import numpy as np

    return np.load(io.BytesIO(body), allow_pickle=False)


def _read_figure(body: bytes) -> Any:
    from plotly.graph_objects import Figure

    return Figure(json.loads(body, object_hook=_plain_array))


def _plain_array(item: dict[str, Any]) -> Any:
    """Return the NumPy array that Plotly wrote as a dtype and bytes in base 64. Return any other item unchanged."""
    if not {"dtype", "bdata"} <= item.keys():
        return item
    import numpy as np

    array = np.frombuffer(base64.b64decode(item["bdata"]), dtype=item["dtype"])
    shape = item.get("shape")
    return array if shape is None else array.reshape([int(size) for size in str(shape).split(",")])


def _read_pandas(data: Any, read: Read) -> Any:
    from jobqueue.codec import frames

    return frames.read(data, read)


_PLAIN: dict[type, tuple[str, Callable[[Any, Keep], Any]]] = {
    int: ("int", lambda value, keep: hex(value)),
    bytes: ("bytes", lambda value, keep: value),
    complex: ("complex", lambda value, keep: [value.real, value.imag]),
    datetime: ("datetime", lambda value, keep: [value.isoformat(), _zone(value.tzinfo), value.fold]),
    date: ("date", lambda value, keep: value.isoformat()),
    time: ("time", lambda value, keep: [value.isoformat(), _zone(value.tzinfo), value.fold]),
    timedelta: ("timedelta", lambda value, keep: [value.days, value.seconds, value.microseconds]),
    Decimal: ("decimal", lambda value, keep: str(value)),
    UUID: ("uuid", lambda value, keep: [value.hex, value.is_safe.value]),
    range: ("range", lambda value, keep: [keep(value.start), keep(value.stop), keep(value.step)]),
    **{kind: ("path", _write_path) for kind in PATHS.values()},
}

_HOW_TO_READ: dict[str, Callable[[Any, Read], Any]] = {
    "$dict": lambda data, read: {read(key): read(item) for key, item in data},
    "$tuple": lambda data, read: tuple(read(item) for item in data),
    "$set": lambda data, read: {read(item) for item in data},
    "$frozenset": lambda data, read: frozenset(read(item) for item in data),
    "$int": lambda data, read: int(data, 16),
    "$complex": lambda data, read: complex(*data),
    "$datetime": _read_datetime,
    "$date": lambda data, read: date.fromisoformat(data),
    "$time": _read_time,
    "$timedelta": lambda data, read: timedelta(*data),
    "$decimal": lambda data, read: Decimal(data),
    "$uuid": lambda data, read: UUID(data[0], is_safe=SafeUUID(data[1])),
    "$range": lambda data, read: range(*map(read, data)),
    "$path": lambda data, read: PATHS[data[0]](data[1]),
    "$pandas": _read_pandas,
    **structures.HOW_TO_READ,
}

_IN_PARTS: dict[str, Callable[[bytes], Any]] = {
    "$bytes": lambda body: body,
    "$array": _read_array,
    "$scalar": lambda body: _read_array(body)[()],
    "$figure": _read_figure,
}
