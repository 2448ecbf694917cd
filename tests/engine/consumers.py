"""Consumers for tests: real ones in their own processes, or a simple worker in the test's thread."""

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
from jobqueue.guard import Guard
from tests.waiting import INTERVAL
from tests.waiting import wait_until as wait_until  # for tests that import it from here

TEMPLATE = Path(jobqueue.__file__).parents[1]  # consumers import the same engine as the tests


def work(huey: Huey, until: Callable[[], object] = lambda: True, timeout: float = 5.0) -> None:
    """Run all jobs that are due in this thread, and continue until the condition holds.

    :param timeout: seconds to wait for the condition once nothing is left to run.
    """
    end = time.monotonic() + timeout
    while True:
        if hasattr(huey, "ledger"):
            huey.ledger.housekeeping.promote()
        else:
            for task in huey.read_schedule():
                huey.enqueue(task)
        task = huey.dequeue()
        if task is not None:
            huey.execute(task)
        elif until():
            return
        elif time.monotonic() >= end:
            raise TimeoutError(f"The condition did not hold within {timeout:g} s, and no job is left to run.")
        else:
            time.sleep(INTERVAL)


def environment(*folders: Path, **variables: str) -> dict[str, str]:
    """Return this process's environment, with the engine and other folders on the import path."""
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
    """Call `start(*args)` in n processes at the same moment. Return what each call returned, as text.

    :param code: the Python source that defines `start`.
    :param variables: added to the environment of the processes.
    """
    script = AT_ONCE.format(code=code, n=n)  # forks of a process that has imported everything start at the same moment
    command = [sys.executable, "-c", script, *map(str, args)]
    environ = environment(**variables)
    return subprocess.run(command, env=environ, stdout=-1, text=True, check=True, timeout=30).stdout.splitlines()


class ConsumerProcess:
    """The main process of a consumer. It finds its workers as an operator would, as child processes."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.process = process
        self.log = log

    @property
    def pid(self) -> int:
        return self.process.pid

    def worker_pids(self) -> list[int]:
        """Return the process ids of its live children. A consumer with thread workers has none."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        with suppress(FileNotFoundError):
            return [int(pid) for pid in children.read_text().split() if alive(int(pid))]
        return []

    def send(self, signum: int) -> None:
        """Send a signal to the main process."""
        self.process.send_signal(signum)

    def wait(self, timeout: float = 10.0) -> int:
        """Wait for the main process to end, and return its exit code."""
        return self.process.wait(timeout)

    def kill_all(self) -> None:
        """Kill the main process and its workers with SIGKILL."""
        workers = self.worker_pids()
        for pid in [self.pid, *workers]:
            kill(pid)
        self.process.wait()
        wait_until(lambda: not any(alive(pid) for pid in workers))


@contextmanager
def consumer_process(command: Sequence[str], log: Path, **options: Any) -> Iterator[ConsumerProcess]:
    """Start a consumer with its output in `log`. Its processes end with the block, and also if pytest is killed."""
    guard = Guard()
    program = [*guard.command, sys.executable, *command]
    with log.open("ab") as output:
        process = subprocess.Popen(program, stdout=output, stderr=subprocess.STDOUT, **guard.options, **options)
    try:
        yield ConsumerProcess(process, log)
    finally:
        guard.kill(process)


def kill(pid: int, signum: int = signal.SIGKILL) -> None:
    """Send a signal to a process, if it exists."""
    with suppress(ProcessLookupError):
        os.kill(pid, signum)


def alive(pid: int) -> bool:
    """Return whether a process runs. A zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")
