"""Tests of saving files: contents of each form, their names, and the sentence for a user when contents are refused."""

import base64
import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobqueue import DurableHuey, EmptyFile, FileRefused, FileTooLarge
from jobqueue.files.contents import LONGEST, clean_name
from jobqueue.files.pieces import PIECE
from tests.engine.conftest import HueyFactory
from tests.engine.files.rows import rows

CSV = b"ticker,weight\n" + b"AAPL,0.5\n" * (PIECE // 4)  # a little over two pieces


def uploaded(content: bytes) -> str:
    """Return content as dcc.Upload gives it to a callback."""
    return f"data:text/csv;base64,{base64.b64encode(content).decode()}"


@pytest.mark.parametrize("form", [bytes, bytearray, memoryview, io.BytesIO, uploaded], ids=lambda form: form.__name__)
def test_a_file_is_saved_from_each_form_of_contents(huey: DurableHuey, form: Callable[[bytes], Any]) -> None:
    file = huey.files.save(form(CSV), "weights.csv")
    assert (file.name, file.size, file.media_type) == ("weights.csv", len(CSV), "text/csv")
    assert file.sha256 == hashlib.sha256(CSV).hexdigest()
    assert file.open().read() == CSV
    assert huey.files.get(file.id) == file


def test_a_file_is_saved_from_a_path_under_its_name(huey: DurableHuey, tmp_path: Path) -> None:
    path = tmp_path / "weights.csv"
    path.write_bytes(CSV)
    assert huey.files.save(path).name == "weights.csv"


def test_a_stream_seeks_and_reads_across_pieces(huey: DurableHuey) -> None:
    content = bytes(range(256)) * (3 * PIECE // 256)
    stream = huey.files.save(content, "all.bin").open()
    for offset, count in ((PIECE - 3, 6), (5, 2 * PIECE), (len(content) - 2, 10), (0, 1)):
        assert stream.seek(offset) == offset
        assert stream.read(count) == content[offset : offset + count]
    stream.seek(-4, io.SEEK_END)
    assert stream.read() == content[-4:]
    with pytest.raises(OSError, match="no byte at -1"):
        stream.seek(-1)


NAMES = {
    "../../etc/passwd": "passwd",
    "C:\\data\\prices.csv": "prices.csv",
    "/a/b/": "b",
    "": "file",
    "..": "file",
    "a\0b\n\x1b[31m.csv": "a?b[31m.csv",
    "right\u202eto-left.csv": "rightto-left.csv",
    "\ud800.csv": "?.csv",
    "x" * 300 + ".csv": "x" * (LONGEST - 4) + ".csv",
    "prix été.csv": "prix été.csv",
}


@pytest.mark.parametrize("given", NAMES, ids=ascii)
def test_a_name_loses_folders_and_what_cannot_be_shown(given: str) -> None:
    assert clean_name(given) == NAMES[given]


REFUSED: dict[str, tuple[Any, type[Exception], str]] = {
    "nothing chosen": (None, FileRefused, "Choose a file first. It may take at most 3 MB."),
    "empty upload": (uploaded(b""), EmptyFile, "prices.csv is empty. Choose a file with content."),
    "too large": (
        b"x" * 4 * PIECE,
        FileTooLarge,
        "prices.csv takes 4 MB, which is more than the limit of 3 MB. Choose",
    ),
    "too large upload": (uploaded(b"x" * (3 * PIECE + 6)), FileTooLarge, "takes 3,000,006 bytes, which is more than"),
    "a byte too many": (uploaded(b"x" * (3 * PIECE + 1)), FileTooLarge, "takes 3,000,001 bytes, which is more than"),
    "cut off": (uploaded(b"x" * 1000)[:-3], FileRefused, "prices.csv did not arrive whole. Upload it again."),
    "no base 64": ("data:text/csv;base64,????", FileRefused, "prices.csv did not arrive whole. Upload it again."),
    "other text": ("prices.csv", ValueError, "Give bytes, a pathlib.Path, a binary stream"),
    "text stream": (io.StringIO("a"), TypeError, "Open it in binary mode"),
    "another type": (7, TypeError, "contents is a builtins.int. Give bytes"),
    "no such path": (Path("/no/such/file.csv"), FileNotFoundError, "/no/such/file.csv"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_contents_leave_nothing(make_huey: HueyFactory, case: str) -> None:
    contents, error, words = REFUSED[case]
    huey = make_huey(max_file=3 * PIECE)
    with pytest.raises(error) as raised:
        huey.files.save(contents, "prices.csv")
    assert words in str(raised.value)
    assert set(rows(huey).values()) == {0}


def test_a_stream_over_the_limit_is_not_read_whole(make_huey: HueyFactory) -> None:
    huey, stream = make_huey(max_file=PIECE), io.BytesIO(b"x" * 5 * PIECE)
    with pytest.raises(FileTooLarge, match="endless is more than the limit of 1 MB. Choose a smaller file."):
        huey.files.save(stream, "endless")
    assert stream.tell() == 2 * PIECE
    assert set(rows(huey).values()) == {0}
