"""Read what is to be saved in pieces, in each form in which an app may hold it, and make a name that every system accepts."""

import base64
import binascii
import mimetypes
import unicodedata
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from jobqueue.files.pieces import PIECE
from jobqueue.files.refusals import EmptyFile, FileRefused
from jobqueue.text import full_type_name, storable

Contents = str | bytes | bytearray | memoryview | Path | IO[bytes]

LONGEST = 200  # characters of a name
BASE64_PIECE = PIECE // 3 * 4  # characters
NOT_ENCODED = "{name} did not arrive whole. Upload it again."


def clean_name(name: str) -> str:
    """Return a file's name without folders and control characters, of at most LONGEST characters. It keeps its suffix.

    >>> clean_name("C:\\\\data\\\\..\\\\prices.csv")
    'prices.csv'
    """
    last = storable(name).replace("\\", "/").rstrip("/").rpartition("/")[2]
    kept = "".join(char for char in last if unicodedata.category(char) not in ("Cc", "Cf", "Zl", "Zp")).strip()
    if not kept.strip(". "):
        return "file"
    suffix = PurePosixPath(kept).suffix[:20]
    return kept if len(kept) <= LONGEST else kept[: LONGEST - len(suffix)] + suffix


def media_type_of(name: str) -> str:
    """Return the media type that a file's name suggests."""
    return mimetypes.guess_type(name)[0] or "application/octet-stream"


def size_of(contents: Contents) -> int | None:
    """Return how many bytes the contents have, or None for a stream."""
    if isinstance(contents, str):
        return (len(contents) - contents.find(",") - 1) // 4 * 3 - contents[-2:].count("=")
    if isinstance(contents, bytes | bytearray | memoryview):
        return memoryview(contents).nbytes
    return contents.stat().st_size if isinstance(contents, Path) else None


def pieces_of(contents: Contents, name: str) -> Iterator[bytes]:
    """Yield the contents in pieces of at most PIECE bytes.

    Raises FileRefused for the text of an upload that is empty or cut off. Raises TypeError or ValueError for contents of another
    form, and OSError as reading a path does.
    """
    if isinstance(contents, str):
        yield from _uploaded(contents, name)
    elif isinstance(contents, bytes | bytearray | memoryview):
        view = memoryview(contents).cast("B")
        for start in range(0, len(view), PIECE):
            yield bytes(view[start : start + PIECE])
    elif isinstance(contents, Path):
        with contents.open("rb") as stream:
            yield from _streamed(stream)
    elif hasattr(contents, "read"):
        yield from _streamed(contents)
    else:
        raise TypeError(f"contents is a {full_type_name(contents)}. {_FORMS}")


def _uploaded(text: str, name: str) -> Iterator[bytes]:
    """Yield the content of a `dcc.Upload`, which is in base 64 after a comma."""
    head, _, _ = text[:1000].partition(",")
    if not head.startswith("data:") or not head.endswith(";base64"):
        raise ValueError(f"contents is text that no dcc.Upload gives. {_FORMS}")
    begin = len(head) + 1
    if len(text) <= begin:
        raise EmptyFile(name)
    if (len(text) - begin) % 4:
        raise FileRefused(NOT_ENCODED.format(name=name))
    for start in range(begin, len(text), BASE64_PIECE):
        try:
            yield base64.b64decode(text[start : start + BASE64_PIECE], validate=True)
        except (binascii.Error, ValueError):
            raise FileRefused(NOT_ENCODED.format(name=name)) from None


def _streamed(stream: Any) -> Iterator[bytes]:
    while piece := stream.read(PIECE):
        if isinstance(piece, str):
            raise TypeError(f"contents is a stream of text. Open it in binary mode. {_FORMS}")
        yield bytes(piece)


_FORMS = "Give bytes, a pathlib.Path, a binary stream, or the `contents` of a dcc.Upload."
