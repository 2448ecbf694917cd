"""Tests that dead rows do not slow claims. Postgres keeps old row versions and their index entries until a vacuum."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

from psycopg import ClientCursor

from jobqueue.database.database import Database
from jobqueue.ledger.ledger import Ledger
from jobqueue.ledger.states import State
from tests import statements as sql
from tests.scale import filling
from tests.scale.conftest import Say
from tests.scale.meter import heights, metered, metered_ledger
from tests.scale.operations import CONSUMER, KNOWN, claim, new, submitted
from tests.servers import FAST, PostgresServer, fresh_database
from tests.waiting import wait_until

JOBS = 20_000
QUEUED = 10
FEW = 25  # pages: half of what a claim reads anyway
ENTRIES_IN_A_PAGE = 60


@contextmanager
def filled_ledger(postgres: str, finished: int) -> Iterator[tuple[Ledger, str]]:
    """Yield a ledger with a history and a few queued jobs, and its URL."""
    with fresh_database(postgres) as url, closing(Database(url)) as database:
        ledger = Ledger(database)
        filling.finish(ledger, finished)
        for _ in range(QUEUED):
            submitted(ledger)
        yield ledger, url


def test_finished_jobs_do_not_slow_claims(postgres: str, say: Say) -> None:
    """Test a short queue, in which new index entries take the space of dead ones."""
    with filled_ledger(postgres, finished=1_000) as (ledger, url):
        before = pages_of_a_claim(url)
        run_jobs(ledger, submit=True)
        after = pages_of_a_claim(url)
    say(f"A claim reads {before} pages, and {after} after {JOBS} jobs were run without a vacuum.")
    assert after <= before + FEW


def test_claims_skip_dead_entries_until_autovacuum_runs(say: Say) -> None:
    """Test a long queue. The first claim that reads dead entries marks them, and later claims skip a page at once."""
    with (
        PostgresServer(FAST | {"autovacuum_naptime": "1s"}) as server,
        filled_ledger(server.url, finished=100_000) as (ledger, url),
    ):
        before = pages_of_a_claim(url)
        with filling.patient(ledger) as tx:
            tx.run("ALTER TABLE jobs SET (autovacuum_enabled = off)")
        filling.pile_up(ledger, JOBS, State.QUEUED, "app.jobs.task_")
        run_jobs(ledger, submit=False)
        after = pages_of_a_claim(url)
        vacuums = vacuums_of_jobs(ledger)
        with filling.patient(ledger) as tx:
            tx.run("ALTER TABLE jobs RESET (autovacuum_enabled)")
        wait_until(lambda: vacuums_of_jobs(ledger) > vacuums, timeout=60)
        vacuumed = pages_of_a_claim(url)
    say(f"After {JOBS} queued jobs were run, a claim reads {after} pages, and {vacuumed} after an autovacuum.")
    assert after <= before + JOBS / ENTRIES_IN_A_PAGE
    assert vacuumed <= before + FEW


def vacuums_of_jobs(ledger: Ledger) -> int:
    """Return Postgres's count of autovacuum runs. Polling with claims would leave thousands of dead entries."""
    with filling.patient(ledger) as tx:
        row = tx.one("SELECT autovacuum_count FROM pg_stat_user_tables WHERE relname = 'jobs'")
    assert row is not None
    return int(row["autovacuum_count"])


def pages_of_a_claim(url: str) -> int:
    """Return the pages that the third claim reads. The first one marks dead entries for those after it.

    The pages above the leaves of an index do not count: a long queue adds levels to an index, and a vacuum keeps them.
    """
    ledger = metered_ledger(url)
    for _ in range(3):
        with metered() as executions:
            claim(ledger)
        ledger.release(CONSUMER)
    levels = heights(ledger)
    ledger.database.close()
    return sum(
        execution.blocks - sum(levels[index] * searches for index, searches in execution.searches.items())
        for execution in executions
    )


# Three transactions for each job, as with a worker. They run in the server, where all of them take only seconds.
RUN_JOBS = """
DO $do$ BEGIN
    FOR n IN 1..{jobs} LOOP
        {submit};
        COMMIT;
        {claim};
        COMMIT;
        UPDATE jobs SET state = 'succeeded', ended_at = 0, token = NULL, lease_until = NULL WHERE token = 'token';
        COMMIT;
    END LOOP;
END $do$
"""


def run_jobs(ledger: Ledger, submit: bool) -> None:
    """Claim and end JOBS jobs, in order. With `submit`, submit each just before. Otherwise they are queued already."""
    with filling.patient(ledger) as tx:
        cursor = ClientCursor(tx._cursor.connection)
        dialect = ledger.database.dialect
        claimed = {
            "tasks": KNOWN,
            "queues": None,
            "lately": [],
            "token": "token",
            "consumer": "c",
            "worker": "w",
            "host": "h",
            "lease": 60,
        }
        submitted = vars(new(id="ID")) | {"turn": None}
        claim_sql = cursor.mogrify(dialect.compile(sql.CLAIM.partition("RETURNING")[0]), claimed)
        submit_sql = cursor.mogrify(dialect.compile(sql.INSERT.partition("RETURNING")[0]), submitted).replace(
            "'ID'", "'come-' || gen_random_uuid()"
        )
        cursor.execute(RUN_JOBS.format(jobs=JOBS, submit=submit_sql if submit else "NULL", claim=claim_sql).encode())
