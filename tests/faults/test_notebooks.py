"""The kernel of a notebook's job, and the Chromium of a print, end with the job: a second later no process lives."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from jobqueue import DurableHuey, State
from jobqueue.jobs.handle import JobHandle
from jobqueue.reports.report import Report, report_of
from tests.engine.consumers import ConsumerProcess, alive, consumer_process, environment, kill, wait_until
from tests.engine.reports.notebook_jobs import prints_on, tasks_on, write_notebook
from tests.engine.reports.processes import START, family_of_print, lives
from tests.faults.conftest import KIT, SETTINGS, all_have_ended
from tests.storages import Storage

pytestmark = [
    pytest.mark.long,
    pytest.mark.parametrize("storage", ["sqlite"], indirect=True),  # what ends a kernel knows no database
]

GONE = 1  # second after which nothing of an ended job lives

StartReports = Callable[..., ConsumerProcess]


@pytest.fixture
def notebooks(huey: DurableHuey, tmp_path: Path) -> SimpleNamespace:
    write_notebook(tmp_path)
    return tasks_on(huey, tmp_path)


@pytest.fixture
def start_reports(huey: DurableHuey, storage: Storage, tmp_path: Path) -> Iterator[StartReports]:
    """Start a consumer whose only tasks are those of notebook_jobs.py, which names the options."""
    with ExitStack() as stack:

        def start(**options: Any) -> ConsumerProcess:
            given = {
                "storage": storage._asdict(),
                "settings": SETTINGS,
                "worker_type": "process",
                "workers": 1,
                "folder": str(tmp_path),
                "prints": False,
            } | options
            consumer = consumer_process(
                ["-m", "tests.engine.reports.notebook_jobs", json.dumps(given)],
                log=tmp_path / "consumer.log",
                env=environment(KIT),
                cwd=tmp_path,
            )
            return stack.enter_context(consumer)

        yield start
    print((tmp_path / "consumer.log").read_text()[-20_000:])


class Running:
    """A notebook job that reached the cell which sleeps, or calls into C.

    `kernel`, `child`: process ids of the kernel and of a process that the notebook started.
    """

    def __init__(self, submit: Callable[..., JobHandle], what: str, note: Path) -> None:
        self.handle = submit(what=what, note=str(note))
        self.note = note
        self.wait()

    def wait(self) -> None:
        """Wait until the kernel of this attempt, or of the next, has started."""
        wait_until(self.note.exists, timeout=START)
        self.kernel, self.child = map(int, self.note.read_text().split())
        self.note.unlink()
        assert alive(self.kernel) and alive(self.child)

    def is_gone(self) -> bool:
        return not alive(self.kernel) and not alive(self.child)


def test_killed_workers_and_a_killed_consumer_leave_no_kernel_and_none_of_its_children(
    notebooks: SimpleNamespace, start_reports: StartReports, tmp_path: Path
) -> None:
    consumer = start_reports(workers=2)
    jobs = [Running(notebooks.weekly, what, tmp_path / what) for what in ("sleep", "C call")]
    for worker in consumer.worker_pids():
        kill(worker)
    wait_until(lambda: all(job.is_gone() for job in jobs), GONE)
    for job in jobs:
        job.wait()  # its second attempt, in another worker
    kill(consumer.pid)
    wait_until(lambda: all(job.is_gone() for job in jobs), GONE)


@pytest.mark.parametrize("worker_type", ["process", "thread"])
def test_timeout_cancel_and_stop_leave_no_kernel_and_none_of_its_children(
    huey: DurableHuey, notebooks: SimpleNamespace, start_reports: StartReports, tmp_path: Path, worker_type: str
) -> None:
    consumer = start_reports(worker_type=worker_type, workers=3)
    cancelled = Running(notebooks.weekly, "C call", tmp_path / "cancelled")
    claimed_at = cancelled.handle.get_job().claimed_at
    assert claimed_at is not None
    timeout = 2 + 2 * round(time.time() - claimed_at.timestamp())  # seconds: enough for another kernel to start
    timed_out = Running(
        lambda **given: huey.enqueue(notebooks.weekly.s(**given, timeout=timeout)), "C call", tmp_path / "late"
    )
    assert cancelled.handle.cancel()
    wait_until(cancelled.is_gone, 2 * GONE)  # a consumer or a thread looks first
    released = Running(notebooks.weekly, "sleep", tmp_path / "released")

    wait_until(lambda: timed_out.handle.state.ended, timeout + 10)
    assert timed_out.is_gone()
    job = timed_out.handle.get_job()
    assert (job.state, job.error) == (State.FAILED, f"Timed out: it ran longer than its timeout of {timeout} s.")
    report = report_of(huey.ledger, job.id)
    assert report is not None and report.html is not None and "for north in" in report.html

    for pid in [consumer.pid, *consumer.worker_pids(), released.kernel]:  # as hosts do: to all processes
        os.kill(pid, signal.SIGTERM)
    assert consumer.wait() == 0
    wait_until(released.is_gone, GONE)
    job = released.handle.get_job()
    assert (job.state, job.returns, job.losses) == (State.QUEUED, 1, 0)


def test_page_is_printed_on_its_schedule_and_no_end_of_a_print_leaves_a_chromium(
    huey: DurableHuey, start_reports: StartReports
) -> None:
    tasks = prints_on(huey)
    consumer = start_reports(prints=True)
    printed = wait_until(lambda: huey.jobs(task=tasks.each_second, state=State.SUCCEEDED), START)
    report = huey.job(printed[0].id).get()
    assert isinstance(report, Report) and report.pdf is not None and b"/Title (A printed page)" in report.pdf
    huey.pause_schedule("each_second")
    wait_until(lambda: all_have_ended(huey), START)

    def chromium() -> list[psutil.Process]:
        """Return the processes of the print that runs, once it draws."""
        return wait_until(lambda: [family_of_print(psutil.Process(pid)) for pid in consumer.worker_pids()], START)[0]

    def leaves_none(family: list[psutil.Process]) -> None:
        wait_until(lambda: not any(map(lives, family)), GONE)

    cancelled = tasks.endless(page="endless")
    family = chromium()
    assert cancelled.cancel()
    wait_until(lambda: not any(map(lives, family)), 2 * GONE)  # the consumer looks each second
    tasks.endless(page="endless")
    family = chromium()
    (worker,) = consumer.worker_pids()
    kill(worker)
    leaves_none(family)
    family = chromium()  # of its second attempt, in another worker
    kill(consumer.pid)
    leaves_none(family)
