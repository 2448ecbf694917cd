"""`job.dask` and `job.gather`, in real Dask processes: their results, their errors, and their end."""

import importlib
import json
import logging
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import dask.system
import distributed.system
import psutil
import pytest
from dask.delayed import delayed
from distributed import Client

from jobqueue import DaskUnavailable, DurableHuey, current_job
from jobqueue.execution import dask_client
from jobqueue.execution.current_job import CurrentJob
from tests.engine.consumers import ConsumerProcess, alive, consumer_process, environment
from tests.faults.conftest import KIT
from tests.waiting import wait_until

LONG = 60.0  # seconds
STARTS_IN = 60.0  # seconds, on a busy machine

Noted = list[tuple[float, float, str]]


def ran_in(number: int) -> tuple[int, int]:
    print("what a part prints is no answer to the job")
    return number, os.getpid()


def importer_of(number: int, module: str) -> tuple[int, int]:
    """Return the process in which the module was imported, and this one."""
    return sys.modules[module].IMPORTED_IN, os.getpid()


def error_of_import(module: str) -> str:
    try:
        importlib.import_module(module)
    except (Exception, SystemExit) as error:
        return f"{type(error).__name__}: {error}"
    return "none"


def fails_or_waits(number: int) -> None:
    if number == 0:
        raise TimeoutError("the part's own")
    time.sleep(LONG)


@pytest.fixture(autouse=True)
def no_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DASK_SCHEDULER", raising=False)


@pytest.fixture
def noted() -> Noted:
    return []


@pytest.fixture
def job(noted: Noted) -> CurrentJob:
    """Return a job outside of a worker. It notes its progress."""
    return CurrentJob(report=lambda *progress: noted.append(progress))


def test_results_come_from_other_processes_which_end_with_the_block(
    job: CurrentJob, noted: Noted, running_loop: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {*psutil.Process().children(recursive=True)}
    monkeypatch.setattr(distributed.system, "MEMORY_LIMIT", 3 * dask_client.ROOM)
    with job.dask(workers=2) as client:
        started = {*psutil.Process().children(recursive=True)} - before
        found = dict(job.gather(client, client.map(ran_in, range(8)), "part", done=2))
        workers = client.nthreads()
        limits = [worker["memory_limit"] for worker in client.scheduler_info()["workers"].values()]
        assert delayed(os.getpid)().compute() in {process.pid for process in started}
    assert found.keys() == {*range(8)}
    assert {*found.values()} <= {process.pid for process in started}
    assert noted == [(done, 10, f"part {done} of 10") for done in range(2, 11)]
    assert [*workers.values()] == [1, 1]
    assert limits == [1.5 * dask_client.ROOM] * 2
    assert all(address.startswith("tls://127.0.0.1:") for address in workers)  # which refuse others
    assert started
    wait_until(lambda: not any(alive(process.pid) for process in started), 1)


def test_modules_are_imported_once_before_the_processes_begin(
    job: CurrentJob, noted: Noted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "heavy_module.py").write_text("import os\nIMPORTED_IN = os.getpid()\n")
    monkeypatch.syspath_prepend(tmp_path)
    with job.dask(workers=2, imports=["heavy_module"]) as client:
        futures = client.map(importer_of, range(8), module="heavy_module")
        importers, processes = zip(*job.gather(client, futures), strict=True)
    assert len({*importers}) == 1
    assert len({*processes}) == 2
    assert not {*importers} & {*processes, os.getpid()}
    assert noted == []  # without a note


@pytest.mark.parametrize(
    ("processors", "memory", "workers"), [(2, 24 * 2**30, 2), (16, 2 * 2**30, 4), (8, 500 * 2**20, 1)]
)
def test_processes_have_a_processor_and_room_each(
    job: CurrentJob, monkeypatch: pytest.MonkeyPatch, processors: int, memory: int, workers: int
) -> None:
    monkeypatch.setattr(dask.system, "CPU_COUNT", processors)
    monkeypatch.setattr(distributed.system, "MEMORY_LIMIT", memory)
    assert job.dask_workers == workers


def test_process_gets_more_than_its_share_of_a_small_memory(job: CurrentJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed.system, "MEMORY_LIMIT", dask_client.ROOM // 4)
    with job.dask(workers=1) as client:
        (worker,) = client.scheduler_info()["workers"].values()
        assert worker["memory_limit"] == dask_client.ROOM
        assert client.submit(os.getpid).result() != os.getpid()


def test_nothing_stays_in_temporary_folders_and_shared_memory(job: CurrentJob, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as parent:
        monkeypatch.setattr(tempfile, "tempdir", parent)
        with job.dask(workers=1):
            (folder,) = Path(parent).iterdir()
            semaphores = [*dask_client.SHARED_MEMORY.glob(f"sem.{folder.name}-*")]
        assert semaphores
        assert not any(semaphore.exists() for semaphore in semaphores)
        assert [*Path(parent).iterdir()] == []


@pytest.mark.parametrize(
    "statement", ["import module_that_is_missing", "raise ValueError('not today')", "raise SystemExit"]
)
def test_module_that_cannot_be_imported_fails_only_the_parts_that_import_it(
    job: CurrentJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], statement: str
) -> None:
    (tmp_path / "broken_module.py").write_text(f"import os\nprint('imported in', os.getpid())\n{statement}\n")
    monkeypatch.syspath_prepend(tmp_path)
    with job.dask(workers=1, imports=["broken_module"]) as client:
        parents = {client.submit(os.getppid, pure=False).result() for _ in range(2)}
        error = client.submit(error_of_import, "broken_module").result()
    output = capfd.readouterr().err
    assert [f"imported in {server}" for server in parents] == re.findall("imported in [0-9]+", output)[:1]
    assert f"Dask's processes begin without the module broken_module: its import raised {error}" in output


def test_failed_part_raises_its_error_and_cancels_the_others(job: CurrentJob) -> None:
    with job.dask(workers=2) as client:
        futures = client.map(fails_or_waits, range(3))
        with pytest.raises(TimeoutError, match="the part's own"):
            list(job.gather(client, futures, "part"))
        assert [future.status for future in futures] == ["error", "cancelled", "cancelled"]


class JustInTime(Future[str]):
    """A result that comes when the wait for it has timed out, and the caller does not know that yet."""

    def result(self, timeout: float | None = None) -> str:
        if not self.done():
            self.set_result("came")
            raise TimeoutError
        return super().result(timeout)


def test_result_that_comes_when_the_wait_for_it_times_out_is_taken() -> None:
    assert dask_client._result(JustInTime(), lambda: None) == "came"


def test_immediate_mode_runs_parts_in_dask_and_saves_them_as_steps(huey: DurableHuey) -> None:
    huey.immediate = True

    @huey.task()
    def analyse() -> list[int]:
        job = current_job()
        with job.dask(workers=1) as client:
            parts = job.gather(client, client.map(ran_in, range(3)), "part")
            return sorted(job.step(f"part:{number}", int, number) for number, _ in parts)

    handle = analyse()
    assert handle() == [0, 1, 2]
    assert handle.progress == (3, 3, "part 3 of 3")
    assert huey.ledger.attempts.step_names(handle.id) == {"part:0", "part:1", "part:2"}


def test_is_saved_names_the_steps_of_earlier_attempts(huey: DurableHuey) -> None:
    seen = []

    @huey.task(retries=1)
    def analyse() -> None:
        job = current_job()
        seen.append([job.is_saved(name) for name in ("one", "two")])
        job.step("one", int)
        seen.append([job.is_saved(name) for name in ("one", "two")])
        raise ValueError

    huey.immediate = True
    analyse()
    assert seen == [[False, False], [False, False], [True, False], [True, False]]
    assert not CurrentJob().is_saved("one")
    with pytest.raises(TypeError, match="The step name 1 is not text."):
        CurrentJob().is_saved(1)  # type: ignore[arg-type]


@pytest.mark.parametrize("workers", [0, -1, 1.5, True, "2"])
def test_wrong_number_of_workers_is_refused(job: CurrentJob, workers: int) -> None:
    with pytest.raises(ValueError, match=f"workers is {workers!r}: give a whole number of processes, 1 or more"):
        with job.dask(workers=workers):
            pass


@pytest.mark.parametrize("imports", ["sklearn.linear_model", [sys]])
def test_imports_that_are_no_list_of_names_are_refused(job: CurrentJob, imports: Any) -> None:
    with pytest.raises(ValueError, match="imports is .*: give a list of names of modules"), job.dask(imports=imports):
        pass


def test_without_dask_the_error_names_the_extra(job: CurrentJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(DaskUnavailable, match='job.dask needs the "dask" extra.'), job.dask():
        pass


def test_processes_that_cannot_start_say_so(job: CurrentJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_client, "LAUNCH", "raise SystemExit('no memory')")
    with pytest.raises(DaskUnavailable, match="Dask's processes ended while they started."), job.dask():
        pass


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "carrier-pigeon://127.0.0.1:1"])
def test_scheduler_that_does_not_answer_is_named_with_what_to_do(
    job: CurrentJob, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setattr(dask_client, "ANSWERS_IN", 0.2)
    monkeypatch.setenv("DASK_SCHEDULER", address)
    with pytest.raises(
        DaskUnavailable, match=f"The Dask scheduler at {address} does not answer within 0.2 s: .*DASK_SCHEDULER"
    ):
        with job.dask():
            pass


# Code of a scheduler that tells all clients something in the moment that the first or the second one joins them.
SPEAKS = """
from distributed import SchedulerPlugin

class Speaks(SchedulerPlugin):
    clients = 0

    def add_client(self, scheduler, client):
        self.clients += 1
        if self.clients <= 2:
            scheduler.loop.add_callback(scheduler.report, {"op": "cancelled-keys", "keys": []})

def dask_setup(scheduler):
    scheduler.add_plugin(Speaks())
"""


@pytest.fixture
def scheduler(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, ConsumerProcess]]:
    """Yield the address of a scheduler without workers, and its process. A parameter is code that it runs first."""
    file, log = tmp_path / "scheduler.json", tmp_path / "dask.log"
    command = ["-m", "dask", "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    if (code := getattr(request, "param", None)) is not None:
        command += ["--preload", code]
    with consumer_process(
        [*command, "--scheduler-file", str(file)], log=log, env=environment(KIT), cwd=tmp_path
    ) as process:
        wait_until(lambda: file.exists() and file.stat().st_size, STARTS_IN)
        yield json.loads(file.read_text())["address"], process


@pytest.mark.parametrize("scheduler", [SPEAKS], indirect=True, ids=["speaks"])
def test_scheduler_that_speaks_while_a_client_joins_is_joined(
    job: CurrentJob, monkeypatch: pytest.MonkeyPatch, scheduler: tuple[str, ConsumerProcess]
) -> None:
    address, _ = scheduler
    with pytest.raises(AssertionError):
        Client(address, set_as_default=False)
    monkeypatch.setenv("DASK_SCHEDULER", address)
    with job.dask() as client:
        assert client.status == "running"


def test_cluster_without_workers_is_told_in_the_log_and_a_lost_one_fails_the_job(
    job: CurrentJob,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    scheduler: tuple[str, ConsumerProcess],
) -> None:
    address, process = scheduler
    monkeypatch.setenv("DASK_SCHEDULER", address)
    with caplog.at_level(logging.WARNING, "jobqueue.dask"), job.dask() as client:
        threading.Timer(0.5, process.kill_all).start()
        with pytest.raises(DaskUnavailable, match=f"The Dask scheduler at {address} is gone"):
            list(job.gather(client, client.map(ran_in, range(3)), "part"))
    assert f"has no worker yet. Start one: dask worker {address}" in caplog.text
