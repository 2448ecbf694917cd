"""Tests of the cost of pruning a million finished jobs: the rows that a batch reads, and the pages that a claim reads.

tests/engine/ledger/test_retention.py tests that no statement waits for a batch, and benchmarks/pruning.py measures how
long claims take during pruning.
"""

import math
import statistics
from collections.abc import Iterator
from contextlib import closing

import pytest

from jobqueue.consumer.pruner import BATCH
from jobqueue.ledger.ledger import Ledger
from tests.scale.conftest import Say, finish, roomy_memory
from tests.scale.meter import Execution, metered, metered_ledger
from tests.scale.pruning import FINISHED, pruner, work
from tests.servers import FAST, PostgresServer, fresh_database

ROWS = 8  # rows read for each job: in its range, the job, rows that refer to it, its result and the like
WINDOW = 2.0  # seconds


# While an ANALYZE runs, Postgres keeps the index entries of all jobs that end meanwhile, and claims read them. It takes seconds on a
# busy machine. This is no cost of pruning, so autovacuum only vacuums.
NO_ANALYZE = {"autovacuum_analyze_threshold": "1000000000"}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Yield a database with a long history, on a server of its own that vacuums by itself, as in production.

    It is in memory. While a batch waits for a busy disk, its snapshot keeps the index entries of all jobs that end meanwhile, and
    claims read them.
    """
    with PostgresServer(FAST | NO_ANALYZE, where=roomy_memory()) as server, fresh_database(server.url) as url:
        finish(url, FINISHED)
        yield url


def test_a_batch_reads_a_few_rows_for_each_job_that_it_deletes(url: str, say: Say) -> None:
    ledger = metered_ledger(url)
    with closing(ledger.database), metered() as executions:
        _, deleted = ledger.retention.prune_jobs(0, BATCH, math.inf, FINISHED)
    rows, pages = (sum(getattr(execution, of) for execution in executions) for of in ("rows", "blocks"))
    say(f"A batch deletes {deleted} jobs in {len(executions)} statements, and reads {rows} rows and {pages} pages.")
    assert deleted == BATCH
    assert rows <= ROWS * BATCH


def test_a_claim_reads_no_more_while_a_million_jobs_are_pruned(url: str, say: Say) -> None:
    ledger = metered_ledger(url)
    with closing(ledger.database):
        work(ledger, WINDOW)  # prepares each statement, and adds the newest job, which is kept
        before, during = claims(ledger), list[Execution]()
        with pruner(url) as (may_run, receiver):
            may_run.set()
            while not receiver.poll():
                during += claims(ledger)
            deleted: list[int] = receiver.recv()
        left, _ = ledger.retention.step_back(FINISHED + 1, FINISHED)
    pages = {of: [claim.blocks for claim in of_them] for of, of_them in (("before", before), ("during", during))}
    shown = {of: f"{statistics.median(read):.0f} pages (median), {max(read)} (most)" for of, read in pages.items()}
    say(f"A claim reads {shown['before']}; while {sum(deleted)} jobs are pruned, {shown['during']}.")
    assert left == 0
    assert max(deleted) == BATCH
    assert {claim.rows for claim in during} == {claim.rows for claim in before}
    assert statistics.median(pages["during"]) <= 1.2 * statistics.median(pages["before"])
    assert max(pages["during"]) <= 1.5 * max(pages["before"])


def claims(ledger: Ledger) -> list[Execution]:
    with metered() as executions:
        work(ledger, WINDOW)
    return [execution for execution in executions if execution.name == "CLAIM"]
