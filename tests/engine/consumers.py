"""Consumers for the tests: real ones in processes of their own; a worker in the test's thread where that is enough."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from huey.api import Huey

import jobqueue
from tests.waiting import INTERVAL
from tests.waiting import wait_until as wait_until  # for those who wait for what is here

TEMPLATE = Path(jobqueue.__file__).parents[1]  # what the tests import, their consumers import too


def work(huey: Huey, until: Callable[[], object] = lambda: True, timeout: float = 5.0) -> None:
    """Be the worker and the scheduler: run all that is due, and what becomes due before the condition holds."""
    end = time.monotonic() + timeout
    while True:
        if hasattr(huey, "ledger"):
            huey.ledger.consumers.promote()
        else:
            for task in huey.read_schedule():
                huey.enqueue(task)
        task = huey.dequeue()
        if task is not None:
            huey.execute(task)
        elif until():
            return
        elif time.monotonic() >= end:
            raise TimeoutError(f"Not so within {timeout:g} s, with nothing left to run.")
        else:
            time.sleep(INTERVAL)


def environment(*folders: Path, **variables: str) -> dict[str, str]:
    """This process's environment, with the template and other folders to import from."""
    paths = [str(TEMPLATE), *map(str, folders)]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"} | variables


AT_ONCE = """
import multiprocessing, sys
import jobqueue
{code}
def run(barrier, queue):
    barrier.wait(10)
    try:
        queue.put(start(*sys.argv[1:]))
    except BaseException as error:
        queue.put(repr(error))
context = multiprocessing.get_context("fork")
barrier, queue = context.Barrier({n}), context.Queue()
processes = [context.Process(target=run, args=(barrier, queue)) for _ in range({n})]
[process.start() for process in processes]
print(*[queue.get(timeout=20) for _ in processes], sep="\\n")
"""


def start_at_once(n: int, code: str, *args: object, **variables: str) -> list[str]:
    """What `start(*args)`, which the code defines, returns in each of n processes that begin it at the same moment.

    `variables`: of their environment.
    """
    script = AT_ONCE.format(code=code, n=n)  # each is a fork of one that has imported all: no import sets them apart
    command = [sys.executable, "-c", script, *map(str, args)]
    environ = environment(**variables)
    return subprocess.run(command, env=environ, stdout=-1, text=True, check=True, timeout=30).stdout.splitlines()


class ConsumerProcess:
    """A consumer's main process. Its workers are found by their parent, as an operator would."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.process = process
        self.log = log

    @property
    def pid(self) -> int:
        return self.process.pid

    def worker_pids(self) -> list[int]:
        """Its living children; a thread consumer has none."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        with suppress(FileNotFoundError):
            return [int(pid) for pid in children.read_text().split() if alive(int(pid))]
        return []

    def send(self, signum: int) -> None:
        self.process.send_signal(signum)

    def wait(self, timeout: float = 10.0) -> int:
        """The exit code."""
        return self.process.wait(timeout)

    def kill_all(self) -> None:
        """kill -9 of the main process and its workers."""
        workers = self.worker_pids()
        for pid in [self.pid, *workers]:
            kill(pid)
        self.process.wait()
        wait_until(lambda: not any(alive(pid) for pid in workers))


@contextmanager
def consumer_process(command: Sequence[str], log: Path, **options: Any) -> Iterator[ConsumerProcess]:
    """Start it; whatever happens, nothing of it is left afterwards. Its output is in `log`."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, *command], stdout=output, stderr=subprocess.STDOUT, start_new_session=True, **options
        )
    consumer = ConsumerProcess(process, log)
    try:
        yield consumer
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # stopped ones too
        process.wait()


def kill(pid: int, signum: int = signal.SIGKILL) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signum)


def alive(pid: int) -> bool:
    """Whether a process runs; one that is dead and not yet waited for does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")
