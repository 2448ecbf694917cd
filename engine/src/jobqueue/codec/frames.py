"""pandas DataFrames, Series, indexes and scalars as trees of arrays.

Each object is written by its structure: labels, index, values by dtype, and metadata (`attrs`, `flags`, and the frequency of an
index). So it comes back with the same labels, dtypes and metadata. Whatever is unknown is refused when the value is saved, not when
it is read.

Metadata is the last item of an object's list, and absent if there is none. Earlier versions of this module do not read it.
"""

from collections.abc import Callable
from datetime import tzinfo
from typing import Any

import numpy as np
import pandas as pd
from pandas.tseries.frequencies import to_offset

Keep = Callable[..., Any]
Read = Callable[[Any], Any]


def how_to_write(kind: type) -> tuple[str, Callable[[Any, Keep], Any] | None]:
    """Return the tag and the writer for a pandas type. The writer is None for an unsupported type."""
    if kind is pd.DataFrame:
        return "pandas", _write_frame
    if kind is pd.Series:
        return "pandas", _write_series
    if issubclass(kind, pd.Index):
        return "pandas", _write_index
    if kind is pd.Timestamp:
        return "pandas", lambda value, keep: [
            "timestamp", keep(value.to_numpy()), None if value.tz is None else _zone_name(value.tz)
        ]  # fmt: skip
    if kind is pd.Timedelta:
        return "pandas", lambda value, keep: ["timedelta", keep(value.to_numpy())]
    if kind is pd.Period:
        return "pandas", _write_period
    if kind is pd.Interval:
        return "pandas", lambda value, keep: ["interval", keep(value.left), keep(value.right), value.closed]
    if kind in (type(pd.NaT), type(pd.NA)):
        return "pandas", lambda value, keep: ["missing", "NaT" if value is pd.NaT else "NA"]
    return "", None


def read(data: list[Any], read: Read) -> Any:
    """Rebuild the object from the tree that the writer made."""
    kind, *rest = data
    return _HOW_TO_READ[kind](rest, read)


def _write_frame(frame: pd.DataFrame, keep: Keep) -> list[Any]:
    dtypes = set(frame.dtypes)
    if len(dtypes) == 1 and isinstance(dtype := next(iter(dtypes)), np.dtype) and dtype.kind != "O":
        columns: Any = keep(frame.to_numpy())  # one block
    else:
        columns = [_write_values(frame.iloc[:, i], keep) for i in range(frame.shape[1])]
    return ["frame", keep(frame.columns), keep(frame.index), columns, *_write_metadata(frame, keep)]


def _read_frame(data: list[Any], read: Read) -> pd.DataFrame:
    columns, index, values, *metadata = read(data[0]), read(data[1]), *data[2:]
    if isinstance(values, dict):
        return _with_metadata(pd.DataFrame(read(values), index=index, columns=columns), metadata, read)
    frame = pd.DataFrame({i: _series(item, read, index) for i, item in enumerate(values)}, index=index)
    frame.columns = columns
    return _with_metadata(frame, metadata, read)


def _write_series(series: pd.Series, keep: Keep) -> list[Any]:
    values = _write_values(series, keep)
    return ["series", keep(series.index), values, keep(series.name), *_write_metadata(series, keep)]


def _read_series(data: list[Any], read: Read) -> pd.Series:
    index, values, name, *metadata = data
    return _with_metadata(_series(values, read, read(index), read(name)), metadata, read)


def _write_metadata(value: pd.DataFrame | pd.Series, keep: Keep) -> list[Any]:
    if not value.attrs and value.flags.allows_duplicate_labels:
        return []
    return [{"attrs": keep(value.attrs, ".attrs"), "allows_duplicate_labels": value.flags.allows_duplicate_labels}]


def _with_metadata(value: Any, metadata: list[Any], read: Read) -> Any:
    for item in metadata:
        value.attrs = read(item["attrs"])
        value.flags.allows_duplicate_labels = item["allows_duplicate_labels"]
    return value


def _write_index(index: pd.Index, keep: Keep) -> list[Any]:
    if isinstance(index, pd.RangeIndex):
        return ["range", index.start, index.stop, index.step, keep(index.name)]
    if isinstance(index, pd.MultiIndex):
        values = [keep(index.get_level_values(i)) for i in range(index.nlevels)]
        return ["multi", values, [keep(name) for name in index.names], *_write_levels(index, keep)]
    return ["index", _write_values(index, keep), keep(index.name), *_write_freq(index, keep)]


def _read_index(data: list[Any], read: Read) -> pd.Index:
    values, name, *freq = data
    index = pd.Index(_read_values(values, read), dtype=_explicit_dtype(values), name=read(name), tupleize_cols=False)
    for item in freq:
        index.freq = _read_freq(item, read)
    return index


def _write_levels(index: pd.MultiIndex, keep: Keep) -> list[Any]:
    """Return the levels and codes, unless they are as pandas makes them from the values: sorted, in use, without a frequency."""
    if all(
        getattr(level, "freq", None) is None
        and level.is_monotonic_increasing
        and np.bincount(codes + 1, minlength=len(level) + 1)[1:].all()
        for level, codes in zip(index.levels, index.codes, strict=True)
    ):
        return []
    return [[[keep(level), keep(codes)] for level, codes in zip(index.levels, index.codes, strict=True)]]


def _read_multi(data: list[Any], read: Read) -> pd.MultiIndex:
    values, names, *rest = data
    names = [read(name) for name in names]
    for levels in rest:
        return pd.MultiIndex(
            levels=[read(level) for level, _ in levels], codes=[read(codes) for _, codes in levels], names=names
        )
    return pd.MultiIndex.from_arrays([read(level) for level in values], names=names)


def _write_freq(index: pd.Index, keep: Keep) -> list[Any]:
    """Return the frequency of an index of times or spans. Periods have theirs in the dtype."""
    freq = None if isinstance(index, pd.PeriodIndex) else getattr(index, "freq", None)
    if freq is None:
        return []
    if type(freq) is pd.DateOffset:
        written = ["offset", freq.n, freq.normalize, keep(freq.kwds)]
    elif type(freq) is pd.offsets.CustomBusinessDay:
        written = ["business days", freq.n, freq.normalize, freq.weekmask, [str(day) for day in freq.holidays]]
    else:
        written = ["alias", freq.freqstr]
    if _read_freq(written, lambda _: freq.kwds) != freq:
        raise ValueError(f"the frequency {freq!r} of its index is not supported; drop it with index.freq = None.")
    return [written]


def _read_freq(data: list[Any], read: Read) -> Any:
    match data:
        case ["offset", n, normalize, kwds]:
            return pd.DateOffset(n, normalize, **read(kwds))
        case ["business days", n, normalize, weekmask, holidays]:
            return pd.offsets.CustomBusinessDay(n, normalize, weekmask, holidays)
        case _:
            return to_offset(data[1])


def _write_values(column: pd.Series | pd.Index, keep: Keep) -> list[Any]:
    """Return the values of a column or an index as a tree, by dtype."""
    dtype, values = column.dtype, column.array
    match dtype:
        case np.dtype() if dtype.kind == "O":
            return ["object", keep(list(values))]
        case np.dtype():
            return ["array", keep(column.to_numpy())]
        case pd.CategoricalDtype():
            return ["categorical", keep(np.asarray(values.codes)), keep(dtype.categories), bool(dtype.ordered)]
        case pd.DatetimeTZDtype():
            return ["ordinals", keep(values.asi8), f"datetime64[{dtype.unit}, {_zone_name(dtype.tz)}]"]
        case pd.PeriodDtype() if pd.api.types.pandas_dtype(str(dtype)) == dtype:
            return ["ordinals", keep(values.asi8), str(dtype)]
        case pd.SparseDtype() if hasattr(pd.arrays.SparseArray, "from_indices"):  # from pandas 3.1 on
            places = values.sp_index.indices
            return ["sparse", keep(values.sp_values), keep(places), len(values), keep(values.fill_value), values.kind]
        case pd.IntervalDtype():
            return ["intervals", keep(values.left), keep(values.right), dtype.closed]
        case pd.StringDtype():
            text = [None if missing else item for item, missing in zip(values, values.isna(), strict=True)]
            return ["text", text, dtype.storage, dtype.na_value is pd.NA]
        case pd.BooleanDtype() | pd.Float32Dtype() | pd.Float64Dtype():
            return _write_masked(values, keep)
        case _ if pd.api.types.is_integer_dtype(dtype) and str(dtype) in _NULLABLE_INTEGERS:
            return _write_masked(values, keep)
    raise ValueError(
        f"the dtype {dtype} is not supported; convert it, for example with .astype(object) or .astype(str)."
    )


def _write_masked(values: Any, keep: Keep) -> list[Any]:
    filled = values.to_numpy(dtype=values.dtype.numpy_dtype, na_value=0)
    return ["masked", keep(filled), keep(np.asarray(values.isna())), str(values.dtype)]


def _series(data: list[Any], read: Read, index: pd.Index, name: Any = None) -> pd.Series:
    return pd.Series(_read_values(data, read), index=index, name=name, dtype=_explicit_dtype(data))


def _explicit_dtype(data: list[Any]) -> type | None:
    """Return `object` for a column of objects, whose dtype pandas would guess. Other values carry their dtype."""
    return object if data[0] == "object" else None


def _read_values(data: list[Any], read: Read) -> Any:
    kind, first, *rest = data
    match kind:
        case "object":
            items = read(first)
            values = np.empty(len(items), dtype=object)
            for i, item in enumerate(items):  # one by one: NumPy would turn nested lists into dimensions
                values[i] = item
            return values
        case "array":
            return read(first)
        case "categorical":
            return pd.Categorical.from_codes(read(first), categories=read(rest[0]), ordered=rest[1])
        case "ordinals":
            dtype = pd.api.types.pandas_dtype(rest[0])
            if isinstance(dtype, pd.PeriodDtype):
                return pd.arrays.PeriodArray(read(first), dtype=dtype)
            times = pd.DatetimeIndex(read(first).view(f"M8[{dtype.unit}]"))
            return times.tz_localize("UTC").tz_convert(dtype.tz).array
        case "sparse":
            places, length, fill, sort = rest
            return pd.arrays.SparseArray.from_indices(read(first), read(places), length, read(fill), sort)
        case "intervals":
            return pd.arrays.IntervalArray.from_arrays(read(first), read(rest[0]), closed=rest[1])
        case "text":
            missing = pd.NA if rest[1] else np.nan
            return pd.array(first, dtype=pd.StringDtype(rest[0], na_value=missing))
        case "masked":
            values = pd.array(read(first), dtype=rest[1])
            values[read(rest[0])] = pd.NA
            return values
    raise ValueError(f"a column of kind {kind!r} is unknown to this version of the code.")


def _write_period(period: pd.Period, keep: Keep) -> list[Any]:
    written = ["period", period.ordinal, period.freqstr]
    if _read_period(written[1:], keep).freq != period.freq:
        raise ValueError(f"its frequency {period.freq!r} is not supported; convert it with .asfreq(...).")
    return written


def _read_period(data: list[Any], read: Read) -> pd.Period:
    return pd.Period(ordinal=data[0], freq=data[1])


def _zone_name(zone: tzinfo) -> str:
    """Return the name by which pandas finds a time zone. Raises ValueError if it would find another one, or none."""
    try:
        if pd.api.types.pandas_dtype(f"datetime64[ns, {zone}]") == pd.DatetimeTZDtype("ns", zone):
            return str(zone)
    except TypeError:  # no name, but a description
        pass
    raise ValueError(
        f"its time zone {zone!r} is not supported; convert it, for example with tz_convert('Europe/Paris')."
    )


def _read_timestamp(data: list[Any], read: Read) -> pd.Timestamp:
    moment = pd.Timestamp(read(data[0]))
    return moment if data[1] is None else moment.tz_localize("UTC").tz_convert(data[1])


_NULLABLE_INTEGERS = frozenset(f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64))

_HOW_TO_READ: dict[str, Callable[[list[Any], Read], Any]] = {
    "frame": _read_frame,
    "series": _read_series,
    "range": lambda data, read: pd.RangeIndex(*data[:3], name=read(data[3])),
    "multi": _read_multi,
    "index": _read_index,
    "timestamp": _read_timestamp,
    "timedelta": lambda data, read: pd.Timedelta(read(data[0])),
    "period": _read_period,
    "interval": lambda data, read: pd.Interval(read(data[0]), read(data[1]), closed=data[2]),
    "missing": lambda data, read: getattr(pd, data[0]),
}
