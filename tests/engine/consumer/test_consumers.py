"""Real consumers: the console script, threads and processes, periodic tasks, hooks of workers."""

import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from jobqueue import DurableHuey, State
from jobqueue.consumer.consumer import TOO_MANY_WORKERS
from tests.engine.consumers import ConsumerProcess, consumer_process, environment, wait_until
from tests.storages import Storage

MODULE = """
import gc, os, time
from pathlib import Path
from huey import crontab
from jobqueue import DurableHuey, current_job, every

huey = DurableHuey("tests", **{storage}, secret_key="a key for tests", lease_s=2, renew_s=0.5, grace_s=2)
notes = Path(__file__).with_name("notes.txt")

def note(word):
    with notes.open("a") as file:
        file.write(f"{{word}}\\n")

@huey.task()
def add(a, b):
    return a + b

@huey.task()
def whoami():
    return [os.getpid(), current_job().id]

kept = []

@huey.task()
def leak():
    import psutil

    kept.append(b"x" * 50_000_000)
    return [os.getpid(), psutil.Process().memory_info().rss / 1e6]

@huey.task()
def collect_garbage():
    import psutil

    before = psutil.Process().memory_full_info().uss
    gc.collect()
    return psutil.Process().memory_full_info().uss - before

@huey.task()
def meet(n):
    Path(__file__).with_name(f"{{current_job().id}}.here").touch()
    while len(list(Path(__file__).parent.glob("*.here"))) < n:
        time.sleep(0.01)
    return os.getpid()

@huey.task(retries=2, retry_delay=0.2)
def flaky():
    if current_job().attempt < 3:
        raise ValueError("not yet")
    return current_job().attempt

@huey.task(timeout=0.3)
def endless():
    while True:
        time.sleep(0.01)

@huey.on_startup()
def startup():
    note("startup")

@huey.on_shutdown()
def shutdown():
    note("shutdown")
"""

PERIODIC = """
@huey.periodic_task(every("second", overlap="queue"))
def each_second():
    note("each second")
    return object()  # no result is stored

@huey.periodic_task(crontab(minute="59", hour="23", day="31", month="2"))
def never():
    note("never")

@huey.periodic_task(lambda moment: 1 / 0)
def broken():
    note("broken")
"""

COMMANDS = """
from queue_of_tests import huey

from jobqueue.cli import commands
from jobqueue.settings import Settings

if __name__ == "__main__":
    commands(huey, Settings())()
"""

Start = Callable[..., ConsumerProcess]
MORE_OPTIONS = [("-k", "process"), ("-k", "process", "-w", "2"), ("-w", "4")]


@pytest.fixture
def module(tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Import an app's module in this process, as a web process does."""
    (tmp_path / "queue_of_tests.py").write_text(MODULE.format(storage=storage._asdict()))
    monkeypatch.syspath_prepend(tmp_path)
    import queue_of_tests  # type: ignore[import-not-found]

    yield queue_of_tests
    queue_of_tests.huey.storage.close()
    del sys.modules["queue_of_tests"]


@pytest.fixture
def huey_consumer(tmp_path: Path) -> Iterator[Start]:
    """`huey_consumer queue_of_tests.huey ...`, Huey's own console script."""
    script = shutil.which("huey_consumer", path=str(Path(sys.executable).parent))
    assert script is not None
    with ExitStack() as stack:

        def start(*options: str) -> ConsumerProcess:
            command = [script, "queue_of_tests.huey", *options]
            return stack.enter_context(
                consumer_process(command, tmp_path / "consumer.log", env=environment(tmp_path), cwd=tmp_path)
            )

        yield start


def notes(module: Any) -> list[str]:
    return module.notes.read_text().splitlines() if module.notes.exists() else []


@pytest.mark.parametrize(
    "options", [(), *(pytest.param(more, marks=pytest.mark.long) for more in MORE_OPTIONS)], ids=" ".join
)
def test_hueys_own_script_runs_the_consumer(module: Any, huey_consumer: Start, options: tuple[str, ...]) -> None:
    early = module.add(1, 2)  # before any consumer runs
    consumer = huey_consumer(*options)
    assert early.get(blocking=True, timeout=10) == 3
    flaky = module.flaky()
    wait_until(lambda: flaky.state.ended)
    assert flaky() == 3
    later = module.add.schedule((1, 2), delay=0.2)
    assert later.get(blocking=True, timeout=5) == 3
    assert module.huey.enqueue(module.add.s(1, 2).then(module.add, 10)).get(blocking=True, timeout=5) == [3, 13]
    handle = module.whoami()
    pid, job_id = handle.get(blocking=True, timeout=5)
    assert job_id == handle.id
    assert (pid == consumer.pid) is ("process" not in options)
    workers = next((int(after) for option, after in zip(options, options[1:], strict=False) if option == "-w"), 1)
    wait_until(lambda: len(notes(module)) == workers)
    consumer.send(signal.SIGTERM)
    assert consumer.wait() == 0
    assert notes(module) == ["startup"] * workers + ["shutdown"] * workers


def test_timeout_interrupts_a_job_in_a_worker_process_anywhere(module: Any, huey_consumer: Start) -> None:
    huey_consumer("-k", "process")
    handle = module.endless()
    wait_until(lambda: handle.state is State.FAILED)
    job = handle.get_job()
    assert job.error == "Timed out: it ran longer than its timeout of 0.3 s."
    assert 0.25 < (job.ended_at - job.claimed_at).total_seconds() < 1


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_worker_is_replaced_after_max_tasks(module: Any, huey_consumer: Start, kind: str) -> None:
    huey_consumer("-k", kind, "-M", "2")
    assert [module.add(i, 0).get(blocking=True, timeout=10) for i in range(5)] == list(range(5))
    assert notes(module).count("shutdown") >= 2


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Start]:
    """`python -m app worker ...`, with settings as keyword arguments."""
    (tmp_path / "app_of_tests.py").write_text(COMMANDS)
    with ExitStack() as stack:

        def start(*options: str, **settings: str) -> ConsumerProcess:
            command = ["-m", "app_of_tests", "worker", "--workers", "1", *options]
            log = tmp_path / "consumer.log"
            return stack.enter_context(
                consumer_process(command, log, env=environment(tmp_path, **settings), cwd=tmp_path)
            )

        yield start


def test_worker_process_is_replaced_after_max_jobs(module: Any, worker: Start) -> None:
    handles = [module.whoami() for _ in range(6)]
    worker("--max-jobs", "2")
    pids = [handle.get(blocking=True, timeout=20)[0] for handle in handles]
    assert pids[::2] == pids[1::2] and len(set(pids)) == 3
    assert {(job.attempt, job.losses, job.returns) for job in module.huey.jobs()} == {(1, 0, 0)}


@pytest.mark.long
def test_worker_process_that_leaks_is_replaced_between_jobs(module: Any, worker: Start, tmp_path: Path) -> None:
    handles = [module.leak() for _ in range(8)]
    worker(WORKER_MAX_MEMORY="230")
    ran = [handle.get(blocking=True, timeout=20) for handle in handles]
    replaced = [before != after for (before, _), (after, _) in zip(ran, ran[1:], strict=False)]
    assert replaced == [megabytes > 230 for _, megabytes in ran[:-1]] and any(replaced) and not replaced[0]
    assert {(job.state, job.attempt, job.losses, job.returns) for job in module.huey.jobs()} == {("succeeded", 1, 0, 0)}
    assert "worker-1 is replaced: it has run " in (tmp_path / "consumer.log").read_text()


def test_max_memory_is_refused_for_threads_which_share_a_process(module: Any) -> None:
    with pytest.raises(ValueError, match="these workers are threads of one process. Remove it, or use processes"):
        module.huey.create_consumer(worker_type="thread", max_memory_mb=100)


def test_idle_consumer_starts_a_submitted_job_immediately(module: Any, huey_consumer: Start) -> None:
    huey_consumer("-k", "process")
    module.add(1, 2).get(blocking=True, timeout=10)
    waits = []
    for _ in range(10):
        submitted = time.monotonic()
        module.add(1, 2).get(blocking=True, timeout=5)
        waits.append(time.monotonic() - submitted)
    assert sorted(waits)[5] < 0.5


def test_workers_run_jobs_in_parallel(module: Any, huey_consumer: Start) -> None:
    huey_consumer("-k", "process", "-w", "3")
    pids = module.meet.map([3, 3, 3]).get(blocking=True, timeout=10)  # none ends before the last has started
    assert len(set(pids)) == 3


def test_full_garbage_collection_in_a_worker_keeps_the_memory_that_workers_share(
    module: Any, huey_consumer: Start
) -> None:
    huey_consumer("-k", "process")
    module.add(1, 2).get(blocking=True, timeout=10)
    assert module.collect_garbage().get(blocking=True, timeout=10) < 3_000_000  # bytes; nothing shared would be 20 MB


def test_schedule_fires_once_per_moment_across_consumers(module: Any, tmp_path: Path, huey_consumer: Start) -> None:
    source = tmp_path / "queue_of_tests.py"
    source.write_text(source.read_text() + PERIODIC)
    huey: DurableHuey = module.huey
    runs_none = huey_consumer("-n")
    wait_until(lambda: any(row["seen_at"] - row["started_at"] > 1 for row in huey.ledger.consumers.all()))
    assert huey.jobs() == []
    consumers = [huey_consumer("-k", "process") for _ in range(2)]
    wait_until(lambda: len(huey.jobs()) >= 2)
    third = huey_consumer("-k", "process")  # a restart fires nothing again
    wait_until(lambda: len(huey.ledger.consumers.all()) == 4)
    enough = len(huey.jobs()) + 2
    wait_until(lambda: len(huey.jobs()) >= enough)
    for consumer in [*consumers, third, runs_none]:
        assert consumer.process.poll() is None
        consumer.send(signal.SIGTERM)
        assert consumer.wait() == 0
    fires = huey.jobs()[::-1]
    assert {fire.name for fire in fires} == {"each_second"}
    dues = [fire.due_at.timestamp() for fire in fires if fire.due_at]
    assert dues == [dues[0] + n for n in range(len(fires))]
    assert notes(module).count("each second") == sum(fire.state is State.SUCCEEDED for fire in fires) >= 2


def test_no_consumer_starts_in_immediate_mode(huey: DurableHuey) -> None:
    huey.immediate = True
    with pytest.raises(Exception, match="immediate"):
        huey.create_consumer().start()


@pytest.mark.parametrize("storage", ["postgres"], indirect=True)
def test_more_workers_than_the_database_has_connections_are_refused(
    huey: DurableHuey, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(SystemExit) as exit:
        huey.create_consumer(workers=5000).start()
    assert exit.value.code == TOO_MANY_WORKERS
    assert re.search(r"5000 workers need 5002 connections, .* at most (\d+) workers \(--workers \1 ", caplog.text)
    assert huey.ledger.consumers.all() == []


@pytest.mark.parametrize("storage", ["sqlite", "postgres"], indirect=True)
@pytest.mark.parametrize("graceful", [True, False])
@pytest.mark.parametrize("kind", ["thread", "process"])
def test_consumer_may_be_stopped_before_it_starts(huey: DurableHuey, kind: str, graceful: bool) -> None:
    consumer = huey.create_consumer(worker_type=kind)
    consumer.stop(graceful=graceful)
    assert consumer.stop_flag.is_set()
    assert huey.ledger.consumers.all() == []
