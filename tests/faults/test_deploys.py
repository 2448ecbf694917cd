"""Tests that a deploy, in which new consumers start and old ones stop, loses no job and counts no loss."""

import random
import signal
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from jobqueue import DurableHuey, State
from jobqueue.jobs.handle import JobHandle
from tests.engine.consumers import ConsumerProcess, wait_until
from tests.faults.conftest import StartConsumer, steadily
from tests.faults.fault_jobs import notes

DEPLOYS = 10
GRACE = 1.0  # seconds
PACE = 0.3  # seconds between two submits
STEPS = 8  # of a long job, 0.25 s each: longer than the grace period


@pytest.mark.long
@pytest.mark.parametrize("storage", ["postgres"], indirect=True)  # where apps are deployed
def test_ten_deploys_lose_no_job_and_count_no_attempt(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, path: str, dice: random.Random
) -> None:
    jobs: list[JobHandle] = []

    def submit() -> None:
        """Submit a job and one that follows it."""
        number = len(jobs)
        steps, pause = (STEPS, 0.25) if number % 6 == 0 else (1, dice.uniform(0.05, 0.3))
        first = tasks.errand.s(path, number, steps, pause).then(tasks.errand, path, number + 1, 1, 0.05)
        jobs.extend(huey.enqueue(first))

    def deploy(old: ConsumerProcess) -> ConsumerProcess:
        new = start(workers=2, grace_s=GRACE)
        stops.append(pool.submit(stopped, old))
        return new

    stops: list[Future[tuple[int, float]]] = []
    with ThreadPoolExecutor(DEPLOYS) as pool:
        consumer = start(workers=2, grace_s=GRACE)
        with steadily(submit, PACE):
            for _ in range(DEPLOYS):
                consumer = deploy(consumer)
    exits, took = zip(*[stop.result() for stop in stops], strict=True)
    assert exits == (0,) * DEPLOYS
    assert max(took) < GRACE + 1

    wait_until(lambda: all(job.state.ended for job in huey.jobs(limit=len(jobs))), timeout=60)
    assert [job() for job in jobs] == list(range(len(jobs)))
    ended = [job.get_job() for job in jobs]
    assert {(job.state, job.losses, job.attempt - job.returns) for job in ended} == {(State.SUCCEEDED, 0, 1)}
    done = Counter((what, int(number), int(which)) for what, number, which, _ in notes(Path(path)))
    for number, job in enumerate(ended):
        attempts = sum(done["attempt", number, attempt] for attempt in range(job.attempt + 1))
        steps = [done["step", number, i] for i in range(STEPS) if done["step", number, i]]
        assert 1 <= attempts <= 1 + job.returns  # an attempt that is released at once has not begun
        assert sum(steps) - len(steps) <= job.returns  # only a step in flight is repeated
    returns = sum(job.returns for job in ended)
    assert returns
    print(f"{len(jobs)} jobs, {returns} releases; the slowest stop took {max(took):.2f} s")


def stopped(consumer: ConsumerProcess) -> tuple[int, float]:
    """Send SIGTERM twice, as Dokku does. Return the exit code, and the seconds until the exit."""
    begun = time.monotonic()
    consumer.send(signal.SIGTERM)
    consumer.send(signal.SIGTERM)
    return consumer.wait(), time.monotonic() - begun
