"""Tests of a job whose parts run in Dask: whatever is killed or stopped, its result is right and none of its processes stays."""

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from distributed import Client

from jobqueue import DurableHuey, JobHandle, State
from tests.engine.consumers import ConsumerProcess, alive, consumer_process, environment, wait_until
from tests.faults.conftest import KIT, StartConsumer
from tests.faults.fault_jobs import PARTS, notes, square

pytestmark = pytest.mark.parametrize("storage", ["sqlite"], indirect=True)  # parts do not touch the ledger

MARK = "FAULT_TEST"  # a variable in the environment of the consumer, and so of all processes of its jobs
GONE_IN = 5.0  # seconds
STARTS_IN = 180.0  # seconds in which Dask starts on a busy machine; no test measures it
TIMEOUT = 300.0  # seconds. It is over when the test says so, however long the start took
SUM = sum(map(square, range(PARTS)))


class Parts:
    """A job with half of its parts done, and its processes."""

    def __init__(self, huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, path: str, go: Path) -> None:
        self._huey, self._start, self._tasks = huey, start, tasks
        self.path, self.go, self.late = Path(path), go, go.with_name("late")
        self.handle: JobHandle
        self.consumer: ConsumerProcess
        self._others: set[int] = set()

    def start_consumer(self, **options: object) -> None:
        self.consumer = self._start(environ={MARK: str(self.path)}, **options)
        self._others |= marked(str(self.path))

    def start(self, timeout: float | None = None, **options: object) -> None:
        self.start_consumer(**options)
        self.handle = self._huey.enqueue(
            self._tasks.parts.s(str(self.path), str(self.go), str(self.late), timeout=timeout)
        )

    def is_half_done(self) -> bool:
        """Return whether the ledger has half of the parts, and two others have begun."""
        progress = self.handle.progress
        return progress is not None and progress.done == PARTS // 2 and len(self.times()) >= PARTS // 2 + 2

    def times(self) -> Counter[int]:
        """Return how often each part was begun."""
        return Counter(int(number) for _, number, _ in notes(self.path))

    def processes(self) -> set[int]:
        """Return the live processes that the job started."""
        return marked(str(self.path)) - self._others - {*self.consumer.worker_pids()}

    def are_gone(self) -> None:
        """Wait until the job's processes are gone."""
        wait_until(lambda: not self.processes(), GONE_IN)

    def ends_well(self) -> None:
        """Let the other parts go on, and wait for the right result."""
        self.go.touch()
        assert self.handle.get(blocking=True, timeout=STARTS_IN) == SUM
        assert self.times().keys() == {*range(PARTS)}
        assert sum(self.times().values()) <= PARTS + 2  # only the two parts that had begun were begun again
        self.are_gone()


def marked(value: str) -> set[int]:
    """Return the live processes whose environment has the mark."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            if f"{MARK}={value}".encode() in folder.joinpath("environ").read_bytes().split(b"\0"):
                found.add(int(folder.name))
    return {pid for pid in found if alive(pid)}


@pytest.fixture
def parts(huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, path: str, go: Path) -> Parts:
    return Parts(huey, start, tasks, path, go)


def test_killed_dask_worker_costs_its_parts_again_and_not_the_job(parts: Parts) -> None:
    parts.start()
    wait_until(parts.is_half_done, STARTS_IN)
    *_, pid = notes(parts.path)[-1]
    assert int(pid) in parts.processes()
    os.kill(int(pid), signal.SIGKILL)
    parts.ends_well()
    job = parts.handle.get_job()
    assert (job.state, job.attempt, job.losses) == (State.SUCCEEDED, 1, 0)


@pytest.mark.parametrize("worker_type", ["process", "thread"])
def test_cancelled_job_ends_its_dask_processes(parts: Parts, worker_type: str) -> None:
    parts.start(worker_type=worker_type)
    wait_until(parts.is_half_done, STARTS_IN)
    assert parts.processes()
    assert parts.handle.cancel()
    parts.are_gone()
    assert parts.handle.state is State.CANCELLED
    assert parts.handle.retry()
    parts.ends_well()


def test_job_out_of_time_ends_its_dask_processes(parts: Parts) -> None:
    parts.start(timeout=TIMEOUT)
    wait_until(parts.is_half_done, STARTS_IN)
    before = parts.processes()
    parts.late.touch()
    wait_until(lambda: not any(map(alive, before)), GONE_IN)
    wait_until(lambda: parts.handle.state.ended)
    job = parts.handle.get_job()
    assert (job.state, job.error) == (State.FAILED, f"Timed out: it ran longer than its timeout of {TIMEOUT:g} s.")
    assert parts.handle.retry()
    parts.ends_well()


def test_dask_processes_die_with_the_worker_of_their_job(parts: Parts) -> None:
    parts.start()
    wait_until(parts.is_half_done, STARTS_IN)
    before = parts.processes()
    (worker,) = parts.consumer.worker_pids()
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: not any(map(alive, before)), GONE_IN)
    parts.ends_well()
    job = parts.handle.get_job()
    assert (job.attempt, job.losses) == (2, 1)


def test_stopped_consumer_ends_the_dask_processes_of_a_job_that_it_releases(parts: Parts) -> None:
    parts.start()
    wait_until(parts.is_half_done, STARTS_IN)
    assert parts.processes()
    parts.consumer.send(signal.SIGTERM)
    assert parts.consumer.wait() == 0
    parts.are_gone()
    job = parts.handle.get_job()
    assert (job.state, job.returns, job.losses) == (State.QUEUED, 1, 0)
    parts.start_consumer()
    parts.ends_well()


def test_stop_signal_for_all_processes_of_a_host_lets_the_job_end(parts: Parts) -> None:
    parts.start(grace_s=STARTS_IN)
    wait_until(parts.is_half_done, STARTS_IN)
    for pid in {parts.consumer.pid, *parts.consumer.worker_pids()} | parts.processes():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    parts.ends_well()
    assert parts.handle.get_job().attempt == 1
    assert parts.consumer.wait() == 0


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, list[int]]]:
    """Yield the address of a scheduler with two workers, as operators start them, and the ids of these three processes."""
    file = tmp_path / "scheduler.json"
    commands = [
        ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)],
        *[["worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-nanny", "--no-dashboard"]] * 2,
    ]
    with ExitStack() as stack:
        started = []
        for command in commands:
            log, env = tmp_path / "dask.log", environment(KIT)
            process = consumer_process(["-m", "dask", *command], log=log, env=env, cwd=tmp_path)
            started.append(stack.enter_context(process).pid)
            wait_until(lambda: file.exists() and file.stat().st_size, STARTS_IN)
        yield json.loads(file.read_text())["address"], started
        print((tmp_path / "dask.log").read_text()[-5000:])


def test_cancelled_job_on_a_cluster_leaves_the_cluster_and_takes_its_parts_away(
    parts: Parts, cluster: tuple[str, list[int]]
) -> None:
    address, started = cluster
    parts.start(dask_scheduler=address)
    wait_until(parts.is_half_done, STARTS_IN)
    assert {int(pid) for *_, pid in notes(parts.path)} == {*started[1:]}
    assert parts.processes() == set()
    with Client(address, set_as_default=False) as client:  # before the cancel, of which the scheduler tells all clients
        assert parts.handle.cancel()
        assert parts.consumer.worker_pids()
        wait_until(lambda: len(sum(client.processing().values(), ())) <= 2)  # a part that runs cannot be interrupted
        wait_until(
            lambda: not any(client.run(lambda dask_worker: len(dask_worker.state.ready)).values())
        )  # they hear it later
        assert len(parts.times()) == PARTS // 2 + 2
        assert parts.handle.retry()
        parts.ends_well()
        assert client.submit(os.getpid).result() in started
    assert all(map(alive, started))


def test_killed_worker_of_a_job_on_a_cluster_takes_its_parts_away(parts: Parts, cluster: tuple[str, list[int]]) -> None:
    address, started = cluster
    parts.start(dask_scheduler=address)
    wait_until(parts.is_half_done, STARTS_IN)
    (worker,) = parts.consumer.worker_pids()
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: parts.handle.get_job().attempt == 2, STARTS_IN)
    parts.ends_well()
    assert parts.handle.get_job().losses == 1
    assert all(map(alive, started))
