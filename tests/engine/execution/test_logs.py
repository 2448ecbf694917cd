"""Job logs: the last lines that a job logged, each with its attempt, also after its worker died."""

import logging
import os
import threading
import time
from datetime import timedelta

import pytest
from huey.exceptions import TaskTimeout

from jobqueue import DurableHuey, JobNotFound, State, current_job, interrupts
from jobqueue.execution import job_log as logs
from jobqueue.text import LOG_LINE, LOG_LINES
from tests import statements as sql
from tests.engine.conftest import HueyFactory
from tests.engine.consumers import work
from tests.losing import mark_lost
from tests.waiting import wait_until

TICK = timedelta(milliseconds=5)  # the resolution of SQLite's clock, and some for rounding

task_logger = logging.getLogger("app.jobs.of_these_tests")


@pytest.fixture(autouse=True)
def info_is_logged() -> None:
    task_logger.setLevel(logging.INFO)


def texts(huey: DurableHuey, job_id: str) -> list[str]:
    return [line.text for line in huey.log(job_id)]


def test_log_keeps_all_lines_logged_while_the_task_runs_and_no_others(huey: DurableHuey) -> None:
    @huey.task()
    def task() -> None:
        task_logger.info("fetched %s rows", 12)
        task_logger.debug("not at this level")
        logging.getLogger("a.library").warning("slow\0")
        try:
            1 / 0  # noqa: B018
        except ZeroDivisionError:
            logging.exception("went on")

    handle = task()
    task_logger.warning("before")
    work(huey)
    task_logger.warning("after")
    first, second, third, *trace = handle.log()
    assert [(line.level, line.logger, line.text, line.attempt) for line in (first, second, third)] == [
        ("INFO", task_logger.name, "fetched 12 rows", 1),
        ("WARNING", "a.library", "slow?", 1),
        ("ERROR", "root", "went on", 1),
    ]
    assert trace[0].text.startswith("Traceback") and trace[-1].text.startswith("ZeroDivisionError")
    job = handle.get_job()
    assert job.claimed_at is not None and job.ended_at is not None
    assert job.claimed_at - TICK <= first.at <= third.at <= job.ended_at + TICK


def test_log_lines_name_their_attempt(huey: DurableHuey) -> None:
    @huey.task(retries=2)
    def task() -> None:
        for n in range(LOG_LINES // 2):
            task_logger.info("%s of %s", n, current_job().attempt)
        raise ValueError

    handle = task()
    work(huey, lambda: handle.state is State.FAILED)
    kept = handle.log()
    assert len(kept) == LOG_LINES
    assert {line.attempt for line in kept} == {2, 3}
    assert (kept[0].text, kept[-1].text) == ("0 of 2", f"{LOG_LINES // 2 - 1} of 3")


def test_flood_of_log_lines_costs_little_and_keeps_the_last_lines(huey: DurableHuey, statements: list[str]) -> None:
    flood = 100_000

    @huey.task()
    def task() -> float:
        began = time.thread_time()
        for n in range(flood):
            task_logger.info("%s %s", n, "x" * 10 * LOG_LINE if n == flood - 1 else "")
        return time.thread_time() - began

    handle = task()
    began = time.monotonic()
    work(huey, timeout=60)
    took = time.monotonic() - began
    kept = texts(huey, handle.id)
    assert [line.split()[0] for line in kept] == [str(n) for n in range(flood - LOG_LINES, flood)]
    assert len(kept[-1]) == LOG_LINE
    assert statements.count(sql.SAVE_LOG) <= took / logs.INTERVAL + 1
    assert statements.count(sql.SAVE_LOG_AT_END) + statements.count(sql.END_ALONE) == 1
    print(f"{flood} lines: {handle():.2f} s of the task's thread")
    assert handle() < 10


def test_log_can_be_read_while_the_job_runs_and_survives_its_worker(
    huey: DurableHuey, make_huey: HueyFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "INTERVAL", 0.01)

    @huey.task()
    def task() -> None:
        if current_job().attempt == 1:
            task_logger.info("before the end")
            wait_until(lambda: seen(make_huey()) == ["before the end"])
            token = current_job().token
            assert token is not None
            mark_lost(huey.ledger, handle.id, token, "worker")  # as its consumer does when its process is gone
            task_logger.info("too late")
            wait_until(lambda: not logs._writer._logs)
            assert seen(huey) == ["before the end"]
        else:
            task_logger.info("the second time")

    def seen(reader: DurableHuey) -> list[str]:
        return texts(reader, handle.id)

    handle = task()
    work(huey, lambda: handle.state is State.SUCCEEDED)
    assert [(line.attempt, line.text) for line in handle.log()] == [(1, "before the end"), (2, "the second time")]


def test_jobs_in_threads_have_separate_logs(huey: DurableHuey) -> None:
    both = threading.Barrier(2)

    @huey.task()
    def task(name: str) -> None:
        for n in range(3):
            both.wait(5)
            task_logger.info("%s %s", name, n)

    handles = {name: task(name) for name in ("ann", "ben")}
    threads = [threading.Thread(target=work, args=[huey]) for _ in handles]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {name: texts(huey, handle.id) for name, handle in handles.items()} == {
        name: [f"{name} {n}" for n in range(3)] for name in handles
    }


def test_log_record_that_cannot_be_formatted_fails_no_job(
    huey: DurableHuey, capsys: pytest.CaptureFixture[str]
) -> None:
    class Unprintable:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    @huey.task()
    def task() -> int:
        logging.getLogger().handlers[-1].handle(
            logging.LogRecord("app", logging.INFO, "", 0, "%s", (Unprintable(),), None)
        )
        task_logger.info("went on")
        return 1

    handle = task()
    work(huey)
    assert handle() == 1
    assert texts(huey, handle.id) == ["went on"]
    assert "no text" in capsys.readouterr().err


def test_timeout_during_logging_is_raised_after_it(huey: DurableHuey) -> None:
    class Slow:
        def __str__(self) -> str:
            interrupts.request(current_job().token, lambda: TaskTimeout("over"))
            return "slow"

    @huey.task()
    def task() -> None:
        try:
            logs._handler.handle(logging.LogRecord("app", logging.INFO, "", 0, "%s", (Slow(),), None))
        except TaskTimeout:
            task_logger.info("raised")
            raise

    handle = task()
    work(huey)
    assert texts(huey, handle.id) == ["slow", "raised"]
    assert "over" in handle.get_job().error


def test_lines_of_a_tasks_fork_are_not_kept(huey: DurableHuey) -> None:
    @huey.task()
    def task() -> None:
        pid = os.fork()
        if pid == 0:
            task_logger.info("from the fork")
            os._exit(0)
        os.waitpid(pid, 0)
        task_logger.info("from the task")

    handle = task()
    work(huey)
    assert texts(huey, handle.id) == ["from the task"]


def test_root_logger_is_unchanged_when_no_job_runs(huey: DurableHuey) -> None:
    before = logging.getLogger().handlers[:]
    during: list[logging.Handler] = []
    handle = huey.task(name="task")(lambda: during.extend(logging.getLogger().handlers))()
    work(huey)
    assert set(during) - set(before) == {logs._handler}
    assert logging.getLogger().handlers == before
    assert handle.log() == []
    with pytest.raises(JobNotFound):
        huey.log("nobody")


def test_warnings_are_printed_if_logging_is_not_configured(huey: DurableHuey, monkeypatch: pytest.MonkeyPatch) -> None:
    printed: list[str] = []

    class Printer(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            printed.append(record.getMessage())

    monkeypatch.setattr(logging, "lastResort", Printer(logging.WARNING))
    monkeypatch.setattr(logging.getLogger(), "handlers", [])

    @huey.task()
    def task() -> None:
        task_logger.info("quiet")
        task_logger.warning("loud")

    handle = task()
    work(huey)
    assert "loud" in printed and "quiet" not in printed
    assert texts(huey, handle.id) == ["quiet", "loud"]


def test_info_lines_of_the_tasks_packages_are_logged_unless_a_level_is_set() -> None:
    chosen, unset = logging.getLogger("a_package_with_a_level"), logging.getLogger("a_package_without")
    chosen.setLevel(logging.ERROR)
    logs.pass_on_info(["a_package_with_a_level.jobs.task", "a_package_without.jobs.task"])
    assert (chosen.level, unset.level) == (logging.ERROR, logging.INFO)
