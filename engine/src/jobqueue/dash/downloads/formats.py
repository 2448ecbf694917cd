"""The files that a result can become: its parts, and the formats of each."""

import itertools
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import IO, Any

from jobqueue.dash.downloads import tables
from jobqueue.dash.downloads.json_values import write_json
from jobqueue.files import File
from jobqueue.reports.report import Report
from jobqueue.text import TITLE, said

MOST_PARTS = 20  # of a result that are offered one by one


@dataclass(frozen=True)
class Format:
    """A kind of file.

    :param ending: of the file's name, and the format's name in addresses.
    :param label: the format's name in the menu.
    :param write: writes a value to a binary file. The third argument is the name of the part.
    :param why_not: returns why a value cannot have this format and what to choose, or "".
    """

    ending: str
    label: str
    mimetype: str
    write: Callable[[Any, IO[bytes], str], None]
    why_not: Callable[[Any], str] = lambda value: ""


@dataclass(frozen=True)
class Part:
    """A result, or a named part of one. The name of a whole result is ""."""

    name: str
    value: Any
    formats: tuple[Format, ...]


def parts_of(result: Any) -> list[Part]:
    """Return what a result offers as files: its tables and charts one by one, then all of it.

    Parts are the values of a dict, and the items or fields of a tuple, list or dataclass. Theirs are not looked at.
    """
    whole = Part("", result, formats_of(result))
    if whole.formats != JSON:
        return [whole] if whole.formats else []
    named = (Part(name, value, formats_of(value)) for name, value in _items(result))
    return [*itertools.islice((part for part in named if part.formats not in ((), JSON, TEXT)), MOST_PARTS), whole]


def formats_of(value: Any) -> tuple[Format, ...]:
    """Return the formats of a value, without those that this environment cannot write. A report has files of its own."""
    if value is None or isinstance(value, Report):
        return ()
    formats = next((formats for is_one, formats in KINDS if is_one(value)), JSON)
    return tuple(one for one in formats if one.ending != "parquet" or tables.has_parquet())


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield from ((said(key, TITLE), item) for key, item in value.items())
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        yield from zip(value._fields, value, strict=True)
    elif isinstance(value, list | tuple):
        yield from ((str(number), item) for number, item in enumerate(value, 1))
    elif is_dataclass(value):
        yield from ((field.name, getattr(value, field.name)) for field in fields(value))


# --- charts ---


def is_figure(value: Any) -> bool:
    """Return whether a value is a Plotly figure, or a dict that dcc.Graph shows as one."""
    if type(value) is dict:
        data, layout = value.get("data"), value.get("layout")
        known = value.keys() <= {"data", "layout", "frames"}
        return known and isinstance(data, list) and isinstance(layout, dict) and all(type(one) is dict for one in data)
    return type(value).__module__.partition(".")[0] == "plotly" and type(value).__name__ == "Figure"


def _write_page(figure: Any, file: IO[bytes], name: str) -> None:
    """Write a chart as a page that works offline. It brings 5 MB of plotly.js with it."""
    from plotly.io import to_html

    page = to_html(figure, include_plotlyjs=True, validate=False)
    file.write(page.encode("utf-8", "replace"))


def _write_figure(figure: Any, file: IO[bytes], name: str) -> None:
    """Write a chart's JSON, of which the browser draws a picture."""
    from plotly.io import to_json

    file.write(to_json(figure, validate=False).encode("utf-8", "replace"))


# --- kinds ---


def _write_text(text: str, file: IO[bytes], name: str) -> None:
    file.write(text.encode("utf-8", "replace"))


def _write_bytes(content: bytes, file: IO[bytes], name: str) -> None:
    file.write(content)


def _write_file(stored: File, file: IO[bytes], name: str) -> None:
    with stored.open() as content:
        shutil.copyfileobj(content, file)


PICTURE = "png"  # a format that the browser makes
TABLE = (
    Format("csv", "CSV", "text/csv; charset=utf-8", tables.write_csv),
    Format(
        "xlsx",
        "Excel",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        tables.write_excel,
        tables.why_no_excel,
    ),
    Format("parquet", "Parquet", "application/vnd.apache.parquet", tables.write_parquet),
)
CHART = (
    Format("html", "HTML", "text/html; charset=utf-8", _write_page),
    Format(PICTURE, "PNG", "application/json", _write_figure),
)
TEXT = (Format("txt", "Text", "text/plain; charset=utf-8", _write_text),)
BYTES = (Format("bin", "File", "application/octet-stream", _write_bytes),)
FILE = (Format("file", "File", "application/octet-stream", _write_file),)
JSON = (Format("json", "JSON", "application/json", write_json),)

# The first that a value is. Anything else is JSON.
KINDS: list[tuple[Callable[[Any], bool], tuple[Format, ...]]] = [
    (tables.is_table, TABLE),
    (is_figure, CHART),
    (lambda value: type(value) is str, TEXT),
    (lambda value: type(value) is bytes, BYTES),
    (lambda value: type(value) is File, FILE),
]
