"""A person's own jobs at this moment: how many are active, and which have just ended.

A browser asks every other second while its user has active jobs, so only their newest jobs are read.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from jobqueue.database.database import Database, Row
from jobqueue.ledger.sql import STATE_OF_HANDLE
from jobqueue.ledger.states import State

NEWEST = 100  # jobs of an owner that are read, and as many handles
SOON = 60  # seconds; a job that starts within them counts as active

# The members of a chord are many, and its callback tells of their success. A job that did not run has one before it that tells why.
_NEWS = f"""
SELECT id, task, state, ended_at, NOW - ended_at AS age_s FROM ({{own}}) AS own
WHERE state IN ('queued', 'running') OR (state = 'scheduled' AND run_at < NOW + {SOON})
   OR (ended_at > NOW - :within
       AND (state = 'failed' OR (state = 'cancelled' AND reason <> 'Not run: ')
            OR (state = 'succeeded' AND (chord_index IS NULL OR NOT EXISTS (
                SELECT 1 FROM jobs AS callback WHERE callback.id = own.follower AND chord_size > 1)))))
ORDER BY ended_at
"""

_OF_JOB = "id, task, state, run_at, ended_at, chord_index, follower, substr(error, 1, 9) AS reason"
_OF_HANDLE = f"""
handles.id, jobs.task, {STATE_OF_HANDLE} AS state, jobs.run_at, COALESCE(handles.let_go_at, jobs.ended_at) AS ended_at,
jobs.chord_index, jobs.follower, substr(jobs.error, 1, 9) AS reason
""".strip()

# With a range condition only the index of owners has this order.
NEWS_OF_OWNER = _NEWS.format(
    own=f"""
    SELECT {_OF_JOB}
    FROM (SELECT id, task, state, run_at, ended_at, chord_index, follower, error, unique_key FROM jobs
          WHERE owner >= :owner AND owner <= :owner AND seq > 0 ORDER BY owner DESC, seq DESC LIMIT :newest) AS newest
    WHERE unique_key IS NULL
    UNION ALL
    SELECT {_OF_HANDLE}
    FROM (SELECT id, job_id, let_go_at FROM handles WHERE owner = :owner ORDER BY seq DESC LIMIT :newest) AS handles
    JOIN jobs ON jobs.id = handles.job_id
    """
)

NEWS_OF_IDS = _NEWS.format(
    own=f"""
    SELECT {_OF_JOB} FROM jobs WHERE id IN EACH(:ids)
    UNION ALL
    SELECT {_OF_HANDLE} FROM handles JOIN jobs ON jobs.id = handles.job_id WHERE handles.id IN EACH(:ids)
    """
)


@dataclass(frozen=True, kw_only=True)
class News:
    """A person's jobs of this moment."""

    active: int  # queued, running, or about to start
    ended: list[Row]  # lately, oldest first: `id`, `task`, `state`, `ended_at` and `age_s`, the seconds since the end


def news(database: Database, whose: str | Sequence[str], within_s: float) -> News:
    """Read the active jobs, and those that ended in the last `within_s` seconds. Raises DatabaseUnavailable.

    :param whose: an owner, of whom the newest NEWEST jobs are read, or the ids of jobs.
    """
    with database.statement() as tx:
        if isinstance(whose, str):
            rows = tx.all(NEWS_OF_OWNER, owner=whose, newest=NEWEST, within=within_s)
        else:
            rows = tx.all(NEWS_OF_IDS, ids=list(whose), within=within_s)
    ended = [row for row in rows if State(row["state"]).ended]
    return News(active=len(rows) - len(ended), ended=ended)
