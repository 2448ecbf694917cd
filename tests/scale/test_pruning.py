"""While a million finished jobs are pruned, fifty jobs a second are claimed as quickly as without.

That no statement of a job's path waits for a batch is shown in tests/jobqueue/test_pruning.py. Here is what a batch reads, and
what the two take from each other of the server and the machine: in turns, so that whatever else runs slows both.
"""

import math
import multiprocessing
import secrets
import statistics
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event

import pytest

from jobqueue.database import Database
from jobqueue.ledger import Asking, Ledger, NewJob, Outcome
from jobqueue.pruning import BATCH, Pruner
from tests.scale import filling
from tests.scale.conftest import Say
from tests.scale.meter import metered, metered_ledger
from tests.servers import FAST, PostgresServer, fresh_database

FINISHED = 1_000_000
ROWS = 8  # that are looked at for each job: in its stretch, the job, what it leads to, what was kept of it
RATE = 50  # jobs a second
WINDOW = 2.0  # seconds: in turns with pruning and without
EACH = 0.01  # seconds from one piece to the next: as often as a hundred consumers would do one
RATIO = 1.5  # of the claims' p99: the median of the windows', as one slow moment of the machine is in one of them


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """With a long history, on a server as it is run, with its autovacuum."""
    with PostgresServer(FAST) as server, fresh_database(server.url) as url:
        with closing(Database(url)) as database:
            filling.finish(Ledger(database), FINISHED)
        yield url


def test_a_batch_reads_a_few_rows_for_each_job_that_it_deletes(url: str, say: Say) -> None:
    ledger = metered_ledger(url)
    with closing(ledger.database), metered() as executions:
        _, deleted = ledger.prune(0, BATCH, math.inf, FINISHED)
    rows, pages = (sum(getattr(execution, of) for execution in executions) for of in ("rows", "blocks"))
    say(f"A batch deletes {deleted} jobs in {len(executions)} statements, and reads {rows} rows and {pages} pages.")
    assert deleted == BATCH
    assert rows <= ROWS * BATCH


def test_claims_are_as_quick_while_a_million_jobs_are_pruned(url: str, say: Say) -> None:
    took: dict[bool, list[list[float]]] = {False: [], True: []}
    with closing(Database(url)) as database:
        ledger = Ledger(database)
        work(ledger, WINDOW)  # until each statement is prepared; the newest job, which is kept, is one of these
        with pruner(url) as (may, told):
            pruning = False
            while not told.poll():
                (may.set if pruning else may.clear)()
                took[pruning].append(work(ledger, WINDOW))
                pruning = not pruning
            deleted: list[int] = told.recv()
        left, _ = ledger.step_back(FINISHED + 1, FINISHED)
    p50, p99 = (
        {of: 1000 * statistics.median(statistics.quantiles(one, n=100)[n] for one in took[of]) for of in took}
        for n in (49, 98)
    )
    say(
        f"A claim takes {p50[False]:.2f} ms (p50), {p99[False]:.2f} ms (p99); while {sum(deleted)} jobs are pruned "
        f"{p50[True]:.2f} and {p99[True]:.2f} ms: medians of {len(took[False])} and {len(took[True])} "
        f"windows of {WINDOW:.0f} s, in turns."
    )
    assert left == 0
    assert max(deleted) == BATCH
    assert p99[True] <= RATIO * p99[False]


def work(ledger: Ledger, seconds: float) -> list[float]:
    """Jobs come at an even pace, are claimed and end. Returns how many seconds each claim took."""
    took = []
    start = time.monotonic()
    for n in range(round(seconds * RATE)):
        time.sleep(max(0.0, start + n / RATE - time.monotonic()))
        ledger.submit([NewJob(id=secrets.token_hex(16), task="app.jobs.now", message=filling.MESSAGE)])
        token = secrets.token_hex(16)
        began = time.perf_counter()
        row = ledger.claim(
            Asking(tasks=["app.jobs.now"], token=token, consumer="consumer", worker="worker", lease_s=60)
        )
        took.append(time.perf_counter() - began)
        assert row is not None
        ledger.end(row["id"], token, Outcome(result=("application/json", filling.BODY)))
    return took


@contextmanager
def pruner(url: str) -> Iterator[tuple[Event, Connection]]:
    """A process that prunes while it may; and tells at last how many jobs each piece deleted."""
    context = multiprocessing.get_context("spawn")
    may = context.Event()
    told, tell = context.Pipe(duplex=False)
    process = context.Process(target=prune, args=(url, may, tell))
    process.start()
    tell.close()
    try:
        yield may, told
    finally:
        process.kill()
        process.join()


def prune(url: str, may: Event, tell: Connection) -> None:
    """All but the newest job, and those that come after it."""
    deleted = []
    for piece in Pruner(Ledger(Database(url)), keep_days=None, keep_jobs=1).pieces():
        deleted.append(piece)
        may.wait()
        time.sleep(EACH)
    tell.send(deleted)
