"""A job that waits for another: it is told if no worker is free to run that one, and waits on if one will be."""

from types import SimpleNamespace

import pytest

from jobqueue import DurableHuey, State
from tests.engine.consumers import wait_until
from tests.faults.conftest import StartConsumer, all_have_ended


@pytest.mark.parametrize(("storage", "workers"), [("sqlite", 1), ("postgres", 2)], indirect=["storage"])
def test_jobs_that_wait_for_each_others_workers_are_told_so(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, workers: int
) -> None:
    waiting = [tasks.waits_for_another(0.1) for _ in range(workers)]
    start(workers=workers)
    wait_until(lambda: all_have_ended(huey), timeout=20)
    errors = [handle.get_job().error for handle in waiting]
    told = [error for error in errors if error.startswith("NoFreeWorker: This job waits for job ")]
    assert told and all(error in ("", *told) for error in errors)
    reason = "the only worker runs this job" if workers == 1 else "all 2 workers run jobs that wait"
    assert f"which no worker is free to run: {reason}. Start more workers" in told[0]
    awaited = [job for job in huey.jobs() if job.name == "undisturbed"]
    assert [job.state for job in awaited] == [State.SUCCEEDED] * workers
    assert not [key for key in huey.ledger.entries.all() if key.startswith("waits:")]


@pytest.mark.parametrize("storage", ["sqlite"], indirect=True)
def test_a_job_that_waits_while_another_worker_is_busy_waits_on(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace
) -> None:
    start(workers=2)
    busy = tasks.undisturbed(4)
    wait_until(lambda: busy.state is State.RUNNING)
    waits = tasks.waits_for_another(2)
    assert waits.get(blocking=True, timeout=20) == "undisturbed"
