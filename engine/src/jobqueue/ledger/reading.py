"""Read jobs, results, histories and logs. Nothing here changes a job."""

import heapq
import itertools
import sys
from collections.abc import Sequence

from jobqueue.database.database import Database, Row
from jobqueue.ledger.records import ERROR
from jobqueue.ledger.shared_runs import as_seen_by_handle
from jobqueue.ledger.sql import ENDED_STATES, HANDLE, JOB, QUEUED_TASKS, QUEUES, RUN, STATE_OF_HANDLE
from jobqueue.ledger.states import State

# Limits for what earlier versions stored without one. They are above all that this version stores.
LONGEST_FAILURE = 300_000  # bytes of an error as a result, with its traceback
LONGEST_HISTORY = 100_000  # characters

# --- one job, by its id or the id of a handle ---

JOB_BY_ID = f"""
SELECT {JOB}, {HANDLE}, results.body AS failure, EXISTS (SELECT 1 FROM steps WHERE steps.job_id = jobs.id) AS has_steps
FROM jobs LEFT JOIN results
  ON results.job_id = jobs.id AND results.media_type = :error AND length(results.body) <= {LONGEST_FAILURE}
LEFT JOIN handles ON handles.id = :id
WHERE jobs.id = {RUN}
"""

MESSAGE = f"SELECT message FROM jobs WHERE id = {RUN}"

# Count the jobs that a claim prefers within one queue, whatever their tasks. The orders are those of the index of all turns.
JOBS_AHEAD = f"""
SELECT (SELECT count(*) FROM (
            SELECT 1 FROM jobs WHERE state = 'queued' AND turn >= 0 AND queue = job.queue AND priority > job.priority
            ORDER BY priority, turn LIMIT :most) AS more_urgent) +
       (SELECT count(*) FROM (
            SELECT 1 FROM jobs WHERE state = 'queued' AND turn >= 0 AND queue = job.queue AND priority = job.priority
              AND turn <= job.turn AND (turn < job.turn OR seq < job.seq)
            ORDER BY turn LIMIT :most) AS earlier) AS n
FROM jobs AS job WHERE id = {RUN} AND state = 'queued'
"""

RESULT = f"""
SELECT jobs.id, {STATE_OF_HANDLE} AS state, results.media_type, results.body
FROM jobs LEFT JOIN handles ON handles.id = :id
LEFT JOIN results ON results.job_id = jobs.id AND handles.let_go_at IS NULL
WHERE jobs.id = {RUN}
"""

ENDED = f"""
SELECT 1 FROM jobs
WHERE id = {RUN}
  AND (state IN {ENDED_STATES} OR EXISTS (SELECT 1 FROM handles WHERE id = :id AND let_go_at IS NOT NULL))
"""

HISTORY = f"SELECT created_at, LAST(events, {LONGEST_HISTORY}) AS events FROM jobs WHERE id = {RUN}"

LOG = f"SELECT logs.lines FROM jobs LEFT JOIN logs ON logs.job_id = jobs.id WHERE jobs.id = {RUN}"

MEMBERS = """
SELECT jobs.id, jobs.state, results.media_type, results.body
FROM jobs LEFT JOIN results ON results.job_id = jobs.id
WHERE jobs.follower = :id ORDER BY jobs.chord_index
"""

# --- lists and counts ---

LIST = f"""
SELECT {JOB}, NULL AS failure, NULL AS has_steps
FROM jobs WHERE {{conditions}} AND seq > 0 ORDER BY {{order}} LIMIT :limit
"""

LIST_HANDLES = f"""
SELECT {JOB}, {HANDLE}, NULL AS failure, NULL AS has_steps
FROM handles JOIN jobs ON jobs.id = handles.job_id
WHERE {{conditions}} ORDER BY handles.seq DESC LIMIT :limit
"""

COUNT_STATE = "SELECT count(*) AS n FROM jobs WHERE state = :state AND seq > 0"

MESSAGES = """
SELECT message FROM jobs WHERE state = :state AND seq > 0 ORDER BY priority DESC, run_at, seq LIMIT :limit
"""

IDS = "SELECT id FROM jobs WHERE state = :state AND seq > 0"


class Reading:
    """Queries of one database's jobs. A `job_id` may be the id of a job, or of a handle of a shared run."""

    def __init__(self, database: Database) -> None:
        self.database = database

    # --- one job ---

    def job(self, job_id: str) -> Row | None:
        """Return a job's columns but its message, with the error in its result as `failure`. None for an unknown id."""
        with self.database.statement() as tx:
            row = tx.one(JOB_BY_ID, id=job_id, error=ERROR)
        return row if row is None or row["handle"] is None else as_seen_by_handle(row)

    def message(self, job_id: str) -> Row | None:
        """Return `message`. None for an unknown id."""
        with self.database.statement() as tx:
            return tx.one(MESSAGE, id=job_id)

    def ahead(self, job_id: str, most: int) -> int | None:
        """Return the number of queued jobs in the same queue that are claimed before this one, or None if it is not queued.

        :param most: stop counting at this number.
        """
        with self.database.statement() as tx:
            row = tx.one(JOBS_AHEAD, id=job_id, most=most)
        return None if row is None else min(int(row["n"]), most)

    def result(self, job_id: str) -> Row | None:
        """Return `id`, `state`, and `media_type` and `body` of the result. None for an unknown id.

        `id` is the run's if `job_id` is the id of a handle. `media_type` and `body` are None without a result.
        """
        with self.database.statement() as tx:
            return tx.one(RESULT, id=job_id)

    def has_ended(self, job_id: str) -> bool:
        """Return whether a job has ended, or a handle was cancelled. False for an unknown id."""
        with self.database.statement() as tx:
            return tx.one(ENDED, id=job_id) is not None

    def history(self, job_id: str) -> Row | None:
        """Return `created_at`, and `events` with one event a line. None for an unknown id."""
        with self.database.statement() as tx:
            return tx.one(HISTORY, id=job_id)

    def log(self, job_id: str) -> Row | None:
        """Return `lines`, which is None if nothing was logged. None for an unknown id."""
        with self.database.statement() as tx:
            return tx.one(LOG, id=job_id)

    def chord_members(self, callback_id: str) -> list[Row]:
        """Return the members of a chord in their order: `id`, `state`, and `media_type` and `body` of the result."""
        with self.database.statement() as tx:
            return tx.all(MEMBERS, id=callback_id)

    # --- lists and counts ---

    def jobs(self, *, task: str | None, state: str | None, owner: str | None, limit: int) -> list[Row]:
        """Return jobs, the newest first. None stands for any task, state or owner.

        A list of one owner contains the owner's handles in place of shared runs. Other lists contain each run once.
        """
        filters = {"task": task, "state": state, "owner": owner}
        names = [name for name, value in filters.items() if value is not None]
        conditions = " AND ".join(f"{name} = :{name}" for name in names)
        # The owner's shared runs are listed by their handles below.
        if owner is not None and state is not None:
            conditions += " AND unique_key IS NULL"
        order = "seq DESC"
        # With a range condition only one index has this order. With an equality, Postgres may scan all jobs instead.
        if len(names) == 1:
            (name,) = names
            conditions, order = f"{name} >= :{name} AND {name} <= :{name}", f"{name} DESC, seq DESC"
        with self.database.statement() as tx:
            jobs = tx.all(LIST.format(conditions=conditions or "TRUE", order=order), **filters, limit=limit)
        if owner is None:
            return jobs
        columns = {"task": "jobs.task", "state": STATE_OF_HANDLE, "owner": "handles.owner"}
        conditions = " AND ".join(f"{columns[name]} = :{name}" for name in names)
        with self.database.statement() as tx:
            handles = tx.all(LIST_HANDLES.format(conditions=conditions), **filters, limit=limit)
        plain = (row for row in jobs if row["unique_key"] is None)
        both = heapq.merge(
            plain, map(as_seen_by_handle, handles), key=lambda row: float(row["created_at"]), reverse=True
        )
        return list(itertools.islice(both, limit))

    def count(self, state: State) -> int:
        """Return the number of jobs in a state."""
        with self.database.statement() as tx:
            row = tx.one(COUNT_STATE, state=state)
            return int(row["n"]) if row else 0

    def messages(self, state: State, limit: int | None) -> list[bytes]:
        """Return the messages of jobs in a state, by priority and time. A limit of None means all."""
        with self.database.statement() as tx:
            return [
                row["message"] for row in tx.all(MESSAGES, state=state, limit=sys.maxsize if limit is None else limit)
            ]

    def ids(self, state: State) -> list[str]:
        """Return the ids of all jobs in a state."""
        with self.database.statement() as tx:
            return [row["id"] for row in tx.all(IDS, state=state)]

    def queues(self) -> list[str]:
        """Return the queues that have queued jobs."""
        with self.database.statement() as tx:
            return [row["value"] for row in tx.all(QUEUES, queues=None)]

    def any_queued_but(self, tasks: Sequence[str]) -> bool:
        """Return whether a job of another task than these is queued."""
        with self.database.statement() as tx:
            return not {row["task"] for row in tx.all(QUEUED_TASKS)} <= set(tasks)

    def connections(self) -> tuple[int, int] | None:
        """Return how many connections the database server has and may have. None if they are not limited."""
        if not self.database.dialect.connections:
            return None
        with self.database.statement() as tx:
            row = tx.one(self.database.dialect.connections)
            return None if row is None else (row["used"], row["most"])
