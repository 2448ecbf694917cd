"""Tests of real consumers with workers for named queues, and of concurrency limits."""

import time
from pathlib import Path
from types import SimpleNamespace

from jobqueue import DurableHuey, State
from tests.engine.consumers import kill, wait_until
from tests.faults.conftest import StartConsumer

SOON = 0.25  # seconds


def seconds_to_begin(huey: DurableHuey, handle: object) -> float:
    job = huey.get_job(handle.id)  # type: ignore[attr-defined]
    assert job.claimed_at is not None
    return (job.claimed_at - job.created_at).total_seconds()


def test_reserved_worker_starts_interactive_jobs_at_once_and_its_replacement_too(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, go: Path, path: str
) -> None:
    consumer = start(workers=2, queues="interactive,heavy:1")
    heavy = [tasks.waits.using(queue="heavy")(path, str(go)) for _ in range(5)]
    wait_until(lambda: heavy[0].state is State.RUNNING)
    quick = []
    for n in range(10):
        quick.append(tasks.quick.using(queue="interactive")(n))
        quick[-1].get(blocking=True, timeout=10)
        time.sleep(0.05)  # the worker is idle again
    waits = sorted(seconds_to_begin(huey, handle) for handle in quick)
    print(f"interactive began after {waits[5]:.3f} s, {waits[-1]:.3f} s at most")
    assert waits[5] < SOON  # the median, because a busy machine may delay a single job
    before = consumer.worker_pids()
    for pid in before:
        kill(pid)
    wait_until(lambda: len(pids := consumer.worker_pids()) == 2 and not {*pids} & {*before})
    wait_until(lambda: heavy[0].state is State.RUNNING)
    assert tasks.quick.using(queue="interactive")("after").get(blocking=True, timeout=10) == "after"
    assert [handle.state for handle in heavy] == [State.RUNNING, *[State.QUEUED] * 4]
    go.touch()
    wait_until(lambda: all(handle.state is State.SUCCEEDED for handle in heavy))


def test_job_under_a_limit_starts_as_soon_as_another_ends(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, go: Path, path: str
) -> None:
    start(workers=2, queues="heavy:1,interactive:1", per_owner=1)
    first = tasks.waits.using(owner="ann", queue="heavy")(path, str(go))
    wait_until(lambda: first.state is State.RUNNING)
    second = tasks.quick.using(owner="ann", queue="interactive")("second")
    time.sleep(0.2)  # by then the other worker has found no job, and waits
    assert second.state is State.QUEUED
    go.touch()
    second.get(blocking=True, timeout=10)
    ended, begun = first.get_job().ended_at, second.get_job().claimed_at
    assert ended is not None and begun is not None
    assert (begun - ended).total_seconds() < SOON
