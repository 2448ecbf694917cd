"""Insert submitted jobs: their turns among the jobs of other owners, and the handles of unique jobs."""

import json
from collections.abc import Sequence
from typing import Any

from jobqueue.database.database import Transaction
from jobqueue.files.stored import name_files
from jobqueue.ledger.records import NewJob
from jobqueue.ledger.sql import FLOW, OPEN_STATES, SUBMITTED
from jobqueue.logs import well_formed

# Owners take turns within a queue and a priority; the lowest turn is claimed first. Jobs without an owner count as jobs of one
# owner. The turn of a new job is the greater of two:
#
# - One more than the turn of its owner's last queued job.
# - The turn that the queue has reached (`front`): that of the job that runs or, if lower, of the first queued job. It is one more
#   for jobs without an owner, and if the owner's last job had that turn or a later one. If nothing is queued, the queue has reached
#   the time in microseconds, which exceeds all earlier turns.
#
# The query for an owner's last job uses a range condition (>= and <=), because only the index of owners has that order. With an
# equality, Postgres may scan all jobs instead.
IN_TURNS = "turn >= 0 AND queue = :queue AND priority = :priority"

TURN = f"""
SELECT max(turn) FROM (
    SELECT max(turn) + 1 AS turn FROM jobs
    WHERE state = 'queued' AND created_at > 0 AND queue = :queue AND priority = :priority AND {FLOW} = COALESCE(:owner, '')
    UNION ALL
    SELECT turn + CASE WHEN COALESCE(:owner, '') = ''
                         OR turn <= (SELECT CASE WHEN queue = :queue AND priority = :priority THEN turn END
                                     FROM jobs WHERE owner >= :owner AND owner <= :owner AND seq > 0
                                     ORDER BY owner DESC, seq DESC LIMIT 1)
                       THEN 1 ELSE 0 END
    FROM (SELECT CASE WHEN waits IS NULL THEN CAST(NOW * 1000000 AS bigint) WHEN runs < waits THEN runs ELSE waits END AS turn
          FROM (SELECT (SELECT min(turn) FROM jobs WHERE state = 'queued' AND {IN_TURNS}) AS waits,
                       (SELECT max(turn) FROM jobs WHERE state = 'running' AND {IN_TURNS}) AS runs) AS ends) AS front
) AS turns
"""

# Insert nothing if the id is known, or if an open run has the job's key.
INSERT_EACH = f"""
INSERT INTO jobs (id, task, queue, turn, state, priority, owner, message, run_at, queued_at, expires_at, retries,
                  retry_delay, attempt, losses, returns, follower,
                  chord_index, counted, pending, follows, chord_size, note, error, created_at, unique_key, events)
SELECT :id, :task, :queue, COALESCE(:turn, ({TURN})),
       CASE WHEN :pending > 0 THEN 'waiting' WHEN due > NOW THEN 'scheduled' ELSE 'queued' END,
       :priority, :owner, :message, due, NOW, COALESCE(:expires_at, NOW + :expires_in), :retries, :retry_delay,
       0, 0, 0, :follower, :chord_index, FALSE, :pending, :follows, :chord_size, '', '', NOW, :unique_key, {SUBMITTED}
FROM (SELECT COALESCE(:run_at, NOW + :run_in) AS due) AS start
WHERE TRUE
ON CONFLICT DO NOTHING
"""

INSERT = f"{INSERT_EACH} RETURNING turn"

# Each submission of a unique job has a handle. The handles share a run.
NEW_HANDLE = """
INSERT INTO handles (id, job_id, owner, created_at)
SELECT :handle, :id, :owner, NOW WHERE NOT EXISTS (SELECT 1 FROM jobs WHERE id = :handle)
ON CONFLICT (id) DO NOTHING
"""

# Lock the run, so that it neither ends nor loses its last handle before the new handle joins it.
OPEN_RUN = f"""
SELECT id FROM jobs WHERE unique_key = :unique_key AND state IN {OPEN_STATES} FOR UPDATE
"""

# Do not lock this run. The caller holds an open run with the same key, and a transaction that waits for that run may hold this one.
RECENT_RUN = """
SELECT id FROM jobs WHERE unique_key = :unique_key AND state = 'succeeded' AND ended_at > NOW - :cache_for
ORDER BY ended_at DESC LIMIT 1
"""

DELETE_UNUSED_RUN = "DELETE FROM jobs WHERE id = :id"

POINT_HANDLE_AT_RUN = "UPDATE handles SET job_id = :run WHERE id = :id"


def insert(tx: Transaction, jobs: Sequence[NewJob]) -> None:
    """Insert jobs. Leave out those whose id is known.

    Jobs of one queue, priority and owner take consecutive turns, so only the first of them needs a query for its turn.

    :raises FileMissing: if a file in the arguments is not stored any more. The caller's transaction then changes nothing.
    """
    turns: dict[tuple[str, float, str | None], int] = {}  # the last turn of each queue, priority and owner
    batch: list[dict[str, Any]] = []  # jobs whose turn is known, to insert in one round trip
    for job in jobs:
        line = job.queue, job.priority, job.owner
        if job.handle is not None:
            continue
        if line in turns:
            turns[line] += 1
            batch.append(vars(job) | {"turn": turns[line]})
            continue
        tx.run_each(INSERT_EACH, batch)
        batch = []
        if (row := tx.one(INSERT, turn=None, **vars(job))) is not None:
            turns[line] = row["turn"]
    tx.run_each(INSERT_EACH, batch)
    # Take the locks of runs in the order of their keys, so that two transactions with the same keys do not deadlock.
    for job in sorted((job for job in jobs if job.handle is not None), key=lambda job: job.unique_key or ""):
        _insert_shared(tx, job)
    for job in sorted((job for job in jobs if job.files), key=lambda job: sorted(job.files)):  # for the same reason
        name_files(tx, job.id, job.files)


def _insert_shared(tx: Transaction, job: NewJob) -> None:
    """Insert a handle that shares the run with the job's key, or has a new run."""
    if not tx.run(NEW_HANDLE, handle=job.handle, id=job.id, owner=job.owner):
        return
    while True:
        if tx.one(INSERT, turn=None, **vars(job)) is None:
            run = tx.one(OPEN_RUN, unique_key=job.unique_key)
            if run is None:
                continue  # the open run has just ended
        elif job.cache_for is None:
            return
        else:  # the new run blocks others with this key, so no recent run can appear after this query
            run = tx.one(RECENT_RUN, unique_key=job.unique_key, cache_for=job.cache_for)
            if run is None:
                return
            tx.run(DELETE_UNUSED_RUN, id=job.id)
        tx.run(POINT_HANDLE_AT_RUN, id=job.handle, run=run["id"])
        return


def request_of(events: str) -> str | None:
    """Return the id of the request that submitted a job, or None if no request did. `events`: at least the first line."""
    try:
        name, _, _, *pairs = json.loads(events.partition("\n")[0])
    except ValueError:  # no event yet, or a line that was cut off
        return None
    return well_formed(pairs[1]) if name == "submitted" else None
