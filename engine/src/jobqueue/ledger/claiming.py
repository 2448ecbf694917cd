"""Attempt the next job: which one that is, and the statement that gives it to a worker.

One statement picks the best job of the worker's queues and tasks and marks it running under the worker's token. Where
concurrency limits apply, the transaction counts the running jobs first.
"""

from typing import Any

from jobqueue.database.database import Database, Row, Transaction
from jobqueue.ledger.limits import ConcurrencyLimits
from jobqueue.ledger.records import ClaimRequest
from jobqueue.ledger.sql import event
from jobqueue.ledger.submitting import FLOW

# What a claim takes is the best of the first jobs of each queue and task: a step of the index for each, however many jobs
# wait, and however many before them are of tasks that this code does not know. Where owners have a cap it is a step for
# each owner who waits, too. Between queues the one that was served the longest ago comes first.
QUEUES = """
WITH RECURSIVE queued (value) AS (
    SELECT min(queue) FROM jobs WHERE state = 'queued' AND attempt >= 0 AND LEFT OUT(:queues)
    UNION ALL
    SELECT (SELECT min(queue) FROM jobs WHERE state = 'queued' AND attempt >= 0 AND queue > queued.value) FROM queued
    WHERE queued.value IS NOT NULL)
SELECT value FROM queued WHERE value IS NOT NULL UNION ALL SELECT value FROM EACH(:queues) AS served
"""

LINES = f"""
SELECT served.value AS queue, known.value AS task FROM ({QUEUES}) AS served CROSS JOIN EACH(:tasks) AS known
"""

IN_LINE = "state = 'queued' AND jobs.queue = line.queue AND jobs.task = line.task"

NEXT_OWNER = f"""
SELECT {FLOW} FROM jobs WHERE losses >= 0 AND {IN_LINE} AND {FLOW} > line.flow ORDER BY {FLOW} LIMIT 1
"""

LINES_OF_OWNERS = f"""
WITH RECURSIVE line (queue, task, flow) AS (
    SELECT line.queue, line.task, ({NEXT_OWNER.replace("> line.flow", ">= ''")}) FROM ({LINES}) AS line
    UNION ALL
    SELECT line.queue, line.task, ({NEXT_OWNER}) FROM line WHERE line.flow IS NOT NULL)
SELECT queue, task, flow FROM line WHERE flow IS NOT NULL AND NOT flow IN EACH(:full)
"""

IN_LINE_OF_OWNER = f"losses >= 0 AND {IN_LINE} AND {FLOW} = line.flow"
_FIRST = "SELECT seq, priority, turn FROM jobs WHERE {in_line} ORDER BY priority DESC, turn, seq LIMIT 1"

_NEXT = f"""
SELECT free.seq
FROM (SELECT line.*, first.seq, first.priority, first.turn, PLACE(queue, :lately) AS place
      FROM ({{lines}}) AS line CROSS JOIN LATERAL ({_FIRST}) AS first
      ORDER BY priority DESC, place, turn, seq) AS line
CROSS JOIN LATERAL ({_FIRST} FOR UPDATE SKIP LOCKED) AS free
ORDER BY line.priority DESC, line.place, line.turn, line.seq LIMIT 1
"""  # where another claim takes the first, the one after it; nothing else is locked

_NEXT_FOR_ONE_WRITER = f"""
SELECT seq FROM jobs WHERE seq IN (SELECT (SELECT seq FROM ({_FIRST})) FROM ({{lines}}) AS line)
ORDER BY priority DESC, PLACE(queue, :lately), turn, seq LIMIT 1
"""

_OF_TASKS = {"lines": LINES, "in_line": f"attempt >= 0 AND {IN_LINE}"}
_OF_OWNERS = {"lines": LINES_OF_OWNERS, "in_line": IN_LINE_OF_OWNER}
NEXT = _NEXT.format(**_OF_TASKS)
NEXT_WITHIN_CAPS = _NEXT.format(**_OF_OWNERS)
NEXT_FOR_ONE_WRITER = _NEXT_FOR_ONE_WRITER.format(**_OF_TASKS)
NEXT_WITHIN_CAPS_FOR_ONE_WRITER = _NEXT_FOR_ONE_WRITER.format(**_OF_OWNERS)

CLAIM_STATEMENT = f"""
UPDATE jobs
SET state = 'running', attempt = attempt + 1, token = :token, consumer = :consumer, worker = :worker, claimed_at = NOW,
    lease_until = NOW + :lease, events = {event("claimed", attempt="attempt + 1", host=":host", worker=":worker")}
WHERE {{provided}}seq = ({{next}})
RETURNING id, task, queue, owner, follower, message, attempt, retries, retry_delay, expires_at, follows, chord_size,
          due_at,
          NOW AS now,
          EXISTS (SELECT 1 FROM entries WHERE key IN ('r:' || id, 'rt:' || task)) AS revoked
"""

CLAIM = CLAIM_STATEMENT.format(provided="", next=NEXT)
CLAIM_FOR_ONE_WRITER = CLAIM_STATEMENT.format(provided="", next=NEXT_FOR_ONE_WRITER)
CLAIM_WITHIN_CAPS = CLAIM_STATEMENT.format(provided="", next=NEXT_WITHIN_CAPS)
CLAIM_WITHIN_CAPS_FOR_ONE_WRITER = CLAIM_STATEMENT.format(provided="", next=NEXT_WITHIN_CAPS_FOR_ONE_WRITER)
COUNT_RUNNING = (
    "SELECT task, owner, count(*) AS n FROM jobs WHERE state = 'running' AND consumer >= '' GROUP BY task, owner"
)
LOCK_LIMIT = "SELECT pg_advisory_xact_lock(hashtextextended('jobqueue ' || :name, 0))"


class _Taken(Exception):
    """The last place went to another claim."""


def claim_next(database: Database, limits: ConcurrencyLimits, asking: ClaimRequest) -> Row | None:
    """The next job of these tasks, now running under the token; None where there is none that may run now."""
    where, claim = asking.where, asking.claimant | {"token": asking.token}
    if limits.any_of(asking.tasks):
        return _claim_within_limits(database, limits, where, claim)
    statement = CLAIM
    with database.statement() as tx:
        if database.dialect.one_writer:
            if tx.one(NEXT_FOR_ONE_WRITER, **where) is None:
                return None
            statement = CLAIM_FOR_ONE_WRITER
        return tx.one(statement, **where, **claim)


def _claim_within_limits(
    database: Database, limits: ConcurrencyLimits, where: dict[str, Any], claim: dict[str, Any]
) -> Row | None:
    """Two claims at the same moment may both see the last place free: each asks again when the other is done."""
    one_writer = database.dialect.one_writer
    following, statement = {
        (False, False): (NEXT, CLAIM),
        (False, True): (NEXT_WITHIN_CAPS, CLAIM_WITHIN_CAPS),
        (True, False): (NEXT_FOR_ONE_WRITER, CLAIM_FOR_ONE_WRITER),
        (True, True): (NEXT_WITHIN_CAPS_FOR_ONE_WRITER, CLAIM_WITHIN_CAPS_FOR_ONE_WRITER),
    }[one_writer, limits.per_owner is not None]

    def free(tx: Transaction) -> dict[str, Any]:
        tasks, owners = limits.full(tx.all(COUNT_RUNNING))
        where_free = where | {"tasks": [task for task in where["tasks"] if task not in tasks]}
        return where_free if limits.per_owner is None else where_free | {"full": sorted(owners)}

    if one_writer:  # nobody else writes meanwhile, but looks come before writes
        with database.statement() as tx:
            if tx.one(following, **free(tx)) is None:
                return None
        with database.transaction() as tx:
            return tx.one(statement, **free(tx), **claim)
    while True:
        try:
            with database.transaction() as tx:
                row = tx.one(statement, **free(tx), **claim)
                if row is not None:
                    _check_place(tx, limits, row)
                return row
        except _Taken:
            pass


def _check_place(tx: Transaction, limits: ConcurrencyLimits, row: Row) -> None:
    """Raises _Taken where a claim that was committed meanwhile has the last place."""
    task, owner = row["task"], row["owner"]
    places = [f"task {task}"] if task in limits.of_task else []
    places += [f"owner {owner}"] if limits.per_owner is not None and owner is not None else []
    for place in places:  # tasks before owners: nobody waits for one who waits for him
        tx.one(LOCK_LIMIT, name=place)
    if places:
        tasks, owners = limits.full(tx.all(COUNT_RUNNING), spare=1)  # with this one
        if task in tasks or owner in owners:
            raise _Taken
