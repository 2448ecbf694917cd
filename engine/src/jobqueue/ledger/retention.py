"""Delete old jobs with everything that belongs to them, and expired entries."""

from jobqueue.database.database import Database
from jobqueue.files.stored import StoredFiles
from jobqueue.ledger.sql import ENDED_STATES

STEP_BACK = """
SELECT count(*) AS n, min(seq) AS oldest
FROM (SELECT seq FROM jobs WHERE seq < :before ORDER BY seq DESC LIMIT :limit) AS newest
"""

# No job of a range is old if none was submitted long ago, because a job ends after its submission.
NEXT_RANGE = """
SELECT max(seq) AS last, min(seq) < :oldest OR min(created_at) < NOW - :keep AS old
FROM (SELECT seq, created_at FROM jobs WHERE seq > :after ORDER BY seq LIMIT :limit) AS stretch
"""

_IS_OLD = f"{{job}}.state IN {ENDED_STATES} AND ({{job}}.seq < :oldest OR {{job}}.ended_at < NOW - :keep)"

# Keep a job whose follower is kept: the follower may need its result, now or after a retry.
OLD_JOBS = f"""
SELECT id FROM jobs
WHERE seq > :after AND seq <= :last AND {_IS_OLD.format(job="jobs")}
  AND COALESCE((SELECT {_IS_OLD.format(job="after_it")} FROM jobs AS after_it WHERE after_it.id = jobs.follower), TRUE)
FOR UPDATE SKIP LOCKED
"""

# Keep a run whose result was recently given to a new handle instead of a new run.
PRUNE = """
DELETE FROM jobs
WHERE id IN EACH(:ids)
  AND (unique_key IS NULL OR NOT EXISTS (
      SELECT 1 FROM handles
      WHERE job_id = jobs.id AND handles.created_at > jobs.ended_at AND handles.created_at > NOW - :joined))
RETURNING id
"""

PRUNE_RESULTS = "DELETE FROM results WHERE job_id IN EACH(:ids)"
PRUNE_STEPS = "DELETE FROM steps WHERE job_id IN EACH(:ids)"
PRUNE_HANDLES = "DELETE FROM handles WHERE job_id IN EACH(:ids)"
PRUNE_UPDATES = "DELETE FROM callback_updates WHERE job_id IN EACH(:ids)"
PRUNE_ANSWERS = "DELETE FROM callback_answers WHERE job_id IN EACH(:ids)"
PRUNE_FILE_NAMES = "DELETE FROM job_files WHERE job_id IN EACH(:ids)"  # the sweep of files deletes those without a name
PRUNE_LOGS = "DELETE FROM logs WHERE job_id IN EACH(:ids)"
PRUNE_REVOCATIONS = "DELETE FROM entries WHERE key IN EACH(:keys)"

PRUNE_ENTRIES = """
WITH stale AS MATERIALIZED (
    SELECT key FROM entries WHERE expires_at < NOW - :age ORDER BY expires_at LIMIT :limit FOR UPDATE SKIP LOCKED)
DELETE FROM entries WHERE key IN (SELECT key FROM stale)
RETURNING key
"""

JOINED_KEPT = 24 * 3600  # seconds that a run is kept after a new handle was given its result
EXPIRED_KEPT = 24 * 3600  # seconds that an entry is kept after its expiry


class Retention:
    """The deletion of old rows of one database, a limited number at a time. `files` deletes unused files likewise."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.files = StoredFiles(database)

    def step_back(self, before: int, count: int) -> tuple[int, int | None]:
        """Step back over at most `count` jobs before `before`, by `seq`. Return how many there are, and the oldest's `seq`."""
        with self.database.statement() as tx:
            row = tx.one(STEP_BACK, before=before, limit=count)
            assert row is not None
            return row["n"], row["oldest"]

    def prune_jobs(self, after: int, count: int, keep_s: float, oldest: int) -> tuple[int | None, int]:
        """Delete the old jobs among the next `count`, except those whose dependents are kept.

        :param after: the `seq` after which to start.
        :param keep_s: seconds that a job is kept after its end.
        :param oldest: ended jobs with a lower `seq` are old whenever they ended.
        :returns: the last `seq` that was examined, and how many jobs were deleted. The first is None if all further jobs are young.
        """
        limits = {"keep": keep_s, "oldest": oldest}
        with self.database.statement() as tx:
            examined = tx.one(NEXT_RANGE, after=after, limit=count, **limits)
        if examined is None or not examined["old"]:
            return None, 0
        with self.database.transaction() as tx:
            old = [row["id"] for row in tx.all(OLD_JOBS, after=after, last=examined["last"], **limits)]
            ids = [row["id"] for row in tx.all(PRUNE, ids=old, joined=JOINED_KEPT)] if old else []
            if ids:
                tx.run(PRUNE_RESULTS, ids=ids)
                tx.run(PRUNE_STEPS, ids=ids)
                tx.run(PRUNE_LOGS, ids=ids)
                tx.run(PRUNE_FILE_NAMES, ids=ids)
                tx.run(PRUNE_HANDLES, ids=ids)
                tx.run(PRUNE_UPDATES, ids=ids)
                tx.run(PRUNE_ANSWERS, ids=ids)
                tx.run(PRUNE_REVOCATIONS, keys=[f"r:{job_id}" for job_id in ids])
        return examined["last"], len(ids)

    def prune_entries(self, count: int) -> int:
        """Delete entries that expired long ago, at most `count`. Return how many were deleted."""
        with self.database.statement() as tx:
            return len(tx.all(PRUNE_ENTRIES, age=EXPIRED_KEPT, limit=count))
