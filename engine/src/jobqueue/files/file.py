"""`File`: a stored file as a job's argument or result. It is pickled and encoded as a name with an id, never with its content."""

import contextlib
import errno
import io
import tempfile
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobqueue import codec
from jobqueue.files.pieces import PIECE

Read = Callable[
    [str, int], bytes
]  # takes a file's id and an offset; returns the bytes from there to the end of its piece

_read_here: ContextVar[Read | None] = ContextVar("read_here", default=None)
_named_here: ContextVar[set[str] | None] = ContextVar("named_here", default=None)


@dataclass(frozen=True, repr=False)
class File:
    """A stored file. `huey.files.save` and `huey.files.get` return one, and a job takes and returns it.

    Example::

        @huey.task()
        def analyse(file: File) -> pd.DataFrame:
            return pd.read_csv(file.open()).describe()

    `id`; `name`: without a folder; `size`: bytes; `media_type`: as the browser names it; `sha256`: of the content, in hexadecimal.
    """

    id: str
    name: str
    size: int
    media_type: str
    sha256: str
    _read: Read | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        return f"File({self.name!r}, {self.size:,} bytes)"

    def open(self) -> io.BufferedReader:
        """Open the file to read its bytes: a buffered stream that can seek, and that holds one piece of the file in memory.

        Raises FileMissing when it reads, if the file is not stored any more. Raises ValueError for a File that came from
        elsewhere than a job, a job's result or `huey.files`.
        """
        if self._read is None:
            raise ValueError(f"{self!r} does not know its queue. Open huey.files.get(file.id) instead.")
        return io.BufferedReader(_Stream(self, self._read), PIECE)

    @contextlib.contextmanager
    def path(self) -> Iterator[Path]:
        """Copy the content to a temporary file, for code that wants a path. It keeps the file's suffix, and is deleted at the end.

        Example::

            with file.path() as path:
                book = openpyxl.load_workbook(path)

        Raises as `open` does.
        """
        with tempfile.NamedTemporaryFile(suffix=Path(self.name).suffix) as copy:
            with self.open() as stream:
                while piece := stream.read(PIECE):
                    copy.write(piece)
            copy.flush()
            yield Path(copy.name)

    def __getstate__(self) -> dict[str, Any]:
        return _fields(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _read=_read_here.get())

    def __copy__(self) -> "File":
        return self

    def __deepcopy__(self, memo: Any) -> "File":
        return self


class _Stream(io.RawIOBase):
    """The bytes of a stored file. It holds the piece that was read last."""

    def __init__(self, file: File, read: Read) -> None:
        super().__init__()
        self.name = file.name
        self._file = file
        self._read = read
        self._at = 0
        self._start, self._piece = 0, memoryview(b"")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.size}[whence]
        if at < 0:
            # As files on a disk do. zipfile relies on it with files that are shorter than it looks for.
            raise OSError(errno.EINVAL, f"{self._file!r} has no byte at {at:,}. Seek to an offset of 0 or more.")
        self._at = at
        return at

    def readinto(self, buffer: Any) -> int:
        if self._at >= self._file.size:
            return 0
        if not self._start <= self._at < self._start + len(self._piece):
            self._start, self._piece = self._at, memoryview(self._read(self._file.id, self._at))
        taken = self._piece[self._at - self._start :][: len(buffer)]
        buffer[: len(taken)] = taken
        self._at += len(taken)
        return len(taken)


@contextlib.contextmanager
def readable(read: Read) -> Iterator[None]:
    """Let Files that are unpickled or decoded in the block be opened, by this function."""
    before = _read_here.set(read)
    try:
        yield
    finally:
        _read_here.reset(before)


@contextlib.contextmanager
def naming() -> Iterator[set[str]]:
    """Collect the ids of the Files that are pickled or encoded in the block."""
    named = set[str]()
    before = _named_here.set(named)
    try:
        yield named
    finally:
        _named_here.reset(before)


def _fields(file: File) -> dict[str, Any]:
    """Return what is stored of a File, and note that it is named."""
    if (named := _named_here.get()) is not None:
        named.add(file.id)
    return {name: value for name, value in vars(file).items() if name != "_read"}


def _restored(fields: dict[str, Any]) -> File:
    return File(**fields, _read=_read_here.get())


codec.register(File, "file", lambda file, keep: _fields(file), lambda fields, read: _restored(fields))
