"""Jobs that come at an even pace, beside a process that prunes a long history."""

import multiprocessing
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event

from jobqueue.consumer.pruner import Pruner
from jobqueue.database.database import Database
from jobqueue.ledger.ledger import Ledger
from jobqueue.ledger.records import ClaimRequest, NewJob, Outcome
from jobqueue.ledger.retention import Retention
from tests.scale import filling

FINISHED = 1_000_000
RATE = 50  # jobs a second


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
            ClaimRequest(tasks=["app.jobs.now"], token=token, consumer="consumer", worker="worker", lease_s=60)
        )
        took.append(time.perf_counter() - began)
        assert row is not None
        ledger.end(row["id"], token, Outcome(result=("application/json", filling.BODY)))
    return took


@contextmanager
def pruner(url: str, pause: float = 0.0) -> Iterator[tuple[Event, Connection]]:
    """A process that prunes while it may, with so many seconds from one piece to the next.

    It tells at last how many jobs each piece deleted.
    """
    context = multiprocessing.get_context("spawn")
    may = context.Event()
    told, tell = context.Pipe(duplex=False)
    process = context.Process(target=prune, args=(url, pause, may, tell))
    process.start()
    tell.close()
    try:
        yield may, told
    finally:
        process.kill()
        process.join()


def prune(url: str, pause: float, may: Event, tell: Connection) -> None:
    """All but the newest job, and those that come after it."""
    deleted = []
    for piece in Pruner(Retention(Database(url)), keep_days=None, keep_jobs=1).batches():
        deleted.append(piece)
        may.wait()
        time.sleep(pause)
    tell.send(deleted)
