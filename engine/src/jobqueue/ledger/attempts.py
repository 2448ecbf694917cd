"""What a running attempt saves before its end: progress, log lines and step values."""

from jobqueue.database.database import Database
from jobqueue.ledger.ending import REPLACE_LOG
from jobqueue.ledger.records import FenceRefused

HELD_JOB = "SELECT 1 FROM jobs WHERE id = :id AND token = :token"
LOCK_HELD_JOB = f"{HELD_JOB} FOR UPDATE"

PROGRESS = """
UPDATE jobs SET done = :done, total = :total, note = :note WHERE id = :id AND token = :token
"""

STEP_NAMES = "SELECT name FROM steps WHERE job_id = :id"
STEP = "SELECT media_type, body FROM steps WHERE job_id = :id AND name = :name"

SAVE_STEP = """
INSERT INTO steps (job_id, name, media_type, body, saved_at) VALUES (:id, :name, :media_type, :body, NOW)
ON CONFLICT (job_id, name) DO NOTHING
"""

SAVE_LOG = f"""
INSERT INTO logs (job_id, lines) SELECT id, :lines FROM jobs WHERE id = :id AND token = :token FOR UPDATE
{REPLACE_LOG}
"""


class Attempts:
    """Writes of running attempts. Each is refused with FenceRefused unless the token still holds the job."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def still_held(self, job_id: str, token: str) -> bool:
        """Whether the claim holds."""
        with self.database.statement() as tx:
            return tx.one(HELD_JOB, id=job_id, token=token) is not None

    def save_progress(self, job_id: str, token: str, done: float, total: float, note: str) -> None:
        """Raises FenceRefused."""
        with self.database.statement() as tx:
            if not tx.run(PROGRESS, id=job_id, token=token, done=done, total=total, note=note):
                raise FenceRefused(f"Job {job_id} is no longer held under token {token}.")

    def save_log(self, job_id: str, token: str, lines: str) -> None:
        """Raises FenceRefused."""
        with self.database.statement() as tx:
            if not tx.run(SAVE_LOG, id=job_id, token=token, lines=lines):
                raise FenceRefused(f"Job {job_id} is no longer held under token {token}.")

    def step_names(self, job_id: str) -> set[str]:
        with self.database.statement() as tx:
            return {row["name"] for row in tx.all(STEP_NAMES, id=job_id)}

    def step(self, job_id: str, name: str) -> tuple[str, bytes]:
        with self.database.statement() as tx:
            row = tx.one(STEP, id=job_id, name=name)
        assert row is not None, f"step {name!r} of job {job_id} was there a moment ago"
        return row["media_type"], row["body"]

    def save_step(self, job_id: str, token: str, name: str, value: tuple[str, bytes]) -> None:
        """Raises FenceRefused."""
        with self.database.transaction() as tx:
            if tx.one(LOCK_HELD_JOB, id=job_id, token=token) is None:
                raise FenceRefused(f"Job {job_id} is no longer held under token {token}.")
            tx.run(SAVE_STEP, id=job_id, name=name, media_type=value[0], body=value[1])
