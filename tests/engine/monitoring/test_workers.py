"""Worker status, and the log of a killed worker's job: with real worker processes, started by Huey's own script."""

import shutil
import signal
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socket import gethostname
from typing import Any

import pytest

from jobqueue import DurableHuey, State, Worker
from tests.engine.consumers import ConsumerProcess, consumer_process, environment, kill, wait_until
from tests.storages import Storage

MODULE = """
import logging, time
from pathlib import Path
from jobqueue import DurableHuey, current_job

huey = DurableHuey("tests", **{storage}, secret_key="a key for tests", lease_s=5, renew_s=0.2, grace_s=10)

@huey.task()
def wait():
    logging.getLogger(__name__).info("attempt %s waits", current_job().attempt)
    while not Path(__file__).with_name("enough").exists():
        time.sleep(0.01)
"""
MEGABYTE = 1024**2


@pytest.fixture
def module(tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    (tmp_path / "queue_of_workers.py").write_text(MODULE.format(storage=storage._asdict()))
    monkeypatch.syspath_prepend(tmp_path)
    import queue_of_workers  # type: ignore[import-not-found]

    yield queue_of_workers
    queue_of_workers.huey.storage.close()
    del sys.modules["queue_of_workers"]


@pytest.fixture
def consumer(module: Any, tmp_path: Path) -> Iterator[ConsumerProcess]:
    script = shutil.which("huey_consumer", path=str(Path(sys.executable).parent))
    assert script is not None
    command = [script, "queue_of_workers.huey", "-k", "process", "-w", "2"]
    environ = environment(tmp_path, GIT_REV="abc123")
    with consumer_process(command, tmp_path / "consumer.log", env=environ, cwd=tmp_path) as consumer:
        yield consumer


@pytest.mark.parametrize("storage", ["sqlite"], indirect=True)
def test_workers_report_host_job_and_memory(module: Any, consumer: ConsumerProcess, tmp_path: Path) -> None:
    huey: DurableHuey = module.huey

    def busy() -> dict[str | None, Worker]:
        return {worker.job: worker for worker in huey.workers()}

    first = module.wait()
    wait_until(lambda: {first.id, None} <= {*busy()})
    worker, idle = busy()[first.id], busy()[None]
    assert {worker.pid, idle.pid} == set(consumer.worker_pids())
    assert {worker.name, idle.name} == {"worker-1", "worker-2"}
    assert (worker.host, worker.version, worker.draining) == (gethostname(), "abc123", False)
    assert worker.task == "queue_of_workers.wait" and idle.task is None
    assert worker.memory is not None and 5 * MEGABYTE < worker.memory < 1000 * MEGABYTE
    assert timedelta(0) < datetime.now(UTC) - worker.started_at < timedelta(minutes=1)
    assert worker.started_at <= worker.seen_at

    wait_until(lambda: [line.text for line in first.log()] == ["attempt 1 waits"])  # although no logging level was set
    kill(worker.pid)
    wait_until(lambda: (runs := busy().get(first.id)) and runs.pid not in (worker.pid, None))
    assert [event.name for event in first.history()] == ["submitted", "claimed", "lost", "claimed"]
    assert first.history()[2].worker == worker.name

    consumer.send(signal.SIGTERM)
    wait_until(lambda: (runs := busy().get(first.id)) and runs.draining)
    (tmp_path / "enough").touch()
    assert consumer.wait() == 0
    assert first.state is State.SUCCEEDED
    assert [(line.attempt, line.text) for line in first.log()] == [(1, "attempt 1 waits"), (2, "attempt 2 waits")]
    assert huey.workers() == []


def test_workers_of_a_consumer_without_heartbeat_are_not_listed(huey: DurableHuey) -> None:
    huey.ledger.consumers.register("consumer", "host", 1, 1, [], version="v1")
    huey.ledger.consumers.heartbeat(
        "consumer", [], 15, '[{"name": "worker-1", "pid": 2, "age_s": 3, "memory": null}]', draining=True
    )
    (worker,) = huey.workers()
    assert (worker.name, worker.pid, worker.version, worker.draining) == ("worker-1", 2, "v1", True)
    assert worker.seen_at - worker.started_at == pytest.approx(timedelta(seconds=3), abs=timedelta(milliseconds=1))
    with huey.ledger.database.statement() as tx:
        tx.run("UPDATE consumers SET seen_at = seen_at - 16")
    assert huey.workers() == []


def test_version_comes_from_the_host_unless_the_app_sets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HEROKU_SLUG_COMMIT", "SOURCE_VERSION", "GIT_REV"):
        monkeypatch.delenv(name, raising=False)
    assert DurableHuey("tests").version is None
    monkeypatch.setenv("HEROKU_SLUG_COMMIT", "abc")
    assert DurableHuey("tests").version == "abc"
    assert DurableHuey("tests", version="1.2").version == "1.2"
