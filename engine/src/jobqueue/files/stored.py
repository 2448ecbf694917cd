"""The stored files of one database: begin, append, complete, read and delete them."""

from collections.abc import Sequence

from jobqueue.database.database import Database, Row, Transaction
from jobqueue.files.pieces import PIECE, DatabasePieces, Pieces
from jobqueue.files.refusals import FileMissing, WrongOffset

BEGIN_FILE = """
INSERT INTO files (id, owner, name, media_type, size, expected, sha256, state, created_at, touched_at)
VALUES (:id, :owner, :name, :media_type, 0, :expected, '', 'incomplete', NOW, NOW)
ON CONFLICT DO NOTHING
"""

# It locks the row until the commit, so that pieces come one after the other and the sweep leaves the file alone.
APPEND_TO_FILE = """
UPDATE files SET size = size + :count, touched_at = NOW
WHERE id = :id AND state = 'incomplete' AND size = :offset
RETURNING size
"""

COMPLETE_FILE = """
UPDATE files SET state = 'complete', sha256 = :sha256, touched_at = NOW
WHERE id = :id AND state = 'incomplete' AND (expected IS NULL OR size = expected)
"""

FILE = "SELECT id, owner, name, media_type, size, expected, sha256, state FROM files WHERE id = :id"

NEXT_FILES = (
    "SELECT max(seq) AS last FROM (SELECT seq FROM files WHERE seq > :after ORDER BY seq LIMIT :limit) AS stretch"
)

_NAMED = "EXISTS (SELECT 1 FROM job_files JOIN jobs ON jobs.id = job_files.job_id WHERE job_files.file_id = files.id)"

UNUSED_FILES = f"""
SELECT id FROM files
WHERE seq > :after AND seq <= :last
  AND (state = 'deleted'
       OR touched_at < NOW - CASE state WHEN 'complete' THEN :complete ELSE :incomplete END AND NOT {_NAMED})
FOR UPDATE SKIP LOCKED
"""

# A second look, now that the rows are locked: a job may have been submitted meanwhile.
MARK_UNUSED = f"""
UPDATE files SET state = 'deleted' WHERE id IN EACH(:ids) AND (state = 'deleted' OR NOT {_NAMED}) RETURNING id
"""

MARK_DELETED = "UPDATE files SET state = 'deleted' WHERE id = :id"
DELETE_NAMES = "DELETE FROM job_files WHERE file_id = :id"
DELETE_FILE = "DELETE FROM files WHERE id = :id"

UNUSED_KEPT = 24 * 3600  # seconds that a file is kept that no job names
INCOMPLETE_KEPT = 3600  # seconds that an upload is kept after its last piece
BATCH = 64  # files to check, or pieces to delete, at a time


class StoredFiles:
    """The files of one database, whoever owns them.

    :param pieces: where their bytes live. By default in the database itself.
    """

    def __init__(self, database: Database, pieces: Pieces | None = None) -> None:
        self.database = database
        self.pieces = pieces or DatabasePieces()

    def begin(
        self, file_id: str, owner: str | None, name: str, media_type: str, expected: int | None, job_id: str | None
    ) -> None:
        """Begin a file.

        :param expected: bytes of the whole file, if they are known.
        :param job_id: the job that saves it. The file is kept as long as this job.
        """
        with self.database.transaction() as tx:
            tx.run(BEGIN_FILE, id=file_id, owner=owner, name=name, media_type=media_type, expected=expected)
            if job_id is not None:
                tx.run(NAME_FILES, job_id=job_id, ids=[file_id])

    def append(self, file_id: str, offset: int, content: bytes) -> int:
        """Append bytes to a file that is not complete. Return how many bytes it has now.

        Raises FileMissing, and WrongOffset if `offset` is not where its stored part ends, as when a piece comes twice.
        """
        with self.database.transaction() as tx:
            appended = tx.one(APPEND_TO_FILE, id=file_id, offset=offset, count=len(content))
            if appended is None:
                row = tx.one(FILE, id=file_id)
                if row is None or row["state"] != "incomplete":
                    raise FileMissing()
                raise WrongOffset(row["name"], offset, row["size"])
            for start in range(0, len(content), PIECE):
                self.pieces.write(tx, file_id, offset + start, content[start : start + PIECE])
            return int(appended["size"])

    def complete(self, file_id: str, sha256: str) -> bool:
        """Complete a file. Return False if it is complete or deleted already, or if some of its bytes have not come."""
        with self.database.statement() as tx:
            return tx.run(COMPLETE_FILE, id=file_id, sha256=sha256) > 0

    def get(self, file_id: str) -> Row | None:
        """Return the row of a file that was not deleted. None if there is none."""
        with self.database.statement() as tx:
            row = tx.one(FILE, id=file_id)
        return None if row is None or row["state"] == "deleted" else row

    def read(self, file_id: str, offset: int) -> bytes:
        """Return the bytes from an offset to the end of its piece. Raises FileMissing if nothing is stored there."""
        with self.database.statement() as tx:
            if body := self.pieces.read(tx, file_id, offset):
                return body
        raise FileMissing()

    # --- deletion, in bounded steps ---

    def next_unused(self, after: int) -> tuple[int | None, list[str]]:
        """Mark the files to delete among the next BATCH: no job names them, and their grace period is over.

        :param after: the `seq` after which to start.
        :returns: the last `seq` that was examined, or None after the last file; and the ids of the marked files.
        """
        with self.database.statement() as tx:
            row = tx.one(NEXT_FILES, after=after, limit=BATCH)
        if row is None or row["last"] is None:
            return None, []
        last = int(row["last"])
        with self.database.transaction() as tx:
            kept = {"complete": UNUSED_KEPT, "incomplete": INCOMPLETE_KEPT}
            ids = [row["id"] for row in tx.all(UNUSED_FILES, after=after, last=last, **kept)]
            return last, [row["id"] for row in tx.all(MARK_UNUSED, ids=ids)] if ids else []

    def delete_batch(self, file_id: str) -> bool:
        """Delete at most BATCH pieces of a marked file, and with the last of them the file. Return whether more are left."""
        with self.database.transaction() as tx:
            if self.pieces.delete(tx, file_id, BATCH):
                return True
            tx.run(DELETE_NAMES, id=file_id)
            tx.run(DELETE_FILE, id=file_id)
            return False

    def delete(self, file_id: str) -> None:
        """Delete a file and all its pieces now."""
        with self.database.statement() as tx:
            tx.run(MARK_DELETED, id=file_id)
        while self.delete_batch(file_id):
            pass


# --- the jobs that name files ---

LOCK_FILES = "SELECT id FROM files WHERE id IN EACH(:ids) AND state = 'complete' ORDER BY id FOR UPDATE"

# A submission may have joined another run. Then there is no job of this id, and that run names the file already or does not need it.
NAME_FILES = """
INSERT INTO job_files (file_id, job_id)
SELECT id, :job_id FROM files WHERE id IN EACH(:ids) AND EXISTS (SELECT 1 FROM jobs WHERE jobs.id = :job_id)
ON CONFLICT DO NOTHING
"""


def name_files(tx: Transaction, job_id: str, names: Sequence[str]) -> None:
    """Note that a job names these files, in the transaction that submits or ends the job. Raises FileMissing."""
    if ids := sorted(names):
        if len(tx.all(LOCK_FILES, ids=ids)) < len(ids):
            raise FileMissing("A file of this job")
        tx.run(NAME_FILES, job_id=job_id, ids=ids)
