"""Fixtures: a module with tasks of every outcome, and a consumer that runs them."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.engine.consumers import ConsumerProcess, consumer_process, environment
from tests.storages import Storage

MODULE = """
import logging, os, signal, time
from pathlib import Path
from jobqueue import DurableHuey, current_job
from jobqueue.settings import Settings

settings = Settings()
huey = DurableHuey("tests", **{storage}, secret_key="a key for tests", lease_s=5, renew_s=0.2, grace_s=10)

@huey.task()
def greet(name):
    logging.getLogger(__name__).info("greets")
    return "hello"

@huey.task(retries=1)
def fail(name):
    raise ValueError("no such price")

@huey.task(retries=1)
def fail_once(name):
    if current_job().attempt == 1:
        raise ValueError("no price yet")

@huey.task(timeout=0.1)
def take_too_long(name):
    time.sleep(60)

@huey.task()
def hold():
    while True:
        time.sleep(0.01)

@huey.task(queue="heavy")
def die(name):
    os.kill(os.getpid(), signal.SIGKILL)

@huey.task(queue="heavy")
def die_once(name):
    if current_job().attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
"""

StartConsumer = Callable[..., AbstractContextManager[ConsumerProcess]]


@pytest.fixture
def module(tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    (tmp_path / "queue_to_watch.py").write_text(MODULE.format(storage=storage._asdict()))
    monkeypatch.syspath_prepend(tmp_path)
    import queue_to_watch  # type: ignore[import-not-found]

    yield queue_to_watch
    queue_to_watch.huey.storage.close()
    del sys.modules["queue_to_watch"]


@pytest.fixture
def start_consumer(module: Any, tmp_path: Path) -> StartConsumer:
    """Return a function that starts the command `worker`, two processes, with these environment variables."""
    program = "import queue_to_watch as app, jobqueue.cli; jobqueue.cli.commands(app.huey, app.settings)()"
    command = ["-c", program, "worker"]

    def start(**variables: str) -> AbstractContextManager[ConsumerProcess]:
        environ = environment(tmp_path, **variables)
        return consumer_process(command, tmp_path / "consumer.log", env=environ, cwd=tmp_path)

    return start
