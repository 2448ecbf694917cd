"""The kernel of a notebook job ends with the job, however the job ends: no process of it lives a second later."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest

from jobqueue import DurableHuey, State
from jobqueue.jobs.handle import JobHandle
from jobqueue.reports.report import report_of
from tests.engine.consumers import ConsumerProcess, alive, consumer_process, environment, kill, wait_until
from tests.engine.reports.notebook_jobs import SHORT, tasks_on, write_notebook
from tests.faults.conftest import KIT, SETTINGS
from tests.storages import Storage

pytestmark = pytest.mark.long

START = 30  # seconds in which a consumer and a kernel start on a busy machine

StartNotebooks = Callable[[str], ConsumerProcess]


@pytest.fixture
def notebooks(huey: DurableHuey, tmp_path: Path) -> SimpleNamespace:
    write_notebook(tmp_path)
    return tasks_on(huey, tmp_path)


@pytest.fixture
def start_notebooks(huey: DurableHuey, storage: Storage, tmp_path: Path) -> Iterator[StartNotebooks]:
    """Start a consumer with one worker, whose only tasks are notebooks."""
    with ExitStack() as stack:

        def start(worker_type: str) -> ConsumerProcess:
            options = {
                "storage": storage._asdict(),
                "settings": SETTINGS,
                "worker_type": worker_type,
                "folder": str(tmp_path),
            }
            consumer = consumer_process(
                ["-m", "tests.engine.reports.notebook_jobs", json.dumps(options)],
                log=tmp_path / "consumer.log",
                env=environment(KIT),
                cwd=tmp_path,
            )
            return stack.enter_context(consumer)

        yield start
    print((tmp_path / "consumer.log").read_text()[-20_000:])


class Running:
    """A notebook job that reached the cell which sleeps, or calls into C. `kernel`, `child`: process ids of the kernel and of its child."""

    def __init__(self, submit: Callable[..., JobHandle], what: str, note: Path) -> None:
        self.handle = submit(what=what, note=str(note))
        self.note = note
        self.wait()

    def wait(self) -> None:
        """Wait until the kernel of this attempt, or of the next, has started."""
        wait_until(self.note.exists, timeout=START)
        self.kernel, self.child = map(int, self.note.read_text().split())
        self.note.unlink()
        assert alive(self.kernel)


@pytest.mark.parametrize("what", ["sleep", "C call"])
def test_killed_worker_and_killed_consumer_leave_no_kernel(
    notebooks: SimpleNamespace, start_notebooks: StartNotebooks, tmp_path: Path, what: str
) -> None:
    consumer = start_notebooks("process")
    job = Running(notebooks.weekly, what, tmp_path / "note")
    (worker,) = consumer.worker_pids()
    kill(worker)
    wait_until(lambda: not alive(job.kernel), timeout=1)
    kill(job.child)  # the notebook's own
    job.wait()  # its second attempt, in another worker
    kill(consumer.pid)
    wait_until(lambda: not alive(job.kernel), timeout=1)
    kill(job.child)


@pytest.mark.parametrize("worker_type", ["process", "thread"])
def test_timeout_cancel_and_stop_leave_no_kernel_and_none_of_its_children(
    huey: DurableHuey, notebooks: SimpleNamespace, start_notebooks: StartNotebooks, tmp_path: Path, worker_type: str
) -> None:
    consumer = start_notebooks(worker_type)
    timed_out = Running(notebooks.brief, "C call", tmp_path / "note")
    wait_until(lambda: timed_out.handle.state.ended, timeout=SHORT + 10)
    assert not alive(timed_out.kernel) and not alive(timed_out.child)
    job = timed_out.handle.get_job()
    assert (job.state, job.error) == (State.FAILED, f"Timed out: it ran longer than its timeout of {SHORT} s.")
    report = report_of(huey.ledger, job.id)
    assert report is not None and report.html is not None and "for north in" in report.html

    cancelled = Running(notebooks.weekly, "C call", tmp_path / "note")
    assert cancelled.handle.cancel()
    wait_until(lambda: not alive(cancelled.kernel) and not alive(cancelled.child), timeout=2)

    released = Running(notebooks.weekly, "C call", tmp_path / "note")
    for pid in [consumer.pid, *consumer.worker_pids()]:  # as hosts do: to all processes
        os.kill(pid, signal.SIGTERM)
    assert consumer.wait() == 0
    wait_until(lambda: not alive(released.kernel), timeout=1)
    kill(released.child)
    job = released.handle.get_job()
    assert (job.state, job.returns, job.losses) == (State.QUEUED, 1, 0)
