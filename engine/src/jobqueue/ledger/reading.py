"""Read jobs: one with its result, history and log, or a list. Nothing here changes a job."""

import heapq
import itertools
import sys
from collections.abc import Sequence

from jobqueue.database.database import Database, Row
from jobqueue.ledger.claiming import QUEUES
from jobqueue.ledger.records import ERROR
from jobqueue.ledger.shared_runs import as_seen_by_handle
from jobqueue.ledger.sql import ENDED_STATES, HANDLE, JOB, RUN, STATE_OF_HANDLE
from jobqueue.ledger.states import State

LOG = f"SELECT logs.lines FROM jobs LEFT JOIN logs ON logs.job_id = jobs.id WHERE jobs.id = {RUN}"

JOB_BY_ID = f"""
SELECT {JOB}, {HANDLE}, results.body AS failure, EXISTS (SELECT 1 FROM steps WHERE steps.job_id = jobs.id) AS has_steps
FROM jobs LEFT JOIN results ON results.job_id = jobs.id AND results.media_type = :error
LEFT JOIN handles ON handles.id = :id
WHERE jobs.id = {RUN}
"""

JOBS_AHEAD = f"""
SELECT (SELECT count(*) FROM (
            SELECT 1 FROM jobs WHERE state = 'queued' AND turn >= 0 AND queue = job.queue AND priority > job.priority
            ORDER BY priority, turn LIMIT :most) AS more_urgent) +
       (SELECT count(*) FROM (
            SELECT 1 FROM jobs WHERE state = 'queued' AND turn >= 0 AND queue = job.queue AND priority = job.priority
              AND turn <= job.turn AND (turn < job.turn OR seq < job.seq)
            ORDER BY turn LIMIT :most) AS earlier) AS n
FROM jobs AS job WHERE id = {RUN} AND state = 'queued'
"""  # as a claim takes those of one queue, whatever their tasks; the orders are those of the index of all turns

RESULT = f"""
SELECT {STATE_OF_HANDLE} AS state, jobs.error, results.media_type, results.body
FROM jobs LEFT JOIN handles ON handles.id = :id
LEFT JOIN results ON results.job_id = jobs.id AND handles.let_go_at IS NULL
WHERE jobs.id = {RUN}
"""

ENDED = f"""
SELECT 1 FROM jobs
WHERE id = {RUN}
  AND (state IN {ENDED_STATES} OR EXISTS (SELECT 1 FROM handles WHERE id = :id AND let_go_at IS NOT NULL))
"""

HISTORY = f"SELECT created_at, events FROM jobs WHERE id = {RUN}"

MEMBERS = """
SELECT jobs.id, jobs.state, jobs.error, results.media_type, results.body
FROM jobs LEFT JOIN results ON results.job_id = jobs.id
WHERE jobs.follower = :id ORDER BY jobs.chord_index
"""

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


QUEUED_TASKS = """
WITH RECURSIVE queued (task) AS (
    SELECT min(task) FROM jobs WHERE state = 'queued' AND queued_at > 0
    UNION ALL
    SELECT (SELECT min(task) FROM jobs WHERE state = 'queued' AND queued_at > 0 AND task > queued.task) FROM queued
    WHERE queued.task IS NOT NULL)
SELECT task FROM queued WHERE task IS NOT NULL
"""  # a step of the index a task, however many jobs wait


class Reading:
    """Reads of one database's jobs. Each method is one query."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def job(self, job_id: str) -> Row | None:
        with self.database.statement() as tx:
            row = tx.one(JOB_BY_ID, id=job_id, error=ERROR)
        return row if row is None or row["handle"] is None else as_seen_by_handle(row)

    def ahead(self, job_id: str, most: int) -> int | None:
        """How many queued jobs of its queue come before it, counted to `most`; None if it is not queued."""
        with self.database.statement() as tx:
            row = tx.one(JOBS_AHEAD, id=job_id, most=most)
        return None if row is None else min(int(row["n"]), most)

    def history(self, job_id: str) -> Row | None:
        """`created_at`, and `events` in lines."""
        with self.database.statement() as tx:
            return tx.one(HISTORY, id=job_id)

    def log(self, job_id: str) -> Row | None:
        """`lines`, which is None where nothing was logged."""
        with self.database.statement() as tx:
            return tx.one(LOG, id=job_id)

    def result(self, job_id: str) -> Row | None:
        """State, and media type and body where there is a result; None for an unknown id."""
        with self.database.statement() as tx:
            return tx.one(RESULT, id=job_id)

    def has_ended(self, job_id: str) -> bool:
        with self.database.statement() as tx:
            return tx.one(ENDED, id=job_id) is not None

    def chord_members(self, callback_id: str) -> list[Row]:
        """A chord's members in their order: state, error, and result where there is one."""
        with self.database.statement() as tx:
            return tx.all(MEMBERS, id=callback_id)

    def jobs(self, *, task: str | None, state: str | None, owner: str | None, limit: int) -> list[Row]:
        """Newest first. An owner has handles, and of a shared run these; else a run is one job."""
        wanted = {"task": task, "state": state, "owner": owner}
        asked = [name for name, value in wanted.items() if value is not None]
        conditions = " AND ".join(f"{name} = :{name}" for name in asked)
        # An owner's by state: or else a handle for each run, so that these can be left out later.
        if owner is not None and state is not None:
            conditions += " AND unique_key IS NULL"
        order = "seq DESC"
        # By a range, as only one index has this order: else Postgres may walk through all jobs back to these.
        if len(asked) == 1:
            (name,) = asked
            conditions, order = f"{name} >= :{name} AND {name} <= :{name}", f"{name} DESC, seq DESC"
        with self.database.statement() as tx:
            jobs = tx.all(LIST.format(conditions=conditions or "TRUE", order=order), **wanted, limit=limit)
        if owner is None:
            return jobs
        columns = {"task": "jobs.task", "state": STATE_OF_HANDLE, "owner": "handles.owner"}
        conditions = " AND ".join(f"{columns[name]} = :{name}" for name in asked)
        with self.database.statement() as tx:
            shared = tx.all(LIST_HANDLES.format(conditions=conditions), **wanted, limit=limit)
        alone = (row for row in jobs if row["unique_key"] is None)
        both = heapq.merge(
            alone, map(as_seen_by_handle, shared), key=lambda row: float(row["created_at"]), reverse=True
        )
        return list(itertools.islice(both, limit))

    def connections(self) -> tuple[int, int] | None:
        """How many the database's server has, and may have; None where that does not matter."""
        if not self.database.dialect.connections:
            return None
        with self.database.statement() as tx:
            row = tx.one(self.database.dialect.connections)
            return None if row is None else (row["used"], row["most"])

    def count(self, state: State) -> int:
        with self.database.statement() as tx:
            row = tx.one(COUNT_STATE, state=state)
            return int(row["n"]) if row else 0

    def messages(self, state: State, limit: int | None) -> list[bytes]:
        with self.database.statement() as tx:
            return [
                row["message"] for row in tx.all(MESSAGES, state=state, limit=sys.maxsize if limit is None else limit)
            ]

    def ids(self, state: State) -> list[str]:
        with self.database.statement() as tx:
            return [row["id"] for row in tx.all(IDS, state=state)]

    def any_queued_but(self, tasks: Sequence[str]) -> bool:
        """Whether a job of another task than these is queued."""
        with self.database.statement() as tx:
            return not {row["task"] for row in tx.all(QUEUED_TASKS)} <= set(tasks)

    def queues(self) -> list[str]:
        """Those in which jobs are queued."""
        with self.database.statement() as tx:
            return [row["value"] for row in tx.all(QUEUES, queues=None)]
