"""Tests that the housekeeping, which one consumer does for all, goes on when that consumer is killed or stands still."""

import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from jobqueue import DurableHuey, State
from jobqueue.consumer.consumer import SWEEP
from jobqueue.ledger.housekeeping import TERM
from tests.engine.consumers import wait_until
from tests.faults.conftest import LEASE, StartConsumer
from tests.faults.fault_jobs import notes

pytestmark = pytest.mark.parametrize("storage", ["postgres"], indirect=True)

TAKEN_OVER_IN = TERM + SWEEP  # seconds
MARGIN = 3.0  # seconds that a busy machine may add


def elected(huey: DurableHuey) -> int:
    """Return the process id of the consumer that does the housekeeping, or 0 as long as it may not rescue."""
    with huey.ledger.database.statement() as tx:
        row = tx.one("SELECT pid FROM housekeeping JOIN consumers ON consumers.id = consumer WHERE may_rescue = 1")
    return 0 if row is None else int(row["pid"])


@pytest.mark.parametrize("how", ["SIGKILL", "SIGSTOP"])
def test_another_consumer_queues_due_jobs_and_rescues(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, path: str, how: str
) -> None:
    consumers = {consumer.pid: consumer for consumer in (start(), start())}
    wait_until(lambda: elected(huey) in consumers, 30)
    first = consumers.pop(elected(huey))
    running = [tasks.slow_at_first(path) for _ in range(2)]  # one in each consumer
    wait_until(lambda: len(notes(Path(path))) == 2)
    first.send(signal.Signals[how])
    began = time.monotonic()
    later = huey.enqueue(tasks.quick.s("later", delay=0.2))
    wait_until(lambda: later.state is State.QUEUED, TAKEN_OVER_IN + MARGIN)
    wait_until(
        lambda: [handle.get_job().losses for handle in running].count(1) == 1, 2 * LEASE + TAKEN_OVER_IN + MARGIN
    )
    print(f"rescued after {time.monotonic() - began:.1f} s")
    assert {elected(huey)} == consumers.keys()
