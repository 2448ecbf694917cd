"""Functions that fill a ledger like years of use, in SQL, because a million submits would take too long.

The numbers of cancelled jobs, of jobs of the owner ANN and of the task RARE do not depend on the length of the history.
Lists of these must not cost more in a long history either.
"""

import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager

from jobqueue.database.database import Transaction
from jobqueue.ledger.ledger import Ledger
from jobqueue.ledger.states import State

ANN = "ann"
RARE = "app.jobs.rare"
FEW = 90  # jobs of each of these: enough that statistics from a sample do not say that one page holds them all

# Of ten jobs in a row, one is a callback, and the last eight are the members of its chord.
FINISHED = """
INSERT INTO jobs (id, task, state, priority, owner, message, run_at, queued_at, expires_at, retries, retry_delay, token,
                  consumer, worker, claimed_at, lease_until, attempt, losses, returns, follower, chord_index, counted,
                  pending, follows, chord_size, done, total, note, error, created_at, ended_at, unique_key)
SELECT ID(n), CASE n % :stride WHEN 1 THEN :rare ELSE 'app.jobs.task_' || (n % 20) END,
       CASE WHEN n % :stride = 2 THEN 'cancelled' WHEN n % 16 = 3 THEN 'failed' ELSE 'succeeded' END, n % 3,
       CASE WHEN n % :stride = 4 THEN :ann WHEN n % 4 > 0 THEN 'owner-' || (n % 997) END, :message, NULL,
       NOW - :every * (:count - n + 1), NULL,
       0, 0, NULL, 'consumer-' || (n % 7), 'worker-' || (n % 4), NOW - :every * (:count - n + 1), NULL, 1, 0, 0,
       CASE WHEN n % 10 > 1 THEN ID(n - n % 10) END, CASE WHEN n % 10 > 1 THEN n % 10 - 2 END, n % 10 > 1, 0, NULL,
       CASE n % 10 WHEN 0 THEN 8 END, 12, 12, 'fetching prices',
       CASE WHEN n % 16 = 3 THEN 'ValueError: no price on day ' || n ELSE '' END, NOW - :every * (:count - n + 1),
       NOW - :every * (:count - n + 1) + 3,
       CASE n % 10 WHEN 9 THEN 'key-' || (n % 9973) END
FROM SERIES(:count)
"""
RESULTS = """
INSERT INTO results (job_id, media_type, body, saved_at)
SELECT id, 'application/json', :body, ended_at FROM jobs WHERE state = 'succeeded' AND seq % 3 > 0
"""
STEPS = """
INSERT INTO steps (job_id, name, media_type, body, saved_at)
SELECT id, 'prices', 'application/json', :body, ended_at FROM jobs WHERE state = 'succeeded' AND seq % 20 = 0
"""
HANDLES = """
INSERT INTO handles (id, job_id, owner, created_at)
SELECT 'handle-' || id, id, CASE WHEN seq % :stride = 9 THEN :ann ELSE owner END, created_at
FROM jobs WHERE unique_key IS NOT NULL
"""
ENTRIES = """
INSERT INTO entries (key, value) SELECT 'r:' || id, :body FROM jobs WHERE state = 'cancelled' OR seq % 100 = 0
"""
WAITING = """
INSERT INTO jobs (id, task, state, priority, owner, message, run_at, queued_at, retries, retry_delay, attempt, losses,
                  returns, counted, pending, note, error, created_at)
SELECT :name || ID(n), :task || (n % 8), :state, n % 3, 'owner-' || (n % 997), :message,
       CASE :state WHEN 'scheduled' THEN NOW + 99999 + n END, NOW, 0, 0, 0, 0, 0, FALSE, 0, '', '', NOW
FROM SERIES(:count)
"""

MESSAGE = secrets.token_bytes(300)  # as long as Huey's message for a task with a few arguments
BODY = secrets.token_bytes(200)


def finish(ledger: Ledger, count: int, every: float = 9) -> None:
    """Add `count` finished jobs, one for each `every` seconds."""
    with patient(ledger) as tx:
        in_series = {"message": MESSAGE, "rare": RARE, "ann": ANN, "stride": count // FEW}
        tx.run(spelled(ledger, FINISHED), count=count, every=every, **in_series)
        tx.run(HANDLES, ann=ANN, stride=count // FEW)
        for statement in (RESULTS, STEPS, ENTRIES):
            tx.run(statement, body=BODY)
    tidy(ledger)


def pile_up(ledger: Ledger, count: int, state: State, task: str) -> None:
    """Add `count` waiting jobs of eight tasks in turn. The database has no statistics of them yet."""
    with patient(ledger) as tx:
        named = {"name": f"{state}-{task}-", "task": task, "state": state, "message": MESSAGE}
        tx.run(spelled(ledger, WAITING), count=count, **named)


def tidy(ledger: Ledger) -> None:
    """Update the statistics, as a server's autovacuum would. Do nothing on SQLite, where nobody runs ANALYZE.

    Sample ten times as many rows as by default. In a small sample, RARE sometimes has so few jobs that Postgres reads and sorts all of
    them for a list.
    """
    if not ledger.database.dialect.one_writer:
        with patient(ledger) as tx:
            tx.run("SET default_statistics_target = 1000")
            tx.run("VACUUM (ANALYZE)")


@contextmanager
def patient(ledger: Ledger) -> Iterator[Transaction]:
    """Yield an autocommit transaction whose statements may take longer than a ledger's."""
    ledger.database.migrate()
    with closing(ledger.database.connect()) as connection:
        if not ledger.database.dialect.one_writer:
            connection.patient = True
        yield Transaction(ledger.database.dialect, ledger.database.dialect.cursor(connection))


def spelled(ledger: Ledger, sql: str) -> str:
    """Expand two macros: ID(n) is a number's random-looking id, and SERIES(count) is the numbers 1 to count as `n`."""
    if ledger.database.dialect.one_writer:
        number = "printf('%08x', ({}) * 2654435761 % 4294967296)"
        series = "(WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {}) SELECT n FROM s)"
    else:
        number = "lpad(to_hex(({}) * 2654435761 % 4294967296), 8, '0')"
        series = "generate_series(1, CAST({} AS bigint)) AS s (n)"
    for macro in ("n - n % 10", "n"):
        sql = sql.replace(f"ID({macro})", f"'job-' || {number.format(macro)}")
    return sql.replace("SERIES(:count)", series.format(":count"))
