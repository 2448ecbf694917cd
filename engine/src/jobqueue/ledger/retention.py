"""Delete old jobs with everything that belongs to them, and expired keys."""

from jobqueue.database.database import Database
from jobqueue.ledger.sql import ENDED_STATES

STEP_BACK = """
SELECT count(*) AS n, min(seq) AS oldest
FROM (SELECT seq FROM jobs WHERE seq < :before ORDER BY seq DESC LIMIT :limit) AS newest
"""

NEXT_RANGE = """
SELECT max(seq) AS last, min(seq) < :oldest OR min(created_at) < NOW - :keep AS old
FROM (SELECT seq, created_at FROM jobs WHERE seq > :after ORDER BY seq LIMIT :limit) AS stretch
"""  # a job that was submitted too late to be old ended later still

_IS_OLD = f"{{job}}.state IN {ENDED_STATES} AND ({{job}}.seq < :oldest OR {{job}}.ended_at < NOW - :keep)"

OLD_JOBS = f"""
SELECT id FROM jobs
WHERE seq > :after AND seq <= :last AND {_IS_OLD.format(job="jobs")}
  AND COALESCE((SELECT {_IS_OLD.format(job="after_it")} FROM jobs AS after_it WHERE after_it.id = jobs.follower), TRUE)
FOR UPDATE SKIP LOCKED
"""  # not what another may still need, now or when it is put back

PRUNE = """
DELETE FROM jobs
WHERE id IN EACH(:ids)
  AND (unique_key IS NULL OR NOT EXISTS (
      SELECT 1 FROM handles
      WHERE job_id = jobs.id AND handles.created_at > jobs.ended_at AND handles.created_at > NOW - :joined))
RETURNING id
"""  # not one whose result was given to somebody of late

PRUNE_RESULTS = "DELETE FROM results WHERE job_id IN EACH(:ids)"
PRUNE_STEPS = "DELETE FROM steps WHERE job_id IN EACH(:ids)"
PRUNE_HANDLES = "DELETE FROM handles WHERE job_id IN EACH(:ids)"
PRUNE_UPDATES = "DELETE FROM callback_updates WHERE job_id IN EACH(:ids)"
PRUNE_ANSWERS = "DELETE FROM callback_answers WHERE job_id IN EACH(:ids)"
PRUNE_LOGS = "DELETE FROM logs WHERE job_id IN EACH(:ids)"
PRUNE_REVOCATIONS = "DELETE FROM entries WHERE key IN EACH(:keys)"

PRUNE_ENTRIES = """
WITH stale AS MATERIALIZED (
    SELECT key FROM entries WHERE expires_at < NOW - :age ORDER BY expires_at LIMIT :limit FOR UPDATE SKIP LOCKED)
DELETE FROM entries WHERE key IN (SELECT key FROM stale)
RETURNING key
"""

JOINED_KEPT = 24 * 3600  # seconds that a run stays whose result somebody was given instead of a new run
EXPIRED_KEPT = 24 * 3600  # seconds that a key of Huey's stays after its time is over


class Retention:
    """Deletes what is past its retention, a limited number of rows at a time."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def step_back(self, before: int, count: int) -> tuple[int, int | None]:
        """Of so many jobs before this one, by `seq`: how many there are, and which is the oldest."""
        with self.database.statement() as tx:
            row = tx.one(STEP_BACK, before=before, limit=count)
            assert row is not None
            return row["n"], row["oldest"]

    def prune_jobs(self, after: int, count: int, keep_s: float, oldest: int) -> tuple[int | None, int]:
        """Delete, of so many jobs after this one, by `seq`, those that ended long ago or are older than `oldest`.

        Not those that a job follows which is to be kept. Returns the last of them, None where all that come are too young
        to look at; and how many it deleted.
        """
        kept = {"keep": keep_s, "oldest": oldest}
        with self.database.statement() as tx:
            stretch = tx.one(NEXT_RANGE, after=after, limit=count, **kept)
        if stretch is None or not stretch["old"]:
            return None, 0
        with self.database.transaction() as tx:
            old = [row["id"] for row in tx.all(OLD_JOBS, after=after, last=stretch["last"], **kept)]
            ids = [row["id"] for row in tx.all(PRUNE, ids=old, joined=JOINED_KEPT)] if old else []
            if ids:
                tx.run(PRUNE_RESULTS, ids=ids)
                tx.run(PRUNE_STEPS, ids=ids)
                tx.run(PRUNE_LOGS, ids=ids)
                tx.run(PRUNE_HANDLES, ids=ids)
                tx.run(PRUNE_UPDATES, ids=ids)
                tx.run(PRUNE_ANSWERS, ids=ids)
                tx.run(PRUNE_REVOCATIONS, keys=[f"r:{job_id}" for job_id in ids])
        return stretch["last"], len(ids)

    def prune_entries(self, count: int) -> int:
        """Delete keys whose time has long been over, at most so many. Returns how many it deleted."""
        with self.database.statement() as tx:
            return len(tx.all(PRUNE_ENTRIES, age=EXPIRED_KEPT, limit=count))
