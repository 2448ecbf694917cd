"""Tests that an idle consumer costs only a few index lookups a second."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from unittest.mock import patch

from jobqueue import DurableHuey
from jobqueue.consumer.asking import IDLE
from jobqueue.consumer.consumer import SWEEP
from jobqueue.database.database import Transaction
from jobqueue.huey import RENEW
from tests.scale.conftest import Say
from tests.scale.growth import Pair
from tests.scale.meter import metered, name_of
from tests.waiting import wait_until

WORKERS = 4
FEW = 10  # pages; on SQLite a hundred instructions stand for one


def test_idle_sweep_costs_a_handful_of_lookups(pair: Pair, say: Say) -> None:
    ledger = pair.large.metered
    for _ in range(2):  # the first sweep marks dead entries
        with metered() as executions:
            ledger.housekeeping.promote()
            ledger.housekeeping.rescue([])
    pages, steps = sum(e.blocks for e in executions), sum(e.steps for e in executions)
    say(f"{pair.name}: an idle sweep: {len(executions)} statements, {pages or steps} {'pages' if pages else 'steps'}")
    assert [execution.name for execution in executions] == ["ANY_DUE", "LAPSED"]
    assert pages <= FEW
    assert steps <= FEW * 100


def test_an_idle_consumer_executes_few_statements(database_url: str, say: Say) -> None:
    huey = DurableHuey("tests", database_url, secret_key="a key for tests")
    huey.task(name="task")(print)
    huey.migrate()
    with closing(huey.storage), counted() as executed, running(huey):
        wait_until(lambda: executed["LAPSED"], timeout=60)  # the first rescue, a lease after the start
        executed.clear()
        started = time.monotonic()
        wait_until(lambda: executed["TOUCH_CONSUMER"] == 2, timeout=60)  # two heartbeats
        rate = executed.total() / (time.monotonic() - started)
        counts = dict(executed)
    name = huey.ledger.database.url.get_backend_name()
    say(f"{name}: an idle consumer of {WORKERS} workers executes {rate:.1f} statements a second: {counts}")
    each_second = 1 / IDLE + 3 / SWEEP + 4 / RENEW  # its workers ask for jobs together
    assert rate < 1.3 * each_second


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Yield counts of the statements that all threads of this process execute, by name."""
    executed: Counter[str] = Counter()
    execute = Transaction._execute

    def count(tx: Transaction, sql: str, params: dict[str, Any]) -> None:
        executed[name_of(sql)] += 1
        execute(tx, sql, params)

    with patch.object(Transaction, "_execute", count):
        yield executed


@contextmanager
def running(huey: DurableHuey) -> Iterator[None]:
    """Run a consumer with worker threads in this process, so that its statements can be counted."""
    consumer = huey.create_consumer(workers=WORKERS, worker_type="thread")
    with patch.object(consumer, "_set_signal_handlers"):
        thread = threading.Thread(target=consumer.run)
        thread.start()
        try:
            yield
        finally:
            consumer.stop_flag.set()
            thread.join()
