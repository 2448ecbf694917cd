"""The notebook's queue, in real kernels."""

import os
import statistics
import time
from pathlib import Path

import psutil
import pytest

from tests.engine.notebook.conftest import SETUP
from tests.engine.notebook.kernels import Kernel, kernel
from tests.waiting import wait_until


def test_a_job_fails_once_is_tried_again_and_keeps_its_step(shared: Kernel) -> None:
    cell = shared.run("""
@queue.task(retries=1)
def flaky(rows):
    kept = current_job().step("read", lambda: print("reads") or rows)
    if current_job().attempt == 1:
        raise ValueError("a hiccup")
    return kept * 2

queue.watch(flaky(21))
""")
    assert not cell.error
    assert cell.values == [{"text/plain": "42"}]
    assert cell.text.splitlines() == ["reads", "Attempt 1 failed: ValueError: a hiccup It is tried again.", "42"]
    assert [shown["text/plain"] for shown in cell.shown.values()] == ["flaky"]


def test_the_last_error_is_the_tasks_own_with_the_notebooks_lines(shared: Kernel) -> None:
    cell = shared.run("""
@queue.task()
def breaks():
    print("before", end="")
    raise KeyError("b")  # here

queue.watch(breaks())
""")
    assert cell.error == "KeyError: 'b'"
    assert "# here" in cell.traceback
    assert cell.text == "before\n"


def test_a_mended_definition_continues_from_the_kept_steps(shared: Kernel) -> None:
    first = """
@queue.task()
def total(rows):
    kept = current_job().step("read", lambda: reads.append(rows) or rows)
    return {body}
"""
    shared.run("reads = []")
    shared.run(first.format(body="kept / 0"))
    shared.run("handle = total(4)")
    assert shared.run("queue.watch(handle)").error.startswith("ZeroDivisionError")
    shared.run(first.format(body="kept / 2"))
    cell = shared.run("handle.retry(); queue.watch(handle)")
    assert cell.values == [{"text/plain": "2.0"}]
    assert shared.value("reads") == [4]


def test_a_waiting_job_runs_the_newest_of_five_definitions(shared: Kernel) -> None:
    for number in range(5):
        cell = shared.run(f"@queue.task()\ndef which(): return {number}")
        assert not cell.error
        if number == 0:
            shared.run("waiting = which.schedule(delay=1)")
    assert shared.run("queue.watch(waiting)").values == [{"text/plain": "4"}]
    assert shared.run("which.call_local()").values == [{"text/plain": "4"}]


def test_a_schedule_and_a_dataset_defined_after_the_start(shared: Kernel) -> None:
    cell = shared.run("""
queue.start()
fired = []
@queue.periodic_task(every("1 second"))
def tick(): fired.append(1)
@queue.dataset(every("1 second"))
def prices(): return [1, 2]
""")
    assert not cell.error
    wait_until(lambda: shared.value("len(fired)") > 1, timeout=10)
    wait_until(lambda: not shared.run("prices.read()").error, timeout=10)
    cell = shared.run(
        '@queue.periodic_task(every("day at 5:00"))\ndef tick(): ...'
    )  # the new definition takes its place
    assert not cell.error
    assert [status["name"] for status in shared.value('[{"name": str(s.name)} for s in queue.schedules()]')] == [
        "__main__.prices",
        "__main__.tick",
    ]
    count = shared.value("len(fired)")
    shared.run("time.sleep(2)")
    assert shared.value("len(fired)") <= count + 1


def test_a_cancel_takes_effect_at_the_next_progress(shared: Kernel) -> None:
    cell = shared.run("""
seen = []
@queue.task()
def long():
    try:
        while True:
            current_job().progress(1, 2)
            time.sleep(0.05)
    except BaseException as error:
        seen.append(type(error).__name__)
        raise
handle = long()
while handle.state is not State.RUNNING: time.sleep(0.01)
handle.cancel()
queue.watch(handle)
""")
    assert cell.error.startswith("TaskException") and "cancelled" in cell.error
    wait_until(lambda: shared.value("seen") == ["ClaimLost"])


def test_a_job_that_outlives_its_timeout_is_mentioned_once(shared: Kernel) -> None:
    cell = shared.run("""
@queue.task(timeout=0.3)
def slow():
    time.sleep(1.5)
    current_job().progress(1, 2)
queue.watch(slow())
""")
    assert cell.error.startswith("TaskTimeout")
    assert cell.text.count("slow has run longer than its timeout of 0.3 s. A thread cannot be interrupted") == 1


def test_an_interrupt_ends_the_watching_and_not_the_job(shared: Kernel) -> None:
    shared.run("""
@queue.task()
def patient():
    while not released.is_set(): time.sleep(0.01)
    return "done"
released = threading.Event()
handle = patient()
""")
    request = shared.client.execute("queue.watch(handle)")
    wait_until(lambda: shared.client.get_iopub_msg(timeout=10)["msg_type"] == "display_data")
    shared.manager.interrupt_kernel()
    cell = shared.outputs(request)
    assert cell.error.startswith("KeyboardInterrupt")
    assert cell.text == "patient keeps running. Watch it again, or end it with handle.cancel().\n"
    assert shared.run("released.set(); queue.watch(handle)").values == [{"text/plain": "'done'"}]


def test_what_a_job_prints_appears_only_where_it_is_watched(shared: Kernel) -> None:
    shared.run("""
import logging, sys
@queue.task()
def talks():
    print("out")
    print("err", file=sys.stderr)
    logging.getLogger("elsewhere").warning("careful")
handle = talks()
""")
    cell = shared.run("while not handle.state.ended: time.sleep(0.01)\nprint('mine')")
    assert cell.text == "mine\n"
    assert shared.run("queue.watch(handle)").text == "out\nerr\nWARNING: careful\n"


def test_a_stopped_queue_refuses_to_watch_and_runs_its_jobs_after_the_start(shared: Kernel) -> None:
    cell = shared.run("""
@queue.task()
def late(): return 1
queue.stop()
threads = [thread.name for thread in threading.enumerate() if "orker" in thread.name or "consumer" in thread.name]
handle = late()
queue.watch(handle)
""")
    assert cell.error == "RuntimeError: The notebook's queue is stopped, so no job runs. Start it: queue.start()"
    assert shared.value("threads") == []
    assert shared.run("queue.start(); queue.watch(handle)").values == [{"text/plain": "1"}]


def test_a_job_from_before_a_restart_is_gone(shared: Kernel) -> None:
    cell = shared.run('queue.watch("4f2c")')
    assert cell.error == "JobNotFound: Jobs of the notebook's queue end with the kernel. Job 4f2c is gone."


def test_the_apps_ledger_stays_untouched(shared: Kernel, apps_ledger: Path) -> None:
    assert shared.value("queue.jobs()[0].state.ended")
    assert shared.value("os.environ['DATABASE_URL']").endswith(str(apps_ledger))
    assert not apps_ledger.exists()


@pytest.mark.alone
@pytest.mark.long
def test_a_job_starts_at_once_and_an_idle_queue_costs_next_to_nothing(shared: Kernel) -> None:
    cell = shared.run("""
@queue.task()
def starts(): return time.monotonic()
waits = []
for _ in range(20):
    time.sleep(0.1)
    before = time.monotonic()
    waits.append(starts().get(blocking=True) - before)
""")
    assert not cell.error
    waits = shared.value("waits")
    assert statistics.median(waits) < 0.1, waits
    process = psutil.Process(shared.pid)
    before = sum(process.cpu_times()[:2])
    time.sleep(5)  # the measurement
    assert (sum(process.cpu_times()[:2]) - before) / 5 < 0.02


def test_the_apps_queue_refuses_a_task_of_a_cell_before_it_writes(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("app")
    with kernel() as started:
        started.run(f"""
from jobqueue import DurableHuey
huey = DurableHuey("app", "sqlite:///{folder}/jobs.sqlite")
@huey.task()
def total_sales(region): return region
@huey.task()
def total_sales(region): return region * 2
""")
        cell = started.run('total_sales("north")')
        assert cell.error == (
            "NotebookTask: total_sales is defined in this notebook, so no worker can run it. Use the notebook's queue "
            "(@queue.task, from jobqueue.notebook import queue), or promote it: python -m app promote NOTEBOOK total_sales"
        )
        assert not (folder / "jobs.sqlite").exists()
        assert started.run("huey.immediate = True\ntotal_sales('a').get()").values == [{"text/plain": "'aa'"}]


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_a_restart_leaves_nothing_behind(busy: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with kernel(TMPDIR=str(tmp_path)) as started:
        started.run(SETUP)
        started.run(f"""
@queue.task()
def runs(seconds): time.sleep(seconds)
handle = runs({60 if busy else 0})
while handle.state in (State.QUEUED, State.SCHEDULED): time.sleep(0.01)
""")
        process = psutil.Process(started.pid)
        family = [process, *process.children(recursive=True)]
        started.manager.restart_kernel(now=False)
        started.client.wait_for_ready(timeout=60)
        wait_until(lambda: not any(one.is_running() and one.pid != started.pid for one in family))
        assert os.listdir(tmp_path) == []
        assert not started.run(SETUP + "print(queue.jobs())").error
