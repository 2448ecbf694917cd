"""A steady load of jobs, and a process that prunes a long history meanwhile."""

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
    """Submit, claim and end jobs at an even pace. Return the seconds of each claim."""
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
    """Start a process that prunes while the event is set, with a pause in seconds between batches.

    Yield the event and a connection, on which the process sends the number of deleted jobs of each batch at the end.
    """
    context = multiprocessing.get_context("spawn")
    may_run = context.Event()
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=prune, args=(url, pause, may_run, sender))
    process.start()
    sender.close()
    try:
        yield may_run, receiver
    finally:
        process.kill()
        process.join()


def prune(url: str, pause: float, may_run: Event, sender: Connection) -> None:
    """Prune all jobs before the newest one. Keep jobs that are submitted later."""
    deleted = []
    for batch in Pruner(Retention(Database(url)), keep_days=None, keep_jobs=1).batches():
        deleted.append(batch)
        may_run.wait()
        time.sleep(pause)
    sender.send(deleted)
