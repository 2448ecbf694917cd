"""While a million finished jobs are pruned, fifty jobs a second are claimed as quickly as before."""

import multiprocessing
import secrets
import statistics
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from multiprocessing.synchronize import Event

import pytest

from jobqueue.database import Database
from jobqueue.ledger import Ledger, NewJob, Outcome, State
from jobqueue.pruning import Pruner
from tests.scale import filling
from tests.scale.conftest import Say
from tests.servers import FAST, PostgresServer, fresh_database

FINISHED = 1_000_000
RATE = 50  # jobs a second
WINDOW = 2.0  # seconds: in turns with pruning and without
EACH = 0.02  # seconds from one piece to the next: as often as fifty consumers would do one
RATIO = 1.5  # of the claims' p99


@pytest.fixture
def url() -> Iterator[str]:
    """A server as it is run, with its autovacuum."""
    with PostgresServer(FAST) as server, fresh_database(server.url) as url:
        yield url


def test_claims_are_as_quick_while_a_million_jobs_are_pruned(url: str, say: Say) -> None:
    with closing(Database(url)) as database:
        ledger = Ledger(database)
        filling.finish(ledger, FINISHED)
        took: dict[bool, list[float]] = {False: [], True: []}
        with pruner(url) as (may, done):
            work(ledger, WINDOW)  # until each statement is prepared
            pruning = True
            while not done.is_set():
                (may.set if pruning else may.clear)()
                took[pruning] += work(ledger, WINDOW)
                pruning = not pruning
        left = ledger.count(State.FAILED)
    p50, p99 = ({of: 1000 * statistics.quantiles(took[of], n=100)[n] for of in took} for n in (49, 98))
    say(
        f"A claim takes {p50[False]:.2f} ms (p50), {p99[False]:.2f} ms (p99); while {FINISHED} jobs are pruned "
        f"{p50[True]:.2f} and {p99[True]:.2f} ms: {len(took[False])} and {len(took[True])} claims, in turns"
    )
    assert left == 0
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
        row = ledger.claim(["app.jobs.now"], token=token, consumer="consumer", worker="worker", lease_s=60)
        took.append(time.perf_counter() - began)
        assert row is not None
        ledger.end(row["id"], token, Outcome(result=("application/json", filling.BODY)))
    return took


@contextmanager
def pruner(url: str) -> Iterator[tuple[Event, Event]]:
    """A process that prunes while it may; and says when there is nothing left."""
    context = multiprocessing.get_context("spawn")
    may, done = context.Event(), context.Event()
    process = context.Process(target=prune, args=(url, may, done))
    process.start()
    try:
        yield may, done
    finally:
        process.kill()
        process.join()


def prune(url: str, may: Event, done: Event) -> None:
    """All but what was submitted in the last minutes."""
    try:
        for _ in Pruner(Ledger(Database(url)), keep_days=None, keep_jobs=RATE * 60).pieces():
            may.wait()
            time.sleep(EACH)
    finally:
        done.set()
