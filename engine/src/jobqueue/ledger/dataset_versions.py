"""The versions of datasets: the newest is the one whose number stands in `datasets`."""

from jobqueue.database.database import Database, Row, Transaction
from jobqueue.ledger.records import NewVersion

# A dataset's row is locked until its next version is committed, so versions are numbered in the order of their commits.
NEXT_VERSION = """
INSERT INTO datasets (name, version) VALUES (:name, 1)
ON CONFLICT (name) DO UPDATE SET version = datasets.version + 1
RETURNING version
"""

SAVE_VERSION = """
INSERT INTO dataset_versions (name, version, as_of, saved_at, job_id, rows, size, digest, media_type, body)
VALUES (:name, :version, COALESCE(:as_of, NOW), NOW, :job_id, :rows, :size, :digest, :media_type, :body)
"""

DELETE_VERSIONS = "DELETE FROM dataset_versions WHERE name = :name AND version <= :until"

NEWEST_VERSION = """
SELECT kept.version, as_of, saved_at, job_id, rows, size, digest, media_type, NOW - as_of AS age_s
FROM datasets JOIN dataset_versions AS kept ON kept.name = datasets.name AND kept.version = datasets.version
WHERE datasets.name = :name
"""

VERSION = "SELECT digest, media_type, body FROM dataset_versions WHERE name = :name AND version = :version"
KEPT_VERSIONS = "SELECT version FROM dataset_versions WHERE name = :name ORDER BY version"

LAST_REFRESH = """
SELECT id, state, error
FROM (SELECT seq, id, state, error FROM jobs WHERE task >= :task AND task <= :task AND seq > 0
      ORDER BY task DESC, seq DESC LIMIT 20) AS latest
WHERE state = 'succeeded' OR error <> '' AND state <> 'cancelled'
ORDER BY seq DESC LIMIT 1
"""  # more than twenty that wait would be a heap; by a range, as only the index of tasks has this order (see TURN)


class DatasetVersions:
    """Reads dataset versions. A version is saved by the transaction that ends its job."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def newest(self, name: str) -> Row | None:
        """What is known of it, but for its body."""
        with self.database.statement() as tx:
            return tx.one(NEWEST_VERSION, name=name)

    def get(self, name: str, version: int) -> Row | None:
        """Its digest, media type and body."""
        with self.database.statement() as tx:
            return tx.one(VERSION, name=name, version=version)

    def kept(self, name: str) -> list[int]:
        with self.database.statement() as tx:
            return [row["version"] for row in tx.all(KEPT_VERSIONS, name=name)]

    def last_refresh(self, task: str) -> Row | None:
        """Of the jobs of this task, the last whose outcome is known, if only of an attempt: id, state and error."""
        with self.database.statement() as tx:
            return tx.one(LAST_REFRESH, task=task)


def save_version(tx: Transaction, job_id: str, new: NewVersion) -> None:
    row = tx.one(NEXT_VERSION, name=new.name)
    assert row is not None
    values = {name: value for name, value in vars(new).items() if name != "keep"}
    tx.run(SAVE_VERSION, version=row["version"], job_id=job_id, **values)
    tx.run(DELETE_VERSIONS, name=new.name, until=row["version"] - new.keep)
