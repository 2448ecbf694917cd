"""Results and steps to bytes and back, by media type. Nothing here is pickled: what is read is data, never code.

A value comes back as the type that went in, or is refused when it is saved. Containers hold anything that is kept; a
DataFrame within a dict costs no more than one alone. pandas, NumPy and Plotly are imported only by those who use them.
"""

import io
import json
import struct
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

TREE = "application/vnd.jobqueue.tree"
LENGTH = struct.Struct(">Q")  # before the tree, and before each of its parts


class ResultNotEncodable(TypeError):
    """The value holds something that cannot be kept: the job fails for good, as running it again would not help."""


def encode(value: Any) -> tuple[str, bytes]:
    """The media type and the bytes of a value.

    Raises ResultNotEncodable, naming the type, where it is, and what to do.
    """
    parts: list[bytes] = []
    try:
        tree = json.dumps(_to_tree(value, "result", parts), separators=(",", ":")).encode()
    except RecursionError as error:
        raise ResultNotEncodable("The result contains itself, or is nested too deeply to be kept.") from error
    return TREE, b"".join(LENGTH.pack(len(part)) + part for part in (tree, *parts))


def decode(media_type: str, body: bytes) -> Any:
    """The value that `encode` was given. Raises ValueError for a media type that is not ours, or a body cut short."""
    if media_type != TREE:
        raise ValueError(f"Media type {media_type!r} is not known; this code reads {TREE!r}.")
    parts = []
    view = memoryview(body)
    while view:
        (length,) = LENGTH.unpack_from(view)
        part = view[LENGTH.size : LENGTH.size + length]
        if len(part) < length:
            raise ValueError("The stored value is cut short.")
        parts.append(bytes(part))
        view = view[LENGTH.size + length :]
    return _from_tree(json.loads(parts[0]), parts[1:])


def _to_tree(value: Any, where: str, parts: list[bytes]) -> Any:
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return value
    if kind is list:
        return [_to_tree(item, f"{where}[{i}]", parts) for i, item in enumerate(value)]
    if kind is dict:
        if all(type(key) is str and not key.startswith("$") for key in value):
            return {key: _to_tree(item, f"{where}[{key!r}]", parts) for key, item in value.items()}
        pairs = [
            [_to_tree(key, f"a key of {where}", parts), _to_tree(item, f"{where}[{key!r}]", parts)]
            for key, item in value.items()
        ]
        return {"$dict": pairs}
    if kind in (tuple, set, frozenset):
        return {f"${kind.__name__}": [_to_tree(item, f"{where}[{i}]", parts) for i, item in enumerate(value)]}
    tag, to_data = _encoder(kind)
    if to_data is None:
        raise ResultNotEncodable(
            f"{where} is a {kind.__module__}.{kind.__qualname__}, which cannot be kept. Return numbers, text, "
            "bytes, dates, lists, tuples, sets and dicts of them, NumPy arrays, pandas DataFrames, Series and indexes, "
            "or Plotly figures: for a model, say, its parameters as a dict."
        )
    try:
        data = to_data(value)
    except ResultNotEncodable:
        raise
    except Exception as error:
        raise ResultNotEncodable(
            f"{where} is a {kind.__module__}.{kind.__qualname__} that cannot be kept: {error}. "
            "A column or array must hold values of one type; convert it, or turn it into text."
        ) from error
    if isinstance(data, bytes):
        parts.append(data)
        data = len(parts) - 1
    elif isinstance(data, tuple):  # a table, and what a table does not hold
        table, extra = data
        parts.append(table)
        data = [len(parts) - 1, _to_tree(extra, where, parts)]
    return {f"${tag}": data}


def _from_tree(tree: Any, parts: list[bytes]) -> Any:
    if isinstance(tree, list):
        return [_from_tree(item, parts) for item in tree]
    if not isinstance(tree, dict):
        return tree
    tag = next(iter(tree), "")
    if not tag.startswith("$"):
        return {key: _from_tree(item, parts) for key, item in tree.items()}
    data = tree[tag]
    match tag:
        case "$dict":
            return {_from_tree(key, parts): _from_tree(item, parts) for key, item in data}
        case "$tuple":
            return tuple(_from_tree(item, parts) for item in data)
        case "$set":
            return {_from_tree(item, parts) for item in data}
        case "$frozenset":
            return frozenset(_from_tree(item, parts) for item in data)
        case "$series":
            frame = _read_table(parts[data[0]])
            return frame.iloc[:, 0].rename(_from_tree(data[1], parts))
        case "$index":
            return _read_table(parts[data[0]]).index
        case _:
            return _DECODERS[tag](parts[data] if tag in _IN_PARTS else data)


def _encoder(kind: type) -> tuple[str, Callable[[Any], Any] | None]:
    """How a type is written; the module's name is enough to tell, so that nothing is imported to find out."""
    if kind in _PLAIN:
        return _PLAIN[kind]
    library = kind.__module__.partition(".")[0]
    if library == "numpy":
        import numpy as np

        if kind is np.ndarray:
            return "array", _write_array
        if issubclass(kind, np.generic):
            return "scalar", lambda value: _write_array(np.asarray(value))
    elif library == "pandas":
        import pandas as pd

        if kind is pd.DataFrame:
            return "frame", _write_table
        if kind is pd.Series:
            return "series", lambda value: (_write_table(value.rename("values").to_frame()), value.name)
        if issubclass(kind, pd.Index):
            return "index", lambda value: (_write_table(pd.DataFrame(index=value)), None)
        if kind is pd.Timestamp:
            return "timestamp", lambda value: [value.isoformat(), _zone(value.tzinfo), value.unit]
        if kind is pd.Timedelta:
            return "timedelta64", lambda value: [value.isoformat(), value.unit]
        if value_is_missing(kind):
            return "missing", lambda value: "NaT" if value is pd.NaT else "NA"
    elif library == "plotly":
        from plotly.graph_objects import Figure

        if kind is Figure:
            return "figure", lambda value: value.to_json().encode()
    return "", None


def value_is_missing(kind: type) -> bool:
    """Whether a type is that of pd.NaT or pd.NA."""
    return kind.__name__ in ("NaTType", "NAType")


def _zone(zone: Any) -> str | None:
    """An IANA name; None for a naive time, or where the offset says it all."""
    return getattr(zone, "key", None) if zone is not None else None


def _read_datetime(data: list[Any]) -> datetime:
    text, zone, fold = data
    value = datetime.fromisoformat(text)
    if zone is not None:
        value = value.replace(tzinfo=ZoneInfo(zone))
    elif value.utcoffset() == timedelta(0):
        value = value.replace(tzinfo=UTC)
    return value.replace(fold=fold)


def _read_timestamp(data: list[Any]) -> Any:
    import pandas as pd

    text, zone, unit = data
    value = pd.Timestamp(text)
    return (value.tz_convert(zone) if zone else value).as_unit(unit)


def _read_timedelta64(data: list[Any]) -> Any:
    import pandas as pd

    return pd.Timedelta(data[0]).as_unit(data[1])


def _read_missing(name: str) -> Any:
    import pandas as pd

    return getattr(pd, name)


def _write_array(value: Any) -> bytes:
    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, value, allow_pickle=False)
    return buffer.getvalue()


def _read_array(body: bytes) -> Any:
    import numpy as np

    return np.load(io.BytesIO(body), allow_pickle=False)


def _write_table(frame: Any) -> bytes:
    import pyarrow as pa

    if not frame.columns.is_unique:
        raise ValueError(f"its columns are not unique: {sorted(map(str, frame.columns[frame.columns.duplicated()]))}")
    table = pa.Table.from_pandas(frame)
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _read_table(body: bytes) -> Any:
    import pyarrow as pa

    return pa.ipc.open_file(io.BytesIO(body)).read_all().to_pandas()


def _read_figure(body: bytes) -> Any:
    import plotly.io

    return plotly.io.from_json(body.decode())


_PLAIN: dict[type, tuple[str, Callable[[Any], Any]]] = {
    bytes: ("bytes", lambda value: value),
    complex: ("complex", lambda value: [value.real, value.imag]),
    datetime: ("datetime", lambda value: [value.isoformat(), _zone(value.tzinfo), value.fold]),
    date: ("date", date.isoformat),
    time: ("time", time.isoformat),
    timedelta: ("timedelta", lambda value: [value.days, value.seconds, value.microseconds]),
    Decimal: ("decimal", str),
}

_DECODERS: dict[str, Callable[[Any], Any]] = {
    "$bytes": lambda body: body,
    "$complex": lambda data: complex(*data),
    "$datetime": _read_datetime,
    "$date": date.fromisoformat,
    "$time": time.fromisoformat,
    "$timedelta": lambda data: timedelta(*data),
    "$decimal": Decimal,
    "$array": _read_array,
    "$scalar": lambda body: _read_array(body)[()],
    "$frame": _read_table,
    "$figure": _read_figure,
    "$timestamp": _read_timestamp,
    "$timedelta64": _read_timedelta64,
    "$missing": _read_missing,
}
_IN_PARTS = frozenset({"$bytes", "$array", "$scalar", "$frame", "$figure"})
