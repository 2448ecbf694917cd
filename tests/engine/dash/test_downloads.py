"""Results as files: each format read back, formulas, limits, names, and who gets a file."""

import enum
import io
import json
import os
import uuid
import zipfile
from collections import namedtuple
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import openpyxl
import pandas as pd
import plotly.graph_objects as go
import pytest
from dash import Dash, html
from dash._callback import GLOBAL_CALLBACK_LIST, GLOBAL_CALLBACK_MAP
from flask.testing import FlaskClient
from werkzeug.http import parse_options_header

from jobqueue import DurableHuey
from jobqueue.dash import Access, panel
from jobqueue.dash.background import MODULE
from jobqueue.dash.downloads import serving, tables
from jobqueue.dash.downloads.formats import MOST_PARTS, formats_of, parts_of
from jobqueue.dash.downloads.json_values import plain
from jobqueue.dash.panel import JobPanel
from jobqueue.reports.report import Report

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
SALES = pd.DataFrame(
    {
        "day": pd.to_datetime(["2024-01-01", None, "2024-01-03"]),
        "at": pd.to_datetime(["2024-01-01 09:30:00", "2024-01-02 00:00:00.25", None], format="ISO8601"),
        "net": [0.1 + 0.2, np.nan, -1e300],
        "n": pd.array([1, None, 2**40], dtype="Int64"),
        "big": [2**60 + 1, -1, 0],
        "paid": [True, False, True],
        "region": ["Zürich", 'say "hi", \n twice', None],
        "kind": pd.Categorical(["a", "b", None]),
    }
)


def made(value: Any, ending: str) -> io.BytesIO:
    """Return the file of a value."""
    (kind,) = (kind for kind in formats_of(value) if kind.ending == ending)
    assert kind.why_not(value) == ""
    file = io.BytesIO()
    kind.write(value, file, "name")
    file.seek(0)
    return file


def offered(value: Any) -> list[tuple[str, list[str]]]:
    return [(part.name, [kind.ending for kind in part.formats if kind.ending != "parquet"]) for part in parts_of(value)]


# --- formats ---


def test_a_frame_comes_back_from_csv() -> None:
    dtypes: Any = {"big": "int64", "n": "Int64", "kind": SALES["kind"].dtype}
    read = pd.read_csv(made(SALES, "csv"), parse_dates=["day", "at"], dtype=dtypes).astype({"at": SALES["at"].dtype})
    pd.testing.assert_frame_equal(read, SALES, check_dtype=False, check_exact=True)


def test_a_frame_comes_back_from_excel() -> None:
    read = pd.read_excel(made(SALES, "xlsx"), dtype={"kind": SALES["kind"].dtype, "n": "Int64"})
    pd.testing.assert_frame_equal(read, SALES, check_dtype=False, rtol=1e-15, atol=0)
    assert openpyxl.load_workbook(made(SALES, "xlsx")).active["E2"].value == str(2**60 + 1)  # a number would be rounded


@pytest.mark.parametrize("ending", ["csv", "xlsx"])
def test_labels_are_columns_and_levels_are_joined(ending: str) -> None:
    index = pd.MultiIndex.from_tuples([("north", 1), ("south", 2)], names=["region", None])
    frame = pd.DataFrame([[1, 2], [3, 4]], index, pd.MultiIndex.from_tuples([("sales", "net"), ("sales", 7)]))
    file = made(frame, ending)
    rows = pd.read_csv(file, header=None) if ending == "csv" else pd.read_excel(file, header=None)
    assert rows.iloc[:, [0, 2, 3]].values.tolist() == [
        ["region", "sales · net", "sales · 7"],
        ["north", *(("1", "2") if ending == "csv" else (1, 2))],
        ["south", *(("3", "4") if ending == "csv" else (3, 4))],
    ]


def test_a_series_and_an_empty_frame_are_tables() -> None:
    assert made(pd.Series([1.5], index=["a"]), "csv").read() == b",Value\r\na,1.5\r\n"
    assert made(pd.DataFrame({"n": []}), "csv").read() == b"n\r\n"
    assert openpyxl.load_workbook(made(pd.DataFrame({"n": []}), "xlsx")).active["A1"].value == "n"


def test_times_that_excel_cannot_hold_are_text() -> None:
    times = [
        datetime(2024, 1, 1, 9, tzinfo=UTC),
        datetime(1815, 6, 18),
        date(1815, 6, 18),
        time(9, 30),
        timedelta(days=-1),
    ]
    sheet = openpyxl.load_workbook(made(pd.DataFrame({"t": pd.Series(times, dtype=object)}), "xlsx")).active
    assert [cell.value for cell in sheet["A"][1:]] == [
        "2024-01-01 09:00:00+00:00", "1815-06-18 00:00:00", "1815-06-18", time(9, 30), "-1 day, 0:00:00"
    ]  # fmt: skip
    zoned = pd.DataFrame({"t": pd.date_range("2024-03-31", periods=2, freq="3h", tz="Europe/Paris")})
    sheet = openpyxl.load_workbook(made(zoned, "xlsx")).active
    assert [cell.value for cell in sheet["A"][1:]] == ["2024-03-31 00:00:00+01:00", "2024-03-31 04:00:00+02:00"]


FORMULAS = ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", '=HYPERLINK("http://x")', "http://x"]
NUMBERS = ["-5", "+3.5e3", "text", ""]


@pytest.mark.parametrize("place", ["cells", "headers", "labels", "names", "levels", "categories"])
def test_text_is_never_run_as_a_formula(place: str) -> None:
    texts = FORMULAS + NUMBERS
    rows = list(range(len(texts)))
    frame = {
        "cells": lambda: pd.DataFrame({"a": texts}),
        "categories": lambda: pd.DataFrame({"a": pd.Categorical(texts)}),
        "headers": lambda: pd.DataFrame([rows], columns=texts),
        "labels": lambda: pd.DataFrame({"a": rows}, index=texts),
        "names": lambda: pd.DataFrame({"a": [1]}, index=pd.Index(["b"], name=texts[0])),
        "levels": lambda: pd.DataFrame({"a": rows}, index=pd.MultiIndex.from_arrays([texts, rows])),
    }[place]()
    cells = {cell for row in pd.read_csv(made(frame, "csv"), header=None, dtype=str).values for cell in row}
    found = {text for text in FORMULAS[:-1] if text in cells}
    assert found == set() and "'=1+1" in cells
    sheet = openpyxl.load_workbook(made(frame, "xlsx")).active
    written = [cell for row in sheet.iter_rows() for cell in row if isinstance(cell.value, str) and cell.value]
    assert {cell.data_type for cell in written} <= {"s", "inlineStr"} and "=1+1" in {cell.value for cell in written}
    assert all(cell.hyperlink is None for cell in written)
    assert all(cell.quotePrefix for cell in written if cell.value == "=1+1")
    if place == "cells":
        assert set(NUMBERS[:3]) <= cells


def test_integers_of_any_size_are_written() -> None:
    frame = pd.DataFrame({"n": [10**400, -(10**15), 10**15 - 1]}, dtype=object)
    assert str(10**400) in made(frame, "csv").read().decode()
    sheet = openpyxl.load_workbook(made(frame, "xlsx")).active
    assert [cell.value for cell in sheet["A"][1:]] == [str(10**400), str(-(10**15)), 10**15 - 1]


def test_negative_numbers_stay_numbers() -> None:
    frame = pd.DataFrame({"f": [-1.5], "i": [-2], "d": [Decimal("-3.5")], "s": pd.array([-4], dtype="Int64")})
    assert made(frame, "csv").read() == b"f,i,d,s\r\n-1.5,-2,-3.5,-4\r\n"
    sheet = openpyxl.load_workbook(made(frame, "xlsx")).active
    assert [cell.value for cell in sheet[2]] == [-1.5, -2, -3.5, -4]


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (pd.DataFrame({"n": np.zeros(1_048_576, "i1")}), "This table has 1,048,576 rows. Excel holds 1,048,575 below"),
        (pd.DataFrame(np.zeros((1, 16_385))), "This table has 16,385 columns. Excel holds 16,384. Choose CSV."),
        (pd.DataFrame(np.zeros((1, 16_384)), index=["a"]), "This table has 16,385 columns."),
        (
            pd.DataFrame({"t": ["x" * 32_768]}),
            "A text in this table has 32,768 characters. An Excel cell holds 32,767.",
        ),
        (pd.DataFrame({"x" * 32_768: [1]}), "A text in this table has 32,768 characters."),
        (pd.DataFrame({"t": pd.Categorical(["x" * 32_768])}), "A text in this table has 32,768 characters."),
        (pd.DataFrame({"t": [1]}, index=["x" * 32_768]), "A text in this table has 32,768 characters."),
        (pd.DataFrame({"t": [["x" * 32_764]]}), "A text in this table has 32,768 characters."),
        (pd.DataFrame({"t": ["x" * 32_767]}), ""),
        (pd.DataFrame(np.zeros((1, 16_384))), ""),
    ],
    ids=range(10),
)
def test_a_table_that_excel_cannot_hold_is_refused_with_a_sentence(frame: pd.DataFrame, words: str) -> None:
    why = tables.why_no_excel(frame)
    assert why.startswith(words) and bool(why) is bool(words)


@pytest.mark.parametrize(
    ("name", "sheet"),
    [("weights", "weights"), ("a/b:c?[d]*\\e", "a b c  d   e"), ("x" * 40, "x" * 31), ("", "Result"), ("History", "Result"), ("'q'", "q")],
)  # fmt: skip
def test_a_sheet_has_the_name_of_its_part_as_far_as_excel_allows_it(name: str, sheet: str) -> None:
    file = io.BytesIO()
    tables.write_excel(SALES, file, name)
    assert openpyxl.load_workbook(file).sheetnames == [sheet]


def test_a_figure_is_a_page_that_works_offline_and_json_for_a_picture() -> None:
    figure = go.Figure(go.Bar(y=[1, 2]), {"title": {"text": "</script>"}})
    for one in (figure, figure.to_dict()):
        page = made(one, "html").read().decode()
        assert "<script src" not in page and "Plotly.newPlot" in page and '</script>"' not in page
        assert go.Figure(json.load(made(one, "png"))).data[0].type == "bar"


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Fit:
    score: float
    table: Any


Pair = namedtuple("Pair", ["left", "right"])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": [1, 2.5, None, True, "ü"]}, {"a": [1, 2.5, None, True, "ü"]}),
        ([float("nan"), float("inf"), -np.inf, np.float64("nan"), pd.NA, pd.NaT], [None, "Infinity", "-Infinity", None, None, None]),
        ([date(2024, 1, 1), datetime(2024, 1, 1, 9, tzinfo=UTC), time(9)], ["2024-01-01", "2024-01-01T09:00:00+00:00", "09:00:00"]),
        ([pd.Timestamp("2024-01-01"), np.datetime64("2024-01-01T09"), np.datetime64("NaT")], ["2024-01-01T00:00:00", "2024-01-01T09:00:00", None]),
        ([timedelta(minutes=1), pd.Timedelta("1h"), np.timedelta64(2, "s")], [60.0, 3600.0, 2.0]),
        ([Decimal("1.50"), uuid.UUID(int=1), PurePosixPath("a/b"), 1 + 2j], ["1.50", str(uuid.UUID(int=1)), "a/b", "(1+2j)"]),
        ([b"\0\xff", {1}, (1, 2), range(3), 2**70], ["AP8=", [1], [1, 2], [0, 1, 2], 2**70]),
        ({1: "a", None: "b", (1, "x"): "c", date(2024, 1, 1): "d"}, {"1": "a", "null": "b", '[1, "x"]': "c", "2024-01-01": "d"}),
        ({1: "a", "1": "b"}, [[1, "a"], ["1", "b"]]),
        ([Colour.RED, Fit(0.5, None), Pair(1, float("nan"))], ["red", {"score": 0.5, "table": None}, {"left": 1, "right": None}]),
        ([np.arange(4).reshape(2, 2), np.int8(3), np.array(["2024-01-01", "NaT"], "M8[D]"), np.array([1.5, np.nan])], [[[0, 1], [2, 3]], 3, ["2024-01-01T00:00:00", None], [1.5, None]]),
        (pd.Index(["a", None]), ["a", None]),
        ([pd.Period("2024-01"), pd.Interval(0, 1)], ["2024-01", "(0, 1]"]),
    ],
    ids=range(13),
)  # fmt: skip
def test_any_other_result_is_valid_json(value: Any, expected: Any) -> None:
    assert plain(value) == expected
    assert json.loads(made(value, "json").read(), parse_constant=pytest.fail) == expected


def test_tables_and_figures_in_json_are_read_by_pandas_and_plotly() -> None:
    figure = go.Figure(go.Bar(y=[1, 2]))
    whole = json.load(made({"table": SALES, "series": SALES["net"], "chart": figure}, "json"))
    frame = pd.read_json(io.StringIO(json.dumps(whole["table"])), orient="split", dtype=False)
    times = frame[["day", "at"]].apply(pd.to_datetime, format="ISO8601").astype(SALES.dtypes[["day", "at"]])
    pd.testing.assert_frame_equal(frame.assign(**times), SALES, check_dtype=False, check_categorical=False)
    assert whole["series"]["name"] == "net" and whole["series"]["data"][1] is None
    assert go.Figure(whole["chart"]).data[0].y is not None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, []),
        (Report("r", None, None, b"%PDF-"), []),
        ("text", [("", ["txt"])]),
        (b"bytes", [("", ["bin"])]),
        (3, [("", ["json"])]),
        (SALES, [("", ["csv", "xlsx"])]),
        ({"data": [1], "layout": {}}, [("", ["json"])]),
        ({"data": [{}], "layout": {}}, [("", ["html", "png"])]),
        ({"n": 1, "by day": SALES, 7: go.Figure()}, [("by day", ["csv", "xlsx"]), ("7", ["html", "png"]), ("", ["json"])]),
        ((1, SALES["n"]), [("2", ["csv", "xlsx"]), ("", ["json"])]),
        (Fit(1.0, SALES), [("table", ["csv", "xlsx"]), ("", ["json"])]),
        (Pair("x", go.Figure()), [("right", ["html", "png"]), ("", ["json"])]),
        ({"deep": {"table": SALES}}, [("", ["json"])]),
    ],
    ids=range(13),
)  # fmt: skip
def test_tables_and_figures_in_a_result_are_offered_one_by_one(value: Any, expected: Any) -> None:
    assert offered(value) == expected


def test_a_result_of_many_tables_offers_the_first_and_all_of_it() -> None:
    parts = offered([SALES] * 1000)
    assert len(parts) == MOST_PARTS + 1 and parts[-1] == ("", ["json"])


# --- addresses ---


@dataclass
class Visitor:
    name: str
    admin: bool = False


@dataclass
class Site:
    """An app under a prefix with two panels: one of everything, and one that offers its own choice of a task's results."""

    huey: DurableHuey
    client: FlaskClient
    visitor: Visitor | None = None

    def get(self, job: Any, kind: str = "csv", part: Any = 0, panel: str = "any", **query: str) -> Any:
        asked = {"panel": panel, "job": getattr(job, "id", job), "part": part, "kind": kind, **query}
        return self.client.get("/explorer/_panels/result", query_string=asked, buffered=True)


@pytest.fixture(scope="module")
def made_site() -> Iterator[Site]:
    huey = DurableHuey("files", immediate=True, timezone="Europe/Paris")
    kept, known, panels = list(GLOBAL_CALLBACK_LIST), dict(GLOBAL_CALLBACK_MAP), dict(panel._panels)
    app = Dash("files", url_base_pathname="/explorer/", suppress_callback_exceptions=True)
    app.layout = html.Div()
    site = Site(huey, app.server.test_client())
    access = Access(huey, lambda: site.visitor)
    JobPanel(huey, "any", access=access)
    own = huey.task(name="own")(lambda: {"n": 1})
    JobPanel(huey, "own", access=access, task=own, download=lambda result: pd.DataFrame([result]))
    JobPanel(huey, "none", access=access, download=False)
    yield site
    huey.storage.close()
    GLOBAL_CALLBACK_LIST[:] = kept
    GLOBAL_CALLBACK_MAP.clear()
    GLOBAL_CALLBACK_MAP.update(known)
    panel._panels.clear()
    panel._panels.update(panels)


@pytest.fixture
def site(made_site: Site) -> Site:
    made_site.visitor = None
    return made_site


def returns(site: Site, value: Any, name: str = "table", owner: str | None = None) -> Any:
    task = site.huey.task(name=name)(lambda: value)
    try:
        return task.using(owner=owner)()
    finally:
        site.huey._registry.unregister(task.task_class)


def test_a_file_is_an_attachment_that_no_cache_shares(site: Site) -> None:
    answer = site.get(returns(site, SALES), "xlsx")
    assert answer.status_code == 200 and answer.content_type == XLSX
    assert answer.headers["Cache-Control"] == "private, no-store"
    assert (
        answer.headers["X-Content-Type-Options"] == "nosniff" and "sandbox" in answer.headers["Content-Security-Policy"]
    )
    assert zipfile.ZipFile(io.BytesIO(answer.data)).testzip() is None
    assert len(pd.read_excel(io.BytesIO(answer.data))) == 3


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("weights", "table-weights"),
        ('a"b; c=d/e\\f', "table-a b; c=d e f"),
        ("Übersicht – 表", "table-Übersicht – 表"),
        ("x\r\nSet-Cookie: a=b", "table-x Set-Cookie a=b"),
        ("evil\u202etxt.exe", "table-evil txt.exe"),
        ("../../etc/passwd", "table-etc passwd"),
        ("x" * 300, "table-" + "x" * 60),
    ],
    ids=range(7),
)
def test_a_file_is_named_after_task_part_and_time(site: Site, part: str, name: str) -> None:
    job = returns(site, {part: SALES})
    header = site.get(job).headers["Content-Disposition"]
    ended = job.get_job().ended_at.astimezone(site.huey.timezone)
    kind, options = parse_options_header(header)
    assert (kind, options["filename"]) == ("attachment", f"{name}-{ended:%Y-%m-%d-%H%M}.csv")
    assert header.isascii()


def test_a_stored_file_is_itself_until_it_is_gone(site: Site) -> None:
    """The file is of several pieces, and its name is one that a header cannot hold."""
    content = os.urandom(2_500_000)
    stored = site.huey.files.save(content, 'Übersicht "Q3".pdf')
    job = returns(site, {"report": stored, "pages": 3})
    answer = site.get(job, "file")
    assert (answer.status_code, answer.data) == (200, content)
    assert "filename*=UTF-8''%C3%9Cbersicht%20%20Q3%20.pdf" in answer.headers["Content-Disposition"]
    site.huey.ledger.files.delete(stored.id)
    gone = site.get(job, "file")
    assert gone.status_code == 422 and "Upload it again" in gone.text


def test_a_background_callback_offers_nothing(site: Site) -> None:
    def callback() -> str:
        return "for its page"

    callback.__module__ = MODULE
    job = site.huey.task()(callback)()
    assert job.get() == "for its page"
    assert site.get(job, "txt").status_code == 404


def test_strangers_and_unknown_files_get_404(site: Site) -> None:
    job = returns(site, SALES, owner="ann")
    failed = site.huey.task(name="fails")(lambda: 1 / 0)()
    waits = site.huey.task(name="waits")(lambda: SALES).schedule(delay=3600)
    for name, status in (("ann", 200), ("ben", 404)):
        site.visitor = Visitor(name)
        assert site.get(job).status_code == status
    site.visitor = Visitor("eve", admin=True)
    assert site.get(job).status_code == 200
    for asked in (failed, waits, "unknown", "", "\0"):
        assert site.get(asked).status_code == 404
    for query in (
        {"part": "1"},
        {"part": "-1"},
        {"part": "x"},
        {"part": "٠"},
        {"kind": "json"},
        {"kind": ""},
        {"panel": "x"},
    ):
        assert site.get(job, **query).status_code == 404
    assert site.get(job, panel="none").status_code == 404 and site.get(job, panel="own").status_code == 404


def test_a_panel_offers_its_own_choice(site: Site) -> None:
    (own,) = (task for name, task in site.huey._registry._registry.items() if name.endswith("own"))
    job = site.huey.enqueue(own())
    assert site.get(job, panel="own").data == b"n\r\n1\r\n"


def test_a_format_that_cannot_hold_the_value_is_answered_with_a_sentence(site: Site) -> None:
    answer = site.get(returns(site, pd.DataFrame({"t": ["x" * 32_768]})), "xlsx")
    assert answer.status_code == 422 and "An Excel cell holds 32,767. Choose CSV." in answer.text


def test_a_web_process_makes_one_large_file_at_a_time(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "LARGE", 1000)
    small, large = returns(site, SALES["n"].head(1)), returns(site, pd.DataFrame(np.zeros((100, 9))))
    with serving._large:
        assert site.get(small).status_code == 200
        answer = site.get(large)
        assert answer.status_code == 503 and serving.BUSY in answer.text
    assert site.get(large).status_code == 200


def test_the_menu_has_a_link_for_each_format_and_says_why_one_is_missing(site: Site) -> None:
    job = returns(site, {"short": SALES, "long": pd.DataFrame({"t": ["x" * 32_768]}), "chart": go.Figure()})
    shown = panel._panels["any"].files(job.id)
    links = {link.href: link for link in shown._traverse() if hasattr(link, "href")}
    assert [address.partition("&part=")[2] for address in links if "parquet" not in address] == [
        "0&kind=csv", "0&kind=xlsx", "1&kind=csv", "2&kind=html", "2&kind=png", "3&kind=json"
    ]  # fmt: skip
    assert all(site.client.get(address, buffered=True).status_code == 200 for address in links)
    pictures = [getattr(link, "data-picture") for link in links.values() if hasattr(link, "data-picture")]
    assert len(pictures) == 1 and pictures[0].startswith("table-chart-") and pictures[0].endswith(".png")
    assert "An Excel cell holds 32,767. Choose CSV." in str(shown)


def test_a_panel_has_a_button_for_a_result_unless_it_shall_not(site: Site) -> None:
    for value, panels in ((3, {"any"}), (None, set())):
        job = returns(site, value)
        views = {name: str(panel._panels[name].render(job.id).result) for name in ("any", "none")}
        assert {name for name, shown in views.items() if "Download" in shown} == panels
