"""Any result as valid JSON. docs/dash.md has the table of types."""

import base64
import dataclasses
import json
import math
from collections.abc import Mapping
from datetime import date, time, timedelta
from enum import Enum
from typing import IO, Any

from jobqueue.dash.downloads.tables import is_table


def write_json(value: Any, file: IO[bytes], name: str = "") -> None:
    """Write a value as JSON in UTF-8."""
    text = json.dumps(plain(value), ensure_ascii=False, allow_nan=False, indent=1)
    file.write(text.encode("utf-8", "replace"))


def plain(value: Any) -> Any:
    """Return a value as dicts, lists, text, finite numbers, booleans and None."""
    match value:
        case Enum():
            return plain(value.value)
        case None | bool() | int() | str():
            return value
        case float():
            return _number(value)
        case Mapping():
            return _object(value)
        case tuple() if hasattr(value, "_fields"):
            return dict(zip(value._fields, map(plain, value), strict=True))
        case list() | tuple() | set() | frozenset() | range():
            return [plain(item) for item in value]
        case bytes():
            return base64.b64encode(value).decode()
        case timedelta():
            return None if _is_missing(value) else _number(value.total_seconds())
        case date() | time():
            return None if _is_missing(value) else value.isoformat()
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return _of_library(value)


def _number(value: float) -> float | str | None:
    if math.isfinite(value):
        return float(value)
    return None if math.isnan(value) else f"{'-' * (value < 0)}Infinity"


def _object(value: Mapping[Any, Any]) -> Any:
    """Return a dict by the texts of its keys. Return pairs if two keys have the same text."""
    texts = [_key(key) for key in value]
    items = map(plain, value.values())
    if len(set(texts)) == len(texts):
        return dict(zip(texts, items, strict=True))
    return [list(pair) for pair in zip(map(plain, value), items, strict=True)]


def _key(key: Any) -> str:
    key = plain(key)
    return key if isinstance(key, str) else json.dumps(key)


def _is_missing(value: Any) -> bool:
    return type(value).__name__ in ("NaTType", "NAType")


def _of_library(value: Any) -> Any:
    """Return a value of NumPy, pandas or Plotly. Return any other value as text."""
    if is_table(value):
        labels = {"columns": plain(list(value.columns))} if hasattr(value, "columns") else {"name": plain(value.name)}
        rows = value.itertuples(index=False, name=None) if hasattr(value, "columns") else value
        return labels | {"index": plain(list(value.index)), "data": plain(list(rows))}
    match type(value).__module__.partition(".")[0]:
        case "plotly" if hasattr(value, "to_json"):
            return json.loads(value.to_json())
        case "numpy" if value.dtype.kind in "mM":
            import pandas as pd

            return plain(list(pd.Series(value.ravel())) if value.ndim else pd.Series([value])[0])
        case "numpy":
            return plain(value.tolist())
        case "pandas" if hasattr(value, "to_list"):
            return plain(value.to_list())
    return None if _is_missing(value) else str(value)
