"""Fifty files that a user may choose, read by the jobs of docs/start.md and docs/files.md: a result, or a sentence with the file's name."""

import gzip
import io
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile

import pandas as pd
import pytest

from jobqueue import DurableHuey, File, State
from jobqueue.dash import by_type
from jobqueue.files.pieces import PIECE
from jobqueue.files.refusals import FileRefused
from tests.engine.conftest import HueyFactory
from tests.engine.consumers import work
from tests.engine.files.rows import rows

DOCS = Path(__file__).parents[3] / "docs"
MB = 1_000_000
LIMIT = 10 * MB
TABLE = b"ticker,weight\nAAPL,0.5\n"
NO_TABLE = "is not a CSV file in UTF-8 with a table."
NO_NUMBERS = "has no column of numbers. Separate its columns with commas."
DAMAGED = "is no zip archive, or is damaged."
TOO_LARGE = "unpacks to more than 100 MB. Choose a smaller file."


def archive(content: bytes, times: int = 1) -> bytes:
    """Return a zip archive of one file, which has this content so many times."""
    written = io.BytesIO()
    with ZipFile(written, "w", ZIP_DEFLATED) as made, made.open("prices.csv", "w", force_zip64=True) as entry:
        for _ in range(times):
            entry.write(content)
    return written.getvalue()


def changed(content: bytes, offset: int, value: bytes) -> bytes:
    """Return an archive with other bytes at an offset in the entry of its directory, which is the end of the file."""
    start = content.rindex(b"PK\x01\x02") + offset
    return content[:start] + value + content[start + len(value) :]


# A name, a content, and the words of the refusal, or how many columns the summary has.
CSV: dict[str, tuple[str, bytes, str | int]] = {
    "a table": ("a.csv", TABLE, 1),
    "no bytes": ("a.csv", b"", "a.csv is empty. Choose a file with content."),
    "over the limit": ("a.csv", b"a\n" * (LIMIT // 2 + 1), "which is more than the limit of 10,000,000 bytes. Choose a smaller file."),
    "at the limit": ("a.csv", b"1" + b"\n2" * (LIMIT // 2 - 1) + b"\n", 1),
    "one line end": ("a.csv", b"\n", NO_TABLE),
    "blank lines": ("a.csv", b"\n\n\n", NO_TABLE),
    "spaces": ("a.csv", b"   ", NO_TABLE),
    "a quote": ("a.csv", b'"', NO_TABLE),
    "a comma": ("a.csv", b",", NO_NUMBERS),
    "a header alone": ("a.csv", b"a,b\n", NO_NUMBERS),
    "a header without a line end": ("a.csv", b"a,b", NO_NUMBERS),
    "no header": ("a.csv", b"1,2\n3,4\n", 2),
    "text alone": ("a.csv", b"a,b\nx,y\n", NO_NUMBERS),
    "true and false": ("a.csv", b"a\nTrue\nFalse\n", NO_NUMBERS),
    "numbers and text": ("a.csv", b"a,b\n1,x\n", 1),
    "semicolons": ("a.csv", b"a;b\n1;2\n", NO_NUMBERS),
    "tabs": ("a.csv", b"a\tb\n1\t2\n", NO_NUMBERS),
    "decimal commas": ("a.csv", b'a,b\n"1,5","2,5"\n', NO_NUMBERS),
    "UTF-16": ("a.csv", "a,b\n1,2\n".encode("utf-16"), NO_TABLE),
    "Latin-1": ("a.csv", "Währung,b\n1,2\n".encode("latin-1"), NO_TABLE),
    "Latin-1 after 1 MB": ("a.csv", b"a,b\n" + b"1,2\n" * 300_000 + b"\xe4,1\n", NO_TABLE),
    "byte order mark": ("a.csv", b"\xef\xbb\xbfa,b\n1,2\n", 2),
    "NUL": ("a.csv", b"a,b\n\0,1\n", 1),
    "control characters": ("a.csv", b"a,b\n\x1b[31m,1\n\x1a,2\n", 1),
    "Windows line ends": ("a.csv", b"a,b\r\n1,2\r\n", 2),
    "old Mac line ends": ("a.csv", b"a,b\r1,2\r", 2),
    "no last line end": ("a.csv", b"a,b\n1,2", 2),
    "a longer row": ("a.csv", b"a,b\n1,2\n1,2,3\n", NO_TABLE),
    "a shorter row": ("a.csv", b"a,b\n1\n", 2),
    "an open quote": ("a.csv", b'a,b\n"1,2\n3,4\n', NO_TABLE),
    "two columns of one name": ("a.csv", b"a,a\n1,2\n", 2),
    "names without letters": ("a.csv", b",\n1,2\n", 2),
    "an index": ("a.csv", b"a,b\n1,2,3\n4,5,6\n", 2),
    "other scripts": ("поза.csv", "價格,🙂\n1,2\n".encode(), 2),
    "markup": ("a.csv", b"<script>alert(1)</script>,b\n1,2\n", 2),
    "formulas": ("a.csv", b"=1+1,b\n1,2\n", 2),
    "infinite": ("a.csv", b"a,b\ninf,1\n-inf,2\n", 2),
    "too large for a float": ("a.csv", b"a,b\n1e400,1\n", 2),
    "no number": ("a.csv", b"a,b\nnan,1\n,2\n", 2),
    "400 digits": ("a.csv", b"a\n" + b"9" * 400 + b"\n", NO_NUMBERS),
    "300 columns": ("a.csv", b",".join(b"c%d" % n for n in range(300)) + b"\n" + b",".join([b"1"] * 300), 300),
    "a cell of 5 MB": ("a.csv", b"a,b\n1," + b"x" * 5 * MB + b"\n", 1),
    "JSON": ("a.csv", b'{"a": [1, 2]}', NO_NUMBERS),
    "XML": ("a.csv", b"<a><b>1</b></a>", NO_NUMBERS),
    "a picture": ("a.csv", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 10, NO_TABLE),
    "an archive": ("a.csv", archive(TABLE), NO_TABLE),
    "gzip": ("a.csv", gzip.compress(TABLE), NO_TABLE),
    "name with folders": ("../../etc/passwd", b"a;b\n1;2\n", f"passwd {NO_NUMBERS}"),
    "name of Windows": ("C:\\data\\a.csv", b"a;b\n1;2\n", f"a.csv {NO_NUMBERS}"),
    "name of markup": ("<b>.csv", b"a;b\n1;2\n", f"<b>.csv {NO_NUMBERS}"),
    "long name": ("x" * 500 + ".csv", b"a;b\n1;2\n", f"{'x' * 196}.csv {NO_NUMBERS}"),
}  # fmt: skip
ZIP: dict[str, tuple[str, bytes, str | int]] = {
    "an archive": ("a.zip", archive(TABLE), 1),
    "a bomb": ("a.zip", archive(b"0" * MB, times=101), f"a.zip {TOO_LARGE}"),
    "names a large size": ("a.zip", changed(archive(TABLE), 24, b"\xf0\xff\xff\xff"), f"a.zip {TOO_LARGE}"),
    "a bomb that names a small size": ("a.zip", changed(archive(b"0" * MB, times=101), 24, b"\x09\0\0\0"), f"a.zip {DAMAGED}"),
    "no archive": ("a.zip", TABLE, f"a.zip {DAMAGED}"),
    "cut off": ("a.zip", archive(TABLE)[:-30], f"a.zip {DAMAGED}"),
    "no bytes": ("a.zip", b"", "a.zip is empty. Choose a file with content."),
}  # fmt: skip


@pytest.fixture
def huey(make_huey: HueyFactory) -> DurableHuey:
    return make_huey(max_file=LIMIT)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of temporary files. It is empty at the end."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert not list(folder.iterdir())


def documented(page: str, name: str) -> str:
    """Return the lines of the function `name` in a page of the docs, with its decorator."""
    found = re.search(
        rf"^(@huey\.task\(\)\n)?def {name}\(.*?(?=\n\n\n|\n```)", DOCS.joinpath(page).read_text(), re.M | re.S
    )
    assert found is not None
    return found[0]


def end_of(huey: DurableHuey, task: Any, name: str, content: bytes) -> tuple[Any, str]:
    """Upload the file in pieces, and run a task with it. Return its result, and the error that the user reads."""
    try:
        file_id = huey.files.begin(name, len(content))
    except FileRefused as refused:
        assert set(rows(huey).values()) == {0}
        return None, str(refused)
    for start in range(0, len(content), PIECE):
        huey.files.append(file_id, start, content[start : start + PIECE])
    handle = task(huey.files.get(file_id))
    work(huey, lambda: handle.state.ended)
    job = huey.get_job(handle.id)
    return (handle.get() if job.state is State.SUCCEEDED else None), job.error


@pytest.mark.filterwarnings(
    "ignore:invalid value encountered:RuntimeWarning"
)  # of infinite numbers. Workers log warnings
@pytest.mark.parametrize("case", CSV)
@pytest.mark.parametrize("storage", ["sqlite"], indirect=True)
def test_a_csv_file_is_summarised_or_refused_in_a_sentence(huey: DurableHuey, temporary: Path, case: str) -> None:
    name, content, expected = CSV[case]
    page: dict[str, Any] = {"huey": huey, "File": File, "by_type": by_type}
    exec("import dash_mantine_components as dmc\nfrom plotly import express as px\n", page)
    for function in ("summarise", "show"):
        exec(documented("start.md", function), page)
    check(*end_of(huey, page["summarise"], name, content), expected, page["show"])


@pytest.mark.parametrize("case", ZIP)
@pytest.mark.parametrize("storage", ["sqlite"], indirect=True)
def test_an_archive_is_read_up_to_a_size(huey: DurableHuey, temporary: Path, case: str) -> None:
    name, content, expected = ZIP[case]
    job = {"huey": huey, "File": File, "pd": pd, "ZipFile": ZipFile, "BadZipFile": BadZipFile}
    exec(documented("files.md", "read_archive"), job)
    check(*end_of(huey, job["read_archive"], name, content), expected, by_type)


def check(result: Any, error: str, expected: str | int, show: Callable[[Any], Any]) -> None:
    if isinstance(expected, int):
        assert error == "" and len(result) == expected
        assert show(result) is not None
    else:
        assert result is None and expected in error
        assert "Traceback" not in error and "\n" not in error.strip()
