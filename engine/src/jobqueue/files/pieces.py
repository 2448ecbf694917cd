"""Where the bytes of files live. `Pieces` is the interface, and `DatabasePieces` keeps them in the ledger's database.

An object store can take its place: its `write` and `delete` ignore the transaction, and may be repeated.
"""

from typing import Protocol

from jobqueue.database.database import Transaction

PIECE = 1_000_000  # bytes that one piece has at most

WRITE_PIECE = "INSERT INTO file_pieces (file_id, start, body) VALUES (:file_id, :start, :body)"

READ_PIECE = """
SELECT start, body FROM file_pieces WHERE file_id = :file_id AND start <= :offset ORDER BY start DESC LIMIT 1
"""

DELETE_PIECES = """
DELETE FROM file_pieces
WHERE file_id = :file_id
  AND start IN (SELECT start FROM file_pieces WHERE file_id = :file_id ORDER BY start LIMIT :count)
"""


class Pieces(Protocol):
    """The bytes of files. Every method is called in a transaction on the rows of these files."""

    def write(self, tx: Transaction, file_id: str, start: int, body: bytes) -> None:
        """Store a piece of at most PIECE bytes, whose first byte is at the offset `start`."""

    def read(self, tx: Transaction, file_id: str, offset: int) -> bytes:
        """Return the bytes from an offset to the end of its piece. Return b"" if nothing is stored there."""

    def delete(self, tx: Transaction, file_id: str, count: int) -> bool:
        """Delete at most `count` pieces of a file. Return whether any may be left."""


class DatabasePieces:
    """Pieces in the ledger's database."""

    def write(self, tx: Transaction, file_id: str, start: int, body: bytes) -> None:
        tx.run(WRITE_PIECE, file_id=file_id, start=start, body=body)

    def read(self, tx: Transaction, file_id: str, offset: int) -> bytes:
        row = tx.one(READ_PIECE, file_id=file_id, offset=offset)
        return b"" if row is None else bytes(row["body"][offset - row["start"] :])

    def delete(self, tx: Transaction, file_id: str, count: int) -> bool:
        return tx.run(DELETE_PIECES, file_id=file_id, count=count) == count
