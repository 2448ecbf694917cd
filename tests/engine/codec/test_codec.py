"""The codec decodes every supported value unchanged, and refuses every other one with an error that helps."""

import contextlib
import dataclasses
import enum
import io
import json
import math
import sys
import uuid
from collections import Counter, OrderedDict, defaultdict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from importlib import resources
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import dateutil.tz  # type: ignore[import-untyped]
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from pandas.tseries.holiday import USFederalHolidayCalendar

from jobqueue import ResultNotEncodable
from jobqueue.codec.values import LENGTH, TREE, decode, encode

PARIS = ZoneInfo("Europe/Paris")
NAMELESS = ZoneInfo.from_file(io.BytesIO((resources.files("tzdata.zoneinfo.Europe") / "Paris").read_bytes()))

# --- trees of plain values ---

PLAIN = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.complex_numbers()
    | st.decimals()
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.datetimes(timezones=st.none() | st.timezones() | st.just(UTC))
)
KEYS = (
    st.text() | st.integers() | st.dates() | st.tuples(st.integers(), st.text()) | st.sampled_from(["$tuple", "$", ""])
)
TREES = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.sets(st.integers() | st.text() | st.tuples(st.integers(), st.binary()), max_size=4)
        | st.frozensets(st.integers() | st.dates(), max_size=4)
    ),
    max_leaves=12,
)


# --- values of classes ---


class Colour(enum.IntEnum):
    RED = 1
    ROUGE = 1
    BLUE = 2


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Side(enum.Enum):
    BUY = {"sign": 1}


Point = namedtuple("Point", "x y", defaults=[0])


class Line(NamedTuple):
    start: Point
    end: Any


class Labelled(namedtuple("Labelled", "x")):  # without slots: it may have attributes
    pass


@dataclass
class Fit:
    weights: Any
    side: Any = Side.BUY
    notes: list[Any] = field(default_factory=list, compare=False)
    runs: int = field(default=0, init=False, repr=False)

    class Kind(enum.StrEnum):
        LIMIT = "limit"

    def __post_init__(self) -> None:
        assert not Fit.reading, "a read calls no code of the class"

    reading = False


@dataclass(frozen=True, slots=True)
class Trade:
    fit: Any
    at: Any


@dataclass
class Basket(dict):  # type: ignore[type-arg]
    name: str


@dataclass
class Deleter:
    path: str

    def __del__(self) -> None:
        pass


@dataclass
class Masked:
    """A dataclass whose field hides behind a property."""

    rate: Any

    @property
    def _rate(self) -> Any:
        return self.rate


class Text(str):
    pass


NAMED = st.sampled_from([*Colour, *Access, *Side, *Fit.Kind, Access.READ | Access.WRITE, Access(0), Text("x")])
TEXT = st.text(st.characters() | st.characters(categories=["Cs"]), max_size=6)
FREQ = st.sampled_from(["D", "3D", "W-TUE", "M", "Q-JAN", "2Q-DEC", "Y", "h", "90min", "s", "ns"])
PERIODS = st.builds(
    lambda at, freq: pd.Period(at, freq), st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)), FREQ
)
CLOSED = st.sampled_from(["left", "right", "both", "neither"])
INTERVALS = st.one_of(
    *(
        st.builds(lambda ends, closed: pd.Interval(*sorted(ends), closed), st.tuples(end, end), CLOSED)
        for end in (st.floats(allow_nan=False), st.integers(-99, 99), st.datetimes().map(pd.Timestamp))
    )
)
SPARSE = st.builds(
    lambda values, kind, fill: pd.Series(pd.arrays.SparseArray(values, kind=kind, fill_value=fill)),
    st.lists(st.sampled_from([0.0, 1.5, math.nan]), max_size=5),
    st.sampled_from(["integer", "block"]),
    st.sampled_from([0.0, math.nan]),
)
ARRAYS = npst.arrays(npst.array_dtypes() | npst.scalar_dtypes(), npst.array_shapes(min_dims=0, min_side=0, max_side=3))
ODD = (
    NAMED
    | TEXT
    | st.uuids()
    | st.builds(uuid.uuid1)
    | TEXT.map(PurePosixPath)
    | TEXT.map(PureWindowsPath)
    | TEXT.map(Path)
    | st.builds(range, st.integers(), st.integers(), st.integers().filter(bool))
    | PERIODS
    | INTERVALS
    | SPARSE
    | ARRAYS
    | npst.scalar_dtypes().flatmap(npst.from_dtype)
    | st.builds(bytearray, st.binary(max_size=3))
)


def with_note(value: Any) -> Any:
    """Set an attribute that belongs to no field."""
    with contextlib.suppress(AttributeError, TypeError):
        value.note = "mine"
    return value


def structures(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    made = (
        st.builds(Point, inner, inner)
        | st.builds(Line, inner, inner)
        | st.builds(Labelled, inner)
        | st.builds(Fit, inner, inner, st.lists(inner, max_size=2))
        | st.builds(Trade, inner, inner)
        | st.builds(Masked, inner)
        | st.builds(Basket, TEXT)
        | st.dictionaries(TEXT | NAMED, inner, max_size=3).map(OrderedDict)
        | st.dictionaries(TEXT | NAMED, st.integers() | inner, max_size=3).map(Counter)
        | st.dictionaries(st.integers(), inner, max_size=2).map(lambda items: defaultdict(list, items))
    )
    return made | made.map(with_note)


@given(TREES)
@settings(deadline=None, max_examples=300)
def test_every_plain_value_comes_back_equal_and_of_the_same_type(value: Any) -> None:
    assert_same(decode(*encode(value)), value)


@given(
    st.recursive(
        PLAIN | ODD,
        lambda inner: (
            structures(inner)
            | st.lists(inner, max_size=3)
            | st.lists(inner, max_size=3).map(tuple)
            | st.dictionaries(TEXT | NAMED, inner, max_size=3)
        ),
        max_leaves=6,
    )
)
@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_no_value_comes_back_changed_unless_it_is_refused(value: Any) -> None:
    try:
        saved = encode(value)
    except ResultNotEncodable:
        return
    assert_same(decode(*saved), value)


# --- tables ---

MULTI = pd.MultiIndex.from_tuples([("x", 1), ("y", 2)], names=["p", "q"])
DAYS = pd.to_datetime(["2020-01-01", "2021-01-01"])


def with_columns(columns: Any) -> pd.DataFrame:
    return pd.DataFrame([[1, 2]], columns=columns)


def with_index(index: Any) -> pd.DataFrame:
    return pd.DataFrame({"a": [1, 2]}, index=index)


def column(values: Any, dtype: Any = None) -> pd.DataFrame:
    return pd.DataFrame({"a": pd.Series(values, dtype=dtype)})


def with_attributes(value: Any, **attributes: Any) -> Any:
    value.attrs = attributes
    return value


NEW_YORK = pd.offsets.CustomBusinessDay(calendar=USFederalHolidayCalendar(), weekmask="Mon Tue Wed Thu")
PARIS_OF_DATEUTIL = dateutil.tz.gettz("Europe/Paris")

# Common in real work: the codec must support these.
COMMON: dict[str, Any] = {
    "no rows": pd.DataFrame({"a": pd.Series([], dtype="float64"), "b": pd.Series([], dtype="str")}),
    "no columns": pd.DataFrame(index=[1, 2, 3]),
    "nothing": pd.DataFrame(),
    "numbers as columns": with_columns([0, 1]),
    "floats as columns": with_columns([0.5, 0.95]),
    "days as columns": with_columns(DAYS),
    "times with a zone as columns": with_columns(DAYS.tz_localize("Europe/Paris")),
    "two levels of columns": with_columns(pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["x", None])),
    "a name over the columns": pd.DataFrame({"a": [1]}).rename_axis(columns="assets"),
    "two levels of index": with_index(MULTI),
    "two nameless levels": with_index(MULTI.set_names([None, None])),
    "two levels of one name": with_index(MULTI.set_names(["p", "p"])),
    "an index named as a column": with_index(pd.Index([3, 4], name="a")),
    "an index that was filtered": pd.DataFrame({"a": range(6)})[::2],
    "a named range": with_index(pd.RangeIndex(2, 6, 2, name="r")),
    "categories as index": with_index(pd.CategoricalIndex(["x", "y"])),
    "periods as index": with_index(pd.period_range("2020", periods=2, freq="M")),
    "days as index": with_index(DAYS),
    "dates as index": with_index([date(2020, 1, 1), date(2020, 1, 2)]),
    "text": column(["x", None]),
    "text of dtype string": column(["x", None], "string"),
    "whole numbers with a gap": column([1, None], "Int64"),
    "booleans with a gap": column([True, None], "boolean"),
    "floats at their limits": column([np.inf, -np.inf, np.nan, -0.0]),
    "small floats": column([1.5], "float32"),
    "great whole numbers": column([2**64 - 1], "uint64"),
    "ordered categories, one unused": column(pd.Categorical(["x", None], categories=["y", "x"], ordered=True)),
    "whole numbers as categories": column(pd.Categorical([3, 1])),
    "times with a zone": column(pd.to_datetime(["2020", None]).tz_localize("America/New_York")),
    "times with an offset": column(DAYS.tz_localize(timezone(timedelta(hours=2)))),
    "a period": pd.Period("2026Q1"),
    "an interval": pd.Interval(0.5, 1, closed="left"),
    "sparse numbers": column(pd.arrays.SparseArray([0, 0, 7])),
    "a path": Path("data/prices.csv"),
    "a member of an enum": {"side": Side.BUY, Colour.RED: 1},
    "a dataclass with a frame": Fit(column([1.5]), Side.BUY, [Point(1, 2)]),
    "counts": Counter("abca"),
    "no times at all": column([pd.NaT, pd.NaT]),
    "times in seconds": column(["2020"], "datetime64[s]"),
    "spans": column(pd.to_timedelta([None, "1s"])),
    "periods": column(pd.period_range("2020", periods=2, freq="Q")),
    "intervals": column(pd.interval_range(0, 2)),
    "dates": column([date(2020, 1, 1), None]),
    "decimals": column([Decimal("1.00"), Decimal("2.50")]),
    "bytes": column([b"x", b"y"]),
    "a series": pd.Series([1.5, 2.5], index=DAYS, name="AAPL"),
    "a series without a name": pd.Series([1, 2]),
    "a series named by a tuple": pd.Series([1], name=("a", 1)),
    "a series named by a day": pd.Series([1], name=pd.Timestamp("2020")),
    "a series over an index called values": pd.Series([1, 2], index=pd.Index([1, 2], name="values")),
    "a range": pd.RangeIndex(5),
    "an index": pd.Index(["a", "b"], name="x"),
    "days with a zone": DAYS.tz_localize("UTC"),
    "levels": MULTI,
    "an empty index": pd.Index([]),
    "an array": np.arange(6.0).reshape(2, 3),
    "a column-major array": np.asfortranarray(np.ones((2, 3))),
    "a number alone in an array": np.array(3),
    "a big-endian array": np.array([1], dtype=">i4"),
    "an array of text": np.array(["a", "bc"]),
    "an array of records": np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
    "an array of times": np.array(["2020", "NaT"], dtype="datetime64[D]"),
    "NumPy scalars": [np.bool_(1), np.float32(1.5), np.int8(3), np.datetime64("NaT"), np.str_("x"), np.complex64(1j)],
    "a pandas time to the nanosecond": pd.Timestamp("2020-01-01 00:00:00.123456789"),
    "a pandas time with a zone": pd.Timestamp(datetime(2020, 10, 25, 2, 30, fold=1, tzinfo=PARIS)),
    "pandas spans": [pd.Timedelta(-1, "ns"), pd.Timedelta("3 days 4h 5ns"), pd.Timedelta(5, "s"), pd.Timedelta.max],
    "missing values": [pd.NaT, pd.NA, None, math.nan],
    "a time that comes twice": datetime(2020, 10, 25, 2, 30, fold=1, tzinfo=PARIS),
    "text that is not valid": "\ud800\0",
    "a number of 5,000 digits": [10**5000, -(10**5000)],
    "days of a frequency as index": with_index(pd.date_range("2020", periods=2, freq="D")),
    "days of a frequency as columns": with_columns(pd.date_range("2020", periods=2, freq="ME")),
    "business days with a zone": pd.date_range("2020", periods=3, freq="B", tz="Europe/Paris"),
    "spans of a frequency": pd.timedelta_range("1h", periods=3, freq="90min"),
    "no days of a frequency": pd.date_range("2020", periods=0, freq="W-TUE"),
    "days of a calendar": pd.date_range("2020", periods=9, freq=NEW_YORK),
    "days of an offset": pd.date_range("2020", periods=3, freq=pd.DateOffset(months=1, days=2)),
    "attributes": with_attributes(column([1.5]), source="ECB", fetched=date(2020, 1, 1), lags=(1, 2)),
    "attributes of a series": with_attributes(pd.Series([1], name="a"), unit="EUR"),
    "labels that may not repeat": column([1]).set_flags(allows_duplicate_labels=False),
    "labels of a series that may not repeat": pd.Series([1]).set_flags(allows_duplicate_labels=False),
    "attributes, and labels that may not repeat": with_attributes(
        column([1]).set_flags(allows_duplicate_labels=False), unit="EUR"
    ),
    "levels in another order": pd.concat([column([1]), column([2])], keys=["b", "a"]),
    "levels with a frequency": with_index(pd.MultiIndex.from_product([pd.date_range("2020", periods=2), ["x"]])),
    "levels with a gap": with_index(pd.MultiIndex.from_arrays([["b", None], [1, 2]])),
    "a frame deep in a tree": {"by year": [({2020: column([1.5])}, np.arange(2)), b""], ("a", 1): pd.Series([1])},
}

# Unusual, and easy to get wrong: the codec may refuse these, but must never change them.
UNUSUAL: dict[str, Any] = {
    "two kinds of columns": with_columns([1, "a"]),
    "tuples as columns": with_columns(pd.Index([("a", 1), ("b", 2)], tupleize_cols=False)),
    "booleans as columns": with_columns([True, False]),
    "dates as columns": with_columns([date(2020, 1, 1), date(2020, 1, 2)]),
    "periods as columns": with_columns(pd.period_range("2020", periods=2, freq="Y")),
    "intervals as columns": with_columns(pd.interval_range(0, 2)),
    "categories as columns": with_columns(pd.CategoricalIndex(["b", "a"])),
    "spans as columns": with_columns(pd.to_timedelta([1, 2], unit="s")),
    "bytes as columns": with_columns([b"a", b"b"]),
    "a gap among the columns": with_columns([np.nan, 1.0]),
    "no name for a column": with_columns([None, "a"]),
    "an index named by a number": with_index(pd.Index([3, 4], name=0)),
    "an index named by a tuple": with_index(pd.Index([3, 4], name=("x", 1))),
    "an index alone, named by a number": pd.Index([3, 4], name=0),
    "numbers as objects in the index": with_index(pd.Index([1, 2], dtype=object)),
    "two kinds in the index": with_index(pd.Index([1, "a"], dtype=object)),
    "levels of categories and days": with_index(pd.MultiIndex.from_arrays([pd.Categorical(["x", "y"]), DAYS])),
    "levels that hold no more": pd.DataFrame({"a": [1, 2]}, index=MULTI).loc[["x"]],
    "whole numbers as objects": column([1, 2], object),
    "a gap among whole numbers as objects": column([1, None], object),
    "floats as objects": column([1.5, 2], object),
    "text as objects": column(["x", "y"], object),
    "text as objects, with a gap": column(["x", np.nan], object),
    "booleans as objects, with a gap": column([True, None], object),
    "nothing as objects": column([None, None], object),
    "times as objects": column([datetime(2020, 1, 1)], object),
    "two kinds of objects": column([1, "b"], object),
    "dicts": column([{"x": 1}, {"y": 2}]),
    "lists": column([[1], [2, 3]]),
    "tuples": column([(1,), (2, 3)]),
    "sets": column([{1}, {2}]),
    "arrays": column([np.arange(2), np.arange(3)]),
    "text kept by Python": column(["x", None], "string[python]"),
    "categories from a cut": column(pd.cut([1, 2, 3], 2)),
    "times with a zone as categories": column(pd.Categorical(DAYS.tz_localize("UTC"))),
    "dates as categories": column(pd.Categorical([date(2020, 1, 1)])),
    "two kinds of categories": column(pd.Categorical([1, "a"])),
    "the shortest span": pd.Timedelta.min,
    "a time of day with a zone": time(12, tzinfo=PARIS),
    "a time of day that comes twice": time(1, fold=1),
    "hours of business days": pd.date_range("2020", periods=3, freq=pd.offsets.CustomBusinessHour(start="10:00")),
    "a frequency to midnight": pd.date_range("2020", periods=3, freq=pd.offsets.MonthEnd(normalize=True)),
    "levels that are not sorted": with_index(MULTI.set_levels(["b", "a"], level=0)),
    "a fixed offset with a name": datetime(2020, 1, 1, tzinfo=timezone(timedelta(hours=1), "CET")),
    "a time with a fixed offset with a name": time(1, tzinfo=timezone(timedelta(hours=1), "CET")),
    "a column with a fixed offset with a name": column(DAYS.tz_localize(timezone(timedelta(hours=1), "CET"))),
    "columns of one name": with_columns(["a", "a"]),
    "complex numbers in a frame": column([1j]),
    "a column called as Arrow calls an index": pd.DataFrame({"__index_level_0__": [1]}, index=["x"]),
}


@pytest.mark.parametrize("name", COMMON)
def test_common_values_are_decoded_unchanged(name: str) -> None:
    assert_same(decode(*encode(COMMON[name])), COMMON[name])


@pytest.mark.parametrize("name", UNUSUAL)
@pytest.mark.filterwarnings("default:The DataFrame has:UserWarning")  # a warning is not a refusal
def test_an_unusual_value_is_decoded_unchanged_or_refused(name: str) -> None:
    try:
        saved = encode(UNUSUAL[name])
    except ResultNotEncodable:
        return
    assert_same(decode(*saved), UNUSUAL[name])


CELLS: dict[str, st.SearchStrategy[Any]] = {
    "int64": st.integers(-(2**63), 2**63 - 1),
    "float64": st.floats(),
    "bool": st.booleans(),
    "str": st.text(st.characters(codec="utf-8")) | st.none(),
    "Int8": st.integers(-128, 127) | st.none(),
    "boolean": st.booleans() | st.none(),
    "category": st.sampled_from(["a", "b", None]),
    "datetime64[ns]": st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1)) | st.none(),
    "datetime64[us, Europe/Paris]": st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),
    "timedelta64[ns]": st.timedeltas(timedelta(days=-9999), timedelta(days=9999)) | st.none(),
}


FREQUENCIES = [
    "D",
    "3D",
    "B",
    "W-TUE",
    "ME",
    "MS",
    "BQE-JAN",
    "h",
    "90min",
    "WOM-2TUE",
    pd.DateOffset(months=1),
    NEW_YORK,
]


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    """Draw a frame with columns, an index and metadata of common kinds."""
    rows = draw(st.integers(0, 4))

    def series(dtype: str) -> pd.Series:
        return pd.Series(draw(st.lists(CELLS[dtype], min_size=rows, max_size=rows)), dtype=dtype)

    labels = draw(
        st.lists(st.text(st.characters(codec="utf-8")), unique=True, max_size=4)
        | st.lists(st.integers(-99, 99), unique=True, max_size=4)
    )
    frame = pd.DataFrame({label: series(draw(st.sampled_from(sorted(CELLS)))) for label in labels})
    levels = draw(st.lists(st.sampled_from(["int64", "str", "category", "datetime64[ns]"]), max_size=2))
    if levels and rows:
        frame = frame.reindex(range(rows))
        index = [series(dtype) for dtype in levels]
        frame.index = pd.MultiIndex.from_arrays(index) if len(index) > 1 else pd.Index(index[0])
    elif draw(st.booleans()):
        first, freq = draw(st.dates(date(1980, 1, 1), date(2100, 1, 1))), draw(st.sampled_from(FREQUENCIES))
        zone = draw(st.sampled_from([None, "UTC", "Europe/Paris", "America/St_Johns"]))
        frame = frame.set_axis(pd.date_range(first, periods=len(frame), freq=freq, tz=zone), axis=0)
    frame.attrs = draw(st.dictionaries(st.text(max_size=3), st.integers() | st.text(), max_size=2))
    if not frame.index.has_duplicates:
        frame.flags.allows_duplicate_labels = draw(st.booleans())
    return frame


@given(frames())
@settings(deadline=None, max_examples=150)
def test_every_frame_of_common_types_comes_back_equal(frame: pd.DataFrame) -> None:
    assert_same(decode(*encode(frame)), frame)


def test_a_figure_is_decoded_as_a_figure_that_draws_the_same() -> None:
    figure = go.Figure(go.Scatter(x=DAYS, y=np.array([1.0, 2.0]), name="équité"), layout={"title": {"text": "$x$"}})
    again = decode(*encode({"figure": figure}))["figure"]
    assert type(again) is go.Figure
    assert again.to_plotly_json()["layout"] == figure.to_plotly_json()["layout"]
    assert decode(*encode(again)).to_json() == again.to_json()


# --- refusals ---


class Lazy:
    """An object that runs code when an attribute is asked for, as Flask's `request` does."""

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError("a read asks objects for nothing")


LAZY = Lazy()


class Model:
    """A stand-in for an arbitrary object, such as a fitted model or a connection."""


def local_class() -> Any:
    @dataclass
    class Local:
        x: int

    return Local(1)


LOOP: list[Any] = []
LOOP.append(LOOP)

REFUSED: dict[str, tuple[Any, list[str]]] = {
    "a model": (Model(), ["result", "test_codec.Model", "parameters as a dict"]),
    "a model in a tree": ({"fits": [1, (Model(),)]}, ["result['fits'][1][0]", "test_codec.Model"]),
    "a model as a key": ({Model(): 1}, ["a key of result", "test_codec.Model"]),
    "two flags in one": (Access.READ | Access.WRITE, ["test_codec.Access", "combination of flags", ".value"]),
    "a class of a function": ([local_class()], ["result[0]", "Local", "Define it in a module"]),
    "a model in a dataclass": ([Fit(1, Model())], ["result[0].side", "test_codec.Model"]),
    "a model in a named tuple": (Point(1, Model()), ["result.y", "test_codec.Model"]),
    "a dataclass that is a dict too": (Basket("x"), ["test_codec.Basket", "as a dict"]),
    "a dataclass with an attribute of its own": (with_note(Fit(1)), ["note", "not its fields"]),
    "a dataclass that runs code when it goes": (Deleter("x"), ["test_codec.Deleter"]),
    "a named tuple with an attribute": (with_note(Labelled(1)), ["attributes beside its content"]),
    "a dict with a default": (defaultdict(list), ["collections.defaultdict"]),
    "text with the halves of a character": ("\ud83d\ude00", ["halves of a character", "surrogatepass"]),
    "a bytearray": (bytearray(b"x"), ["builtins.bytearray"]),
    "a generator": ((letter for letter in "a"), ["generator"]),
    "a function": (len, ["builtin_function_or_method"]),
    "an exception": (ValueError("x"), ["builtins.ValueError"]),
    "an array of objects": (np.array([None, "x"]), ["numpy.ndarray", "Python objects", "convert it"]),
    "a masked array": (np.ma.array([1]), ["MaskedArray"]),
    "models in a frame": ({"x": column([Model()])}, ["result['x']", "test_codec.Model"]),
    "a model in attributes": (with_attributes(column([1]), fit=Model()), ["result.attrs['fit']", "test_codec.Model"]),
    "a time zone of dateutil": (datetime(2020, 7, 1, tzinfo=PARIS_OF_DATEUTIL), ["Europe/Paris", "IANA time zone"]),
    "a time of day of dateutil": (time(1, tzinfo=dateutil.tz.UTC), ["tzutc()", "IANA time zone"]),
    "a pandas time of dateutil": (
        pd.Timestamp("2020-07-01", tz=PARIS_OF_DATEUTIL),
        ["Europe/Paris", "time zone", "tz_convert('Europe/Paris')"],
    ),
    "a column of dateutil": (
        {"x": column(DAYS.tz_localize(PARIS_OF_DATEUTIL))},
        ["result['x']", "time zone", "tz_convert('Europe/Paris')"],
    ),
    "an index of dateutil": (DAYS.tz_localize(dateutil.tz.UTC), ["time zone", "tzutc()", "tz_convert('Europe/Paris')"]),
    "a zone without a name": (datetime(2020, 1, 1, tzinfo=NAMELESS), ["time zone", "IANA"]),
    "a frequency of no name": (
        pd.date_range("2020", periods=3, freq=pd.offsets.MonthEnd(normalize=True)),
        ["frequency", "index.freq = None"],
    ),
    "an array with metadata": (np.ones(1, np.dtype("f8", metadata={"unit": "EUR"})), ["metadata", "beside it"]),
    "a list in itself": (LOOP, ["contains itself"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_unsupported_value_is_refused_with_its_type_place_and_remedy(name: str) -> None:
    value, words = REFUSED[name]
    with pytest.raises(ResultNotEncodable) as refusal:
        encode(value)
    for word in words:
        assert word in str(refusal.value)


@pytest.mark.parametrize("depth", [50, 100, 200, 400, 100_000])
def test_a_value_nested_too_deeply_to_decode_is_refused(depth: int) -> None:
    value: Any = 1
    for _ in range(depth):
        value = [value]

    def decode_deep(frames: int) -> Any:
        """Decode below this number of frames, as in a web server."""
        return decode(*saved) if frames == 0 else decode_deep(frames - 1)

    try:
        saved = encode(value)
    except ResultNotEncodable as refusal:
        assert depth > 50
        assert "nested deeper than" in str(refusal)
        return
    assert decode_deep(300) == value


def test_reading_an_object_calls_nothing_of_its_class(monkeypatch: pytest.MonkeyPatch) -> None:
    saved = encode([Fit(np.arange(3), Fit.Kind.LIMIT), Trade(Fit(1), Colour.ROUGE)])
    monkeypatch.setattr(Fit, "reading", True)
    fit, trade = decode(*saved)
    assert (fit.side, fit.runs, trade.fit.weights, trade.at) == (Fit.Kind.LIMIT, 0, 1, Colour.RED)


def stored(tag: str, name: str, content: Any) -> tuple[str, bytes]:
    """Return a value as somebody who can write to the database may forge it."""
    tree = json.dumps({f"${tag}": [name, content]}).encode()
    return TREE, LENGTH.pack(len(tree)) + tree


@pytest.mark.parametrize(
    ("tag", "name", "content"),
    [
        ("dataclass", "this:Zen", {}),  # a module that prints when it is imported
        ("namedtuple", "antigravity:fly", []),
        ("enum", "xml.dom.pulldom:START", "x"),
        ("dataclass", "subprocess:Popen", {"args": "true"}),
        ("dataclass", "os:system", {"command": "true"}),
        ("dataclass", f"{__name__}:Deleter", {"path": "/"}),
        ("dataclass", f"{__name__}:LAZY.Zen", {}),
        ("enum", f"{__name__}:Fit", "x"),
        ("enum", f"{__name__}:Colour", "mro"),
        ("namedtuple", "builtins:tuple", [1]),
        ("namedtuple", f"{__name__}:Point", [1]),
        ("dataclass", f"{__name__}:Fit", {"weights": 1}),
        ("dataclass", f"{__name__}:Trade", {"fit": 1, "at": 1, "__class__": 1}),
    ],
)
def test_a_forged_name_imports_nothing_and_makes_no_other_object(tag: str, name: str, content: Any) -> None:
    before = set(sys.modules)
    with pytest.raises(ValueError, match=r"Import .*, which defines it|another version of"):
        decode(*stored(tag, name, content))
    assert set(sys.modules) == before


def test_an_object_of_a_class_that_is_not_imported_is_refused_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    saved = encode({"fit": Fit(1)})
    monkeypatch.delitem(sys.modules, __name__)
    with pytest.raises(ValueError, match=f"The value is a Fit. Import {__name__}, which defines it, in the process"):
        decode(*saved)


def test_truncated_bytes_and_unknown_media_types_are_not_decoded() -> None:
    media_type, body = encode([b"abc", np.arange(3)])
    with pytest.raises(ValueError, match="truncated"):
        decode(media_type, body[:-1])
    with pytest.raises(ValueError, match="'image/png' is unknown"):
        decode("image/png", body)
    assert media_type == TREE


# --- equality of value, type and every visible detail ---


def assert_same(again: Any, value: Any) -> None:
    assert type(again) is type(value)
    check: Callable[[Any, Any], None] | None = {
        pd.DataFrame: assert_same_frame,
        pd.Series: lambda a, b: assert_same_frame(a.to_frame("x"), b.to_frame("x")),
        np.ndarray: assert_same_array,
    }.get(type(value))
    if check is not None:
        check(again, value)
        assert_same(getattr(again, "name", None), getattr(value, "name", None))
        assert_same(getattr(again, "attrs", None), getattr(value, "attrs", None))
        assert getattr(again, "flags", None) == getattr(value, "flags", None) or isinstance(value, np.ndarray)
    elif isinstance(value, pd.Index):
        assert_same_index(again, value)
    elif isinstance(value, enum.Enum):
        assert again is value
    elif dataclasses.is_dataclass(value):
        for name in [each.name for each in dataclasses.fields(value)]:
            assert_same(getattr(again, name), getattr(value, name))
        assert getattr(again, "__dict__", {}).keys() == getattr(value, "__dict__", {}).keys()
    elif isinstance(value, uuid.UUID):
        assert (again, again.is_safe) == (value, value.is_safe)
    elif isinstance(value, pd.Interval):
        assert (again.left, again.right, again.closed) == (value.left, value.right, value.closed)
    elif isinstance(value, list | tuple):
        assert getattr(again, "__dict__", {}) == getattr(value, "__dict__", {})
        assert len(again) == len(value)
        for one, other in zip(again, value, strict=True):
            assert_same(one, other)
    elif isinstance(value, dict):
        assert_same(list(again.items()), list(value.items()))
    elif type(value) is int:  # repr refuses very large ones
        assert again == value
    elif isinstance(value, set | frozenset):
        assert sorted(map(repr, again)) == sorted(map(repr, value))
    elif isinstance(value, datetime) and value.tzinfo is not None:
        assert (again.isoformat(), again.fold) == (value.isoformat(), value.fold)
        assert repr(again.tzinfo) == repr(value.tzinfo)
    else:
        assert repr(again) == repr(value)


def assert_same_frame(again: pd.DataFrame, frame: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(again, frame, check_exact=True)
    assert list(again.dtypes) == list(frame.dtypes)
    assert_same_index(again.columns, frame.columns)
    assert_same_index(again.index, frame.index)
    for i, dtype in enumerate(frame.dtypes):
        if isinstance(dtype, pd.SparseDtype):
            one, other = again.iloc[:, i].array, frame.iloc[:, i].array
            assert type(one.sp_index) is type(other.sp_index) and one.sp_index.equals(other.sp_index)
            assert_same_array(one.sp_values, other.sp_values)
        if dtype.kind == "O":
            assert_same(list(again.iloc[:, i]), list(frame.iloc[:, i]))


def assert_same_index(again: pd.Index, index: pd.Index) -> None:
    pd.testing.assert_index_equal(again, index, exact="equiv", check_exact=True)
    assert getattr(again, "freq", None) == getattr(index, "freq", None)
    if isinstance(index, pd.MultiIndex):
        for one, other in zip(again.levels, index.levels, strict=True):
            assert_same_index(one, other)
    assert_same(list(again.names), list(index.names))
    if index.dtype == object and index.nlevels == 1:
        assert_same(list(again), list(index))


def assert_same_array(again: np.ndarray, array: np.ndarray) -> None:
    assert (again.tobytes(), again.shape) == (array.tobytes(), array.shape)
    assert (again.dtype, again.flags.f_contiguous) == (array.dtype, array.flags.f_contiguous)
