"""Timeouts that land at any moment, ledger calls included, end the job they mean, and break nothing."""

import random
from types import SimpleNamespace

from huey import group

from jobqueue import DurableHuey, State
from tests.faults.conftest import StartConsumer
from tests.jobqueue.consumers import wait_until

FIRINGS = 1000
SHORTEST, LONGEST = 0.0005, 0.015  # seconds


def test_a_thousand_timeouts_around_ledger_calls_leave_no_job_running_and_no_connection_broken(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace
) -> None:
    seed = random.randrange(10**6)
    print(f"seed: {seed}")
    dice = random.Random(seed)
    consumer = start(workers=2)
    workers = consumer.worker_pids()
    huey.enqueue(group([tasks.hammer.s(i, timeout=dice.uniform(SHORTEST, LONGEST)) for i in range(FIRINGS)]))
    wait_until(lambda: huey.ledger.count(State.QUEUED) + huey.ledger.count(State.RUNNING) == 0, timeout=60)

    hammers = huey.jobs(task=tasks.hammer, limit=FIRINGS)
    assert {job.state for job in hammers} == {State.FAILED}
    assert {job.error.partition(":")[0] for job in hammers} == {"Timed out"}
    assert {(job.attempt, job.losses) for job in hammers} == {(1, 0)}
    submitted = huey.jobs(task=tasks.quick, limit=10 * FIRINGS)
    assert {job.state for job in submitted} == {State.SUCCEEDED}
    assert len(submitted) > FIRINGS / 4  # they got as far as that
    assert not any(huey.is_locked(f"lock:{i}") for i in range(0, FIRINGS, 50))

    assert consumer.worker_pids() == workers  # none died of it
    more = [tasks.undisturbed(0.05) for _ in range(8)]
    assert [handle.get(blocking=True, timeout=5) for handle in more] == ["undisturbed"] * 8
    with huey.ledger.database.statement() as tx:
        assert [row["integrity_check"] for row in tx.all("PRAGMA integrity_check")] == ["ok"]
