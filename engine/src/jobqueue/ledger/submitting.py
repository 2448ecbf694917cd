"""Insert jobs: their turn among the jobs of other owners, and the handles of unique ones."""

from collections.abc import Sequence
from typing import Any

from jobqueue.database.database import Transaction
from jobqueue.ledger.records import NewJob
from jobqueue.ledger.sql import OPEN_STATES

# Owners take turns. A job's turn is the one after its owner's last in that queue and priority; an owner with nothing
# queued there comes in where the queue has got to (`front`), or one turn later if its last job was there already. It has got
# to the turn that runs, or to the first that waits if that is less; when nothing waits, to the time in microseconds, which is
# later than all turns before. Jobs without an owner are those of one owner. (An owner's last job is asked for by a range, which
# only the index of owners has in this order: else Postgres may walk all jobs back to it.)
FLOW = "COALESCE(owner, '')"

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

INSERT_EACH = f"""
INSERT INTO jobs (id, task, queue, turn, state, priority, owner, message, run_at, queued_at, expires_at, retries,
                  retry_delay, attempt, losses, returns, follower,
                  chord_index, counted, pending, follows, chord_size, note, error, created_at, unique_key)
SELECT :id, :task, :queue, COALESCE(:turn, ({TURN})),
       CASE WHEN :pending > 0 THEN 'waiting' WHEN due > NOW THEN 'scheduled' ELSE 'queued' END,
       :priority, :owner, :message, due, NOW, COALESCE(:expires_at, NOW + :expires_in), :retries, :retry_delay,
       0, 0, 0, :follower, :chord_index, FALSE, :pending, :follows, :chord_size, '', '', NOW, :unique_key
FROM (SELECT COALESCE(:run_at, NOW + :run_in) AS due) AS start
WHERE TRUE
ON CONFLICT DO NOTHING
"""  # the id is known, or a run with its key has not ended

INSERT = f"{INSERT_EACH} RETURNING turn"


# Each submission of a unique job has a handle; the handles share a run.
NEW_HANDLE = """
INSERT INTO handles (id, job_id, owner, created_at)
SELECT :handle, :id, :owner, NOW WHERE NOT EXISTS (SELECT 1 FROM jobs WHERE id = :handle)
ON CONFLICT (id) DO NOTHING
"""

OPEN_RUN = f"""
SELECT id FROM jobs WHERE unique_key = :unique_key AND state IN {OPEN_STATES} FOR UPDATE
"""  # locked, so that it does not end, and is not let go by all others, before it has one more

RECENT_RUN = """
SELECT id FROM jobs WHERE unique_key = :unique_key AND state = 'succeeded' AND ended_at > NOW - :cache_for
ORDER BY ended_at DESC LIMIT 1
"""  # not locked: who looks for it has a run with the key, and who waits to have one may hold a lock on that

DELETE_UNUSED_RUN = "DELETE FROM jobs WHERE id = :id"

POINT_HANDLE_AT_RUN = "UPDATE handles SET job_id = :run WHERE id = :id"


def insert(tx: Transaction, jobs: Sequence[NewJob]) -> None:
    turns: dict[tuple[str, float, str | None], int] = {}  # the last, of jobs that take turns with others
    following: list[dict[str, Any]] = []  # those whose turn follows from that of one before them, to go together
    for job in jobs:
        line = job.queue, job.priority, job.owner
        if job.handle is not None:
            continue
        if line in turns:
            turns[line] += 1
            following.append(vars(job) | {"turn": turns[line]})
            continue
        tx.run_each(INSERT_EACH, following)
        following = []
        if (row := tx.one(INSERT, turn=None, **vars(job))) is not None:
            turns[line] = row["turn"]
    tx.run_each(INSERT_EACH, following)
    # In the order of their keys: who submits the same in another order waits, and does not hold what this one waits for.
    for job in sorted((job for job in jobs if job.handle is not None), key=lambda job: job.unique_key or ""):
        insert_shared(tx, job)


def insert_shared(tx: Transaction, job: NewJob) -> None:
    """A handle, of the run that has its key, or of a new one."""
    if not tx.run(NEW_HANDLE, handle=job.handle, id=job.id, owner=job.owner):
        return
    while True:
        if tx.one(INSERT, turn=None, **vars(job)) is None:
            run = tx.one(OPEN_RUN, unique_key=job.unique_key)
            if run is None:
                continue  # it has ended since
        elif job.cache_for is None:
            return
        else:  # looked for when nobody else can begin or end one with this key
            run = tx.one(RECENT_RUN, unique_key=job.unique_key, cache_for=job.cache_for)
            if run is None:
                return
            tx.run(DELETE_UNUSED_RUN, id=job.id)
        tx.run(POINT_HANDLE_AT_RUN, id=job.handle, run=run["id"])
        return
