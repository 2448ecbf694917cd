"""`Files`: the files of one queue as the calling code may use them. Each user has their own."""

import contextlib
import hashlib
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from jobqueue.database.database import Row
from jobqueue.files.contents import Contents, clean_name, media_type_of, pieces_of, size_of
from jobqueue.files.file import File
from jobqueue.files.refusals import EmptyFile, FileMissing, FileRefused, FileTooLarge, WrongOffset
from jobqueue.files.stored import StoredFiles
from jobqueue.text import is_storable, size

T = TypeVar("T")

MAX_FILE = 200_000_000  # bytes of one file


class Caller(Protocol):
    """The job or the request that uses files: `current_job()`."""

    id: str | None

    def patiently(self, query: Callable[[], T]) -> T: ...


class Files:
    """The files of one queue: `huey.files`.

    A file belongs to the user in whose request or job it was saved. Another user's file does not exist for them. Code without
    an owner may use every file.

    :param stored: the files of the database.
    :param max_file: the most bytes of one file.
    :param caller: the job or the request that this object is for.
    :param owner: the user whose files these are. None for everybody's.
    """

    def __init__(self, stored: StoredFiles, max_file: int, caller: Caller, owner: str | None) -> None:
        self.max_file = max_file
        self._stored = stored
        self._caller = caller
        self._owner = owner

    def of(self, owner: str) -> "Files":
        """Return the files of one user."""
        return Files(self._stored, self.max_file, self._caller, owner)

    def save(self, contents: Contents | None, filename: str | None = None, media_type: str | None = None) -> File:
        """Save a file, and return it as an argument or a result of jobs.

        Example::

            file = huey.files.save(contents, filename)  # of a dcc.Upload
            analyse(file)

        :param contents: bytes, a pathlib.Path, a binary stream, or the `contents` of a dcc.Upload. At most one piece more of it
            is in memory at a time.
        :param filename: the name to show and to download it under. Folders in it are left out. By default the path's name.
        :param media_type: by default the one that the name suggests.

        A file that a job saves is kept as long as the job. Any other is kept for a day, and as long as a job that names it.
        Raises FileRefused for None, an empty upload, or more than `max_file` bytes; then nothing is stored. Raises TypeError
        or ValueError for contents of another form, DatabaseUnavailable.
        """
        if contents is None:
            raise FileRefused(f"Choose a file first. It may take at most {size(self.max_file)}.")
        name = clean_name(filename or (contents.name if isinstance(contents, Path) else ""))
        if (expected := size_of(contents)) is not None and expected > self.max_file:
            raise FileTooLarge(name, self.max_file, expected)
        file_id = self._begin(name, media_type, None)
        digest, saved = hashlib.sha256(), 0
        try:
            for piece in pieces_of(contents, name):
                if saved + len(piece) > self.max_file:
                    raise FileTooLarge(name, self.max_file)
                digest.update(piece)
                saved = self._append_once(file_id, saved, piece)
            self._caller.patiently(lambda: self._stored.complete(file_id, digest.hexdigest()))
        except BaseException:
            with contextlib.suppress(Exception):  # the sweep deletes what is left
                self._stored.delete(file_id)
            raise
        return self._as_file(self._row(file_id))

    def get(self, file_id: Any) -> File:
        """Return a file of the calling user, given the `data` of an `Upload` or a file's id.

        Raises FileRefused for None, when no file is chosen, and FileMissing for a file that is not complete, does not exist
        any more, or belongs to another user.
        """
        if file_id is None:
            raise FileRefused(f"Choose a file first. It may take at most {size(self.max_file)}.")
        row = self._row(file_id)
        if row["state"] != "complete":
            raise FileMissing(row["name"])
        return self._as_file(row)

    # --- uploads in pieces ---

    def begin(self, filename: str, size: int) -> str:
        """Begin an upload. Return the file's id.

        :param size: bytes of the whole file.

        Raises EmptyFile, FileTooLarge.
        """
        name = clean_name(filename)
        if size <= 0:
            raise EmptyFile(name)
        if size > self.max_file:
            raise FileTooLarge(name, self.max_file, size)
        return self._begin(name, None, size)

    def received(self, file_id: Any) -> int:
        """Return how many bytes of an upload are stored. The next piece begins there. Raises FileMissing.

        A process that died may have stored the last piece and no more. So this completes a file whose bytes are all stored.
        """
        row = self._row(file_id)
        if row["size"] == row["expected"]:
            self.finish(file_id)
        return int(row["size"])

    def append(self, file_id: Any, offset: int, piece: bytes) -> int:
        """Append a piece to an upload. Return how many bytes are stored now. With the last piece the file is complete.

        Raises FileMissing, WrongOffset, and FileTooLarge for more bytes than `begin` was told.
        """
        row, stored = self._row(file_id), self.received(file_id)
        if row["expected"] is None or stored == row["expected"]:
            raise WrongOffset(row["name"], offset, stored)
        if offset + len(piece) > row["expected"]:
            raise FileTooLarge(row["name"], row["expected"])
        received = self._stored.append(file_id, offset, piece)
        if received == row["expected"]:
            self.finish(file_id)
        return received

    def finish(self, file_id: Any) -> File:
        """Complete an upload whose bytes are all stored, unless it is complete. Raises FileMissing if some have not come."""
        row = self._row(file_id)
        if row["state"] == "incomplete" and row["size"] == row["expected"]:
            digest, at = hashlib.sha256(), 0
            while at < row["size"]:
                piece = self._stored.read(file_id, at)
                digest.update(piece)
                at += len(piece)
            self._stored.complete(file_id, digest.hexdigest())
        return self.get(file_id)

    def discard(self, file_id: Any) -> bool:
        """Delete an upload. Return False if it is complete already. Raises FileMissing."""
        if self._row(file_id)["state"] == "complete":
            return False
        self._stored.delete(file_id)
        return True

    # ---

    def _begin(self, name: str, media_type: str | None, expected: int | None) -> str:
        file_id = uuid.uuid4().hex
        kind = media_type or media_type_of(name)
        self._caller.patiently(lambda: self._stored.begin(file_id, self._owner, name, kind, expected, self._caller.id))
        return file_id

    def _append_once(self, file_id: str, offset: int, piece: bytes) -> int:
        """Append a piece. Repeat it where a job waits for its database; the first try may have been written."""

        def append() -> int:
            if tried and self._row(file_id)["size"] == offset + len(piece):
                return offset + len(piece)
            tried.append(True)
            return self._stored.append(file_id, offset, piece)

        tried = list[bool]()
        return self._caller.patiently(append)

    def _row(self, file_id: Any) -> Row:
        """Return the row of a file of the calling user. Raises FileMissing."""
        row = self._stored.get(file_id) if isinstance(file_id, str) and is_storable(file_id) else None
        if row is None or (self._owner is not None and row["owner"] != self._owner):
            raise FileMissing()
        return row

    def _as_file(self, row: Row) -> File:
        def read(file_id: str, offset: int) -> bytes:
            return self._caller.patiently(lambda: self._stored.read(file_id, offset))

        fields = {name: row[name] for name in ("id", "name", "size", "media_type", "sha256")}
        return File(**fields, _read=read)
