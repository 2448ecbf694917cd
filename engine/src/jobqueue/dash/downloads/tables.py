"""DataFrames and Series as CSV, Excel and Parquet.

CSV and Excel files have one row of headers. An index that only counts the rows is left out. No spreadsheet runs their text as a
formula. pandas is imported only for a table, which exists only where it has been imported already.
"""

import csv
import importlib.util
import io
import math
import re
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import chain
from numbers import Number
from typing import IO, Any

from jobqueue.text import storable

Column = Any  # a pandas Series or Index
Frame = Any

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # first characters of text that a spreadsheet may run
EXCEL_ROWS, EXCEL_COLUMNS, EXCEL_CELL = 1_048_576, 16_384, 32_767  # Excel's limits; the last in characters
EXCEL_INT = 10**15  # Excel keeps 15 digits of a number
EXCEL_YEAR = 1901  # Excel counts earlier days wrong, or not at all
SHEET_NAME = 31  # characters


class Unfit(ValueError):
    """A value that a format cannot hold. The message is for users, and says what to do."""


def is_table(value: Any) -> bool:
    """Return whether a value is a DataFrame or a Series."""
    return type(value).__module__.partition(".")[0] == "pandas" and type(value).__name__ in ("DataFrame", "Series")


# --- CSV ---


def write_csv(table: Any, file: IO[bytes], name: str = "") -> None:
    """Write a table as CSV in UTF-8, row by row. Text that a spreadsheet may run as a formula gets an apostrophe in front."""
    frame = _as_frame(table)
    text = io.TextIOWrapper(file, encoding="utf-8", errors="replace", newline="")
    rows = chain([_heads(frame)], _rows(frame, _cells_of_csv))
    csv.writer(text).writerows(map(_in_csv, row) for row in rows)
    text.detach()  # writes the rest, and leaves the file open


def _cells_of_csv(column: Column) -> Iterator[Any]:
    """Yield the values of a column. Times with fractions of a second all have them, so that readers find one form."""
    import pandas as pd

    if column.dtype.kind != "M" or not ((times := pd.DatetimeIndex(column)) != times.floor("s"))[times.notna()].any():
        return _cells(column)
    return (None if value is None else value.isoformat(" ", "nanoseconds") for value in _cells(column))


def _in_csv(cell: Any) -> Any:
    if cell is None or isinstance(cell, Number | timedelta):
        return cell
    text = str(cell)
    return f"'{text}" if _is_formula(text) and not _is_number(text) else text


def _is_formula(text: str) -> bool:
    return text.lstrip(" ").startswith(FORMULA)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


# --- Excel ---


def why_no_excel(table: Any) -> str:
    """Return why Excel cannot hold a table, and what to choose. Return "" if it can."""
    if importlib.util.find_spec("xlsxwriter") is None:
        return "This app cannot make Excel files. Choose CSV, or ask its administrator to install xlsxwriter."
    frame = _as_frame(table)
    rows, heads = len(frame), _heads(frame)
    if rows >= EXCEL_ROWS:
        return f"This table has {rows:,} rows. Excel holds {EXCEL_ROWS - 1:,} below the headers. Choose CSV."
    if len(heads) > EXCEL_COLUMNS:
        return f"This table has {len(heads):,} columns. Excel holds {EXCEL_COLUMNS:,}. Choose CSV."
    levels = [level for level in _levels(frame) if level.dtype.kind == "O"]
    texts = [frame.iloc[:, n] for n, dtype in enumerate(frame.dtypes) if dtype.kind == "O"]
    longest = max([0, *map(len, heads), *map(_longest, [*levels, *texts])])
    if longest > EXCEL_CELL:
        return f"A text in this table has {longest:,} characters. An Excel cell holds {EXCEL_CELL:,}. Choose CSV."
    return ""


def _longest(column: Column) -> int:
    """Return the length of the longest text in a column of objects."""
    return max((len(str(value)) for value in column), default=0)


def write_excel(table: Any, file: IO[bytes], name: str = "") -> None:
    """Write a table as an Excel workbook with one sheet, row by row. Text stays text, whatever it begins with.

    :param name: the sheet's name, as far as Excel allows it.
    """
    import xlsxwriter

    frame = _as_frame(table)
    with xlsxwriter.Workbook(file, {"constant_memory": True}) as book:
        sheet = book.add_worksheet(_sheet_name(name))
        sheet.freeze_panes(1, 0)
        write = _cell_writer(book, sheet)
        for at, row in enumerate(chain([_heads(frame)], _rows(frame))):
            for place, cell in enumerate(row):
                write(at, place, cell)


def _cell_writer(book: Any, sheet: Any) -> Callable[[int, int, Any], object]:
    """Return a function that writes the cell in a row and a column, both counted from 0."""
    forms = {"day": "yyyy-mm-dd", "moment": "yyyy-mm-dd hh:mm:ss", "clock": "hh:mm:ss", "span": "[h]:mm:ss"}
    as_ = {name: book.add_format({"num_format": form}) for name, form in forms.items()}
    as_text = book.add_format({"quote_prefix": True})  # stays text when somebody edits the cell

    def write(row: int, column: int, cell: Any) -> object:
        match cell:
            case None:
                return None
            case bool():
                return sheet.write_boolean(row, column, cell)
            case int() | float() | Decimal() if _fits(cell):
                return sheet.write_number(row, column, cell)
            case datetime() if cell.tzinfo is None and cell.year >= EXCEL_YEAR:
                return sheet.write_datetime(row, column, cell, as_["moment"])
            case date() if not isinstance(cell, datetime) and cell.year >= EXCEL_YEAR:
                return sheet.write_datetime(row, column, cell, as_["day"])
            case time() if cell.tzinfo is None:
                return sheet.write_datetime(row, column, cell, as_["clock"])
            case timedelta() if cell >= timedelta(0):
                return sheet.write_datetime(row, column, cell, as_["span"])
        if hasattr(cell, "item"):  # a NumPy scalar
            return write(row, column, cell.item())
        text = storable(str(cell))
        return sheet.write_string(row, column, text, as_text if _is_formula(text) else None)

    return write


def _fits(number: int | float | Decimal) -> bool:
    """Return whether Excel keeps a number."""
    return abs(number) < EXCEL_INT if isinstance(number, int) else math.isfinite(number)


def _sheet_name(name: str) -> str:
    """Return a name that Excel accepts for a sheet."""
    name = re.sub(r"[\[\]:*?/\\\x00-\x1f]", " ", storable(name))[:SHEET_NAME].strip("' ")
    return name if name and name.lower() != "history" else "Result"


# --- Parquet ---


def has_parquet() -> bool:
    """Return whether this environment can write Parquet files."""
    return importlib.util.find_spec("pyarrow") is not None


def write_parquet(table: Any, file: IO[bytes], name: str = "") -> None:
    """Write a table as Parquet, with dtypes and index. Raises Unfit for a table with values that Parquet has no type for."""
    try:
        _as_frame(table).to_parquet(file, engine="pyarrow")
    except (NotImplementedError, OverflowError, TypeError, ValueError) as error:  # pyarrow's errors inherit from these
        reason = ". ".join(str(part).strip(". ") for part in error.args)
        raise Unfit(f"Parquet cannot hold this table. {reason}. Choose CSV or Excel.") from error


# --- rows ---


def _as_frame(table: Any) -> Frame:
    return (
        table.to_frame(table.name if table.name is not None else "Value") if type(table).__name__ == "Series" else table
    )


def only_counts(index: Column) -> bool:
    """Return whether an index has no name and only counts the rows."""
    import pandas as pd

    return index.nlevels == 1 and index.name is None and bool(index.equals(pd.RangeIndex(len(index))))


def _levels(frame: Frame) -> list[Column]:
    return [] if only_counts(frame.index) else [frame.index.get_level_values(n) for n in range(frame.index.nlevels)]


def _columns(frame: Frame) -> list[Column]:
    return [*_levels(frame), *(frame.iloc[:, n] for n in range(frame.shape[1]))]


def _heads(frame: Frame) -> list[str]:
    """Return the headers: the names of the index, then those of the columns."""
    return [*("" if level.name is None else head(level.name) for level in _levels(frame)), *map(head, frame.columns)]


def head(name: Any) -> str:
    """Return a column's name as text. The levels of a name are joined: "sales · net"."""
    return " · ".join(map(str, name)) if isinstance(name, tuple) else str(name)


def _cells(column: Column) -> Iterator[Any]:
    """Yield the values of a column. A column of days yields dates."""
    import numpy as np
    import pandas as pd

    missing = pd.isna(column)
    if isinstance(column.dtype, np.dtype) and column.dtype.kind == "M":
        days = pd.DatetimeIndex(column)
        if (missing | (days == days.normalize())).all():
            return (None if value is pd.NaT else value.date() for value in days)
    return (None if unknown else value for value, unknown in zip(column, missing, strict=True))


def _rows(frame: Frame, cells: Callable[[Column], Iterator[Any]] = _cells) -> Iterator[tuple[Any, ...]]:
    """Yield the cells of each row as Python objects, with the labels of the index first. None is a missing value."""
    return zip(*map(cells, _columns(frame)), strict=True)
