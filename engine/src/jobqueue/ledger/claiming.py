"""Claim the next job for a worker.

One statement picks the best job of the worker's queues and tasks, and marks it as running under the worker's token. If concurrency
limits apply, a transaction first counts the running jobs.
"""

from typing import Any

from jobqueue.database.database import Database, Row, Transaction
from jobqueue.ledger.limits import ConcurrencyLimits
from jobqueue.ledger.records import ClaimRequest
from jobqueue.ledger.sql import FIRST_EVENT, FLOW, QUEUES, event

# A line is the queued jobs of one queue and one task; with a limit for owners, of one owner too. A claim compares the first jobs of
# the lines. So it takes one index lookup for each line, however many jobs wait, and however many are of tasks that the worker does
# not know. At equal priority, the queue that the worker served the longest ago comes first, then the lowest turn.

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

# If another claim has locked the first job of a line, take the next one of that line. Lock no other row.
_NEXT = f"""
SELECT free.seq
FROM (SELECT line.*, first.seq, first.priority, first.turn, PLACE(queue, :lately) AS place
      FROM ({{lines}}) AS line CROSS JOIN LATERAL ({_FIRST}) AS first
      ORDER BY priority DESC, place, turn, seq) AS line
CROSS JOIN LATERAL ({_FIRST} FOR UPDATE SKIP LOCKED) AS free
ORDER BY line.priority DESC, line.place, line.turn, line.seq LIMIT 1
"""

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
          due_at, {FIRST_EVENT},
          NOW AS now,
          EXISTS (SELECT 1 FROM entries WHERE key IN ('r:' || id, 'rt:' || task)) AS revoked
"""

CLAIM = CLAIM_STATEMENT.format(provided="", next=NEXT)
CLAIM_FOR_ONE_WRITER = CLAIM_STATEMENT.format(provided="", next=NEXT_FOR_ONE_WRITER)
CLAIM_WITHIN_CAPS = CLAIM_STATEMENT.format(provided="", next=NEXT_WITHIN_CAPS)
CLAIM_WITHIN_CAPS_FOR_ONE_WRITER = CLAIM_STATEMENT.format(provided="", next=NEXT_WITHIN_CAPS_FOR_ONE_WRITER)


def claim_next(database: Database, limits: ConcurrencyLimits, request: ClaimRequest) -> Row | None:
    """Claim the best job that matches the request. Return its row, or None if no job may run now."""
    where, claim = request.where, request.claimant | {"token": request.token}
    if limits.apply_to(request.tasks):
        return _claim_within_limits(database, limits, where, claim)
    statement = CLAIM
    with database.statement() as tx:
        if database.dialect.one_writer:
            if tx.one(NEXT_FOR_ONE_WRITER, **where) is None:
                return None
            statement = CLAIM_FOR_ONE_WRITER
        return tx.one(statement, **where, **claim)


# --- with concurrency limits ---

COUNT_RUNNING = (
    "SELECT task, owner, count(*) AS n FROM jobs WHERE state = 'running' AND consumer >= '' GROUP BY task, owner"
)

LOCK_LIMIT = "SELECT pg_advisory_xact_lock(hashtextextended('jobqueue ' || :name, 0))"


class _LimitReached(Exception):
    """A claim that was committed meanwhile has reached the limit."""


def _claim_within_limits(
    database: Database, limits: ConcurrencyLimits, where: dict[str, Any], claim: dict[str, Any]
) -> Row | None:
    """Claim a job of the tasks and owners that are below their limits.

    Two concurrent claims may both count one job too few. So each counts again under a lock, and starts over if it was one too many.
    """
    one_writer = database.dialect.one_writer
    find, statement = {
        (False, False): (NEXT, CLAIM),
        (False, True): (NEXT_WITHIN_CAPS, CLAIM_WITHIN_CAPS),
        (True, False): (NEXT_FOR_ONE_WRITER, CLAIM_FOR_ONE_WRITER),
        (True, True): (NEXT_WITHIN_CAPS_FOR_ONE_WRITER, CLAIM_WITHIN_CAPS_FOR_ONE_WRITER),
    }[one_writer, limits.per_owner is not None]

    def below_limits(tx: Transaction) -> dict[str, Any]:
        full_tasks, full_owners = limits.full(tx.all(COUNT_RUNNING))
        parameters = where | {"tasks": [task for task in where["tasks"] if task not in full_tasks]}
        return parameters if limits.per_owner is None else parameters | {"full": sorted(full_owners)}

    if one_writer:  # a write transaction sees a stable count, but blocks other writers: look first
        with database.statement() as tx:
            if tx.one(find, **below_limits(tx)) is None:
                return None
        with database.transaction() as tx:
            return tx.one(statement, **below_limits(tx), **claim)
    while True:
        try:
            with database.transaction() as tx:
                row = tx.one(statement, **below_limits(tx), **claim)
                if row is not None:
                    _check_limits(tx, limits, row)
                return row
        except _LimitReached:
            pass


def _check_limits(tx: Transaction, limits: ConcurrencyLimits, row: Row) -> None:
    """Count again, under a lock, with the job that was just claimed.

    :raises _LimitReached: if its task or its owner is now above the limit.
    """
    task, owner = row["task"], row["owner"]
    locks = [f"task {task}"] if task in limits.of_task else []
    locks += [f"owner {owner}"] if limits.per_owner is not None and owner is not None else []
    for lock in locks:  # always the task first, so that two claims do not deadlock
        tx.one(LOCK_LIMIT, name=lock)
    if locks:
        full_tasks, full_owners = limits.full(tx.all(COUNT_RUNNING), spare=1)  # 1: the count includes this job
        if task in full_tasks or owner in full_owners:
            raise _LimitReached
