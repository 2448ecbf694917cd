"""Writes and reads of a running attempt: progress, log lines and steps.

Each write is one statement, which locks nothing until the whole of it has arrived. So a large value on a slow link holds nobody up.
"""

from jobqueue.database.database import Database
from jobqueue.ledger.records import FenceRefused
from jobqueue.ledger.sql import REPLACE_LOG

HELD_JOB = "SELECT 1 FROM jobs WHERE id = :id AND token = :token"

PROGRESS = """
UPDATE jobs SET done = :done, total = :total, note = :note WHERE id = :id AND token = :token
"""

SAVE_LOG = f"""
INSERT INTO logs (job_id, lines) SELECT id, :lines FROM jobs WHERE id = :id AND token = :token FOR UPDATE
{REPLACE_LOG}
"""

STEP_NAMES = "SELECT name FROM steps WHERE job_id = :id"
STEP = "SELECT media_type, body FROM steps WHERE job_id = :id AND name = :name"

# The update changes nothing. It counts the row, so that a saved step is told from a lost claim.
SAVE_STEP = """
INSERT INTO steps (job_id, name, media_type, body, saved_at)
SELECT id, :name, :media_type, :body, NOW FROM jobs WHERE id = :id AND token = :token FOR UPDATE
ON CONFLICT (job_id, name) DO UPDATE SET name = excluded.name
"""


class Attempts:
    """The running attempts of one database. Each write raises FenceRefused if the token no longer holds the job."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def still_held(self, job_id: str, token: str) -> bool:
        """Return whether the token holds the job."""
        with self.database.statement() as tx:
            return tx.one(HELD_JOB, id=job_id, token=token) is not None

    def save_progress(self, job_id: str, token: str, done: float, total: float, note: str) -> None:
        """Save how much of the job is done. `done` and `total` have the same unit, which the task chooses."""
        self._write(PROGRESS, job_id, token, done=done, total=total, note=note)

    def save_log(self, job_id: str, token: str, lines: str) -> None:
        """Save everything that the job has logged so far, as lines of JSON. Replace what was saved before."""
        self._write(SAVE_LOG, job_id, token, lines=lines)

    def step_names(self, job_id: str) -> set[str]:
        """Return the names of a job's saved steps."""
        with self.database.statement() as tx:
            return {row["name"] for row in tx.all(STEP_NAMES, id=job_id)}

    def step(self, job_id: str, name: str) -> tuple[str, bytes]:
        """Return the media type and the body of a saved step."""
        with self.database.statement() as tx:
            row = tx.one(STEP, id=job_id, name=name)
        assert row is not None, f"step {name!r} of job {job_id} was deleted while the job ran"
        return row["media_type"], row["body"]

    def save_step(self, job_id: str, token: str, name: str, value: tuple[str, bytes]) -> None:
        """Save the value of a step, given as media type and body. A step that is saved already keeps its value."""
        self._write(SAVE_STEP, job_id, token, name=name, media_type=value[0], body=value[1])

    def _write(self, statement: str, job_id: str, token: str, **values: object) -> None:
        """Execute a statement that changes nothing unless the token holds the job."""
        with self.database.statement() as tx:
            if not tx.run(statement, id=job_id, token=token, **values):
                raise FenceRefused.of(job_id, token)
