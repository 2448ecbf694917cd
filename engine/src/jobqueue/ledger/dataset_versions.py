"""Save and read versions of datasets. The row in `datasets` contains the number of the newest version."""

from jobqueue.database.database import Database, Row, Transaction
from jobqueue.ledger.records import NewVersion
from jobqueue.text import ERROR

# This locks the dataset's row until the commit, so versions are numbered in the order of their commits.
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

# Stop after twenty jobs: more are rarely queued at once. Use a range condition, since only the index of tasks has this order.
LAST_REFRESH = f"""
SELECT id, state, substr(error, 1, {ERROR}) AS error
FROM (SELECT seq, id, state, error FROM jobs WHERE task >= :task AND task <= :task AND seq > 0
      ORDER BY task DESC, seq DESC LIMIT 20) AS latest
WHERE state = 'succeeded' OR error <> '' AND state <> 'cancelled'
ORDER BY seq DESC LIMIT 1
"""


class DatasetVersions:
    """The dataset versions of one database, to read. The end of a job saves its version (see `save_version`)."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def newest(self, name: str) -> Row | None:
        """Return the columns of the newest version without its body, and its age as `age_s`. None if there is no version."""
        with self.database.statement() as tx:
            return tx.one(NEWEST_VERSION, name=name)

    def get(self, name: str, version: int) -> Row | None:
        """Return a version's `digest`, `media_type` and `body`. None if it does not exist any more."""
        with self.database.statement() as tx:
            return tx.one(VERSION, name=name, version=version)

    def kept(self, name: str) -> list[int]:
        """Return the numbers of the stored versions, in ascending order."""
        with self.database.statement() as tx:
            return [row["version"] for row in tx.all(KEPT_VERSIONS, name=name)]

    def last_refresh(self, task: str) -> Row | None:
        """Return `id`, `state` and `error` of the task's newest job that succeeded, or had an attempt that failed."""
        with self.database.statement() as tx:
            return tx.one(LAST_REFRESH, task=task)


def save_version(tx: Transaction, job_id: str, new: NewVersion) -> None:
    """Save the next version of a dataset, and delete those that are no longer kept."""
    row = tx.one(NEXT_VERSION, name=new.name)
    assert row is not None
    values = {name: value for name, value in vars(new).items() if name != "keep"}
    tx.run(SAVE_VERSION, version=row["version"], job_id=job_id, **values)
    tx.run(DELETE_VERSIONS, name=new.name, until=row["version"] - new.keep)
