"""The tasks of the fault tests. They note their actions in a file, in lines that end with the process id."""

import asyncio
import hashlib
import logging
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from huey.api import Task
from huey.exceptions import RetryTask
from huey.utils import Error

from jobqueue import Dataset, DurableHuey, codec, current_job, every
from jobqueue.execution.attempt import current_attempt
from jobqueue.ledger.records import NewVersion

TABLE_ROWS = 100_000  # 8 MB: more than the sockets between two processes buffer
PARTS = 200
LONG = 60.0  # seconds: longer than any test waits

# Late action of the task `late` -> the note that the task writes when its own code ends
LATE = {
    "result": "result went on",
    "progress": "progress left ClaimLost",
    "step": "step left ClaimLost",
    "retry": "retry left ValueError",
    "failure": "failure left ValueError",
}


def note(path: str, *words: object) -> None:
    """Append a line in a single write, so that a kill cannot leave half of it."""
    line = " ".join(map(str, [*words, os.getpid()])) + "\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, line.encode())
    os.close(descriptor)


def notes(path: Path) -> list[list[str]]:
    """Return the words of each line. The last word is the process id."""
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


class Endless:
    """An argument that takes longer to unpickle than any test waits."""

    def __reduce__(self) -> Any:
        return time.sleep, (LONG,)


def square(number: int) -> int:
    return number * number


def part(path: str, number: int, go: str) -> tuple[int, int]:
    """One of PARTS. The second half of them waits for a file. It runs in a process of Dask."""
    note(path, "part", number)
    if number >= PARTS // 2:
        wait_for(go)
    return number, square(number)


def time_out_at(job: Any, path: str) -> None:
    """Wait for the file. Then the job's timeout is over."""
    wait_for(path)
    job.deadline = time.monotonic()
    if signal.getsignal(signal.SIGALRM) is not signal.SIG_DFL:  # in a worker process
        os.kill(os.getpid(), signal.SIGALRM)


def wait_for(path: str) -> None:
    while not os.path.exists(path):
        time.sleep(0.005)


@contextmanager
def all_signals_blocked() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def schedules_on(huey: DurableHuey, phrases: Mapping[str, str]) -> None:
    """Register periodic tasks. A fire waits until the run before it has ended."""
    for name, phrase in phrases.items():
        huey.periodic_task(every(phrase, overlap="queue"), name=name)(lambda: None)


def table_on(huey: DurableHuey) -> Dataset[Any]:
    """Register a dataset of 8 MB. Each cell contains the number of its version."""

    @huey.dataset(lambda moment: False)
    def table() -> Any:
        import numpy as np

        return np.full((TABLE_ROWS, 10), (table.info().version or 0) + 1.0)

    return table


def tasks_on(huey: DurableHuey) -> SimpleNamespace:
    """Register the tasks. Return them by name."""

    @huey.task()
    def quick(value: Any = None, *more: Any) -> Any:
        return value

    @huey.task()
    def naps(seconds: float) -> None:
        time.sleep(seconds)

    @huey.task()
    def collect(path: str, values: list[Any]) -> list[Any]:
        note(path, "collected")
        return [value if isinstance(value, int) else type(value).__name__ for value in values]

    @huey.task()
    def walk(path: str, steps: int, pause: float) -> list[int]:
        """Run steps. Note each when it begins."""

        def window(number: int) -> int:
            note(path, number)
            time.sleep(pause)
            return number

        job = current_job()
        values = []
        for number in range(steps):
            job.progress(number, steps, f"window {number}")
            values.append(job.step(f"window:{number}", window, number))
        return values

    @huey.task()
    def errand(path: str, number: int, steps: int, pause: float, *before: Any) -> int:
        """Note each attempt, and each of its steps when it begins."""

        def step(i: int) -> None:
            note(path, "step", number, i)
            time.sleep(pause)

        note(path, "attempt", number, current_job().attempt)
        for i in range(steps):
            current_job().step(f"step:{i}", step, i)
        return number

    @huey.task()
    def parts(path: str, go: str, late: str) -> int:
        """Return the sum of PARTS squares, computed by Dask. Each is a step. Time out when the file `late` is there."""
        job = current_job()
        if job.attempt == 1:
            threading.Thread(target=time_out_at, args=(job, late), daemon=True).start()
        missing = [number for number in range(PARTS) if not job.is_saved(f"part:{number}")]
        squares = [job.step(f"part:{number}", square, number) for number in {*range(PARTS)}.difference(missing)]
        with job.dask(workers=2) as client:
            futures = [client.submit(part, path, number, go) for number in missing]
            for number, value in job.gather(client, futures, "part", done=len(squares)):
                squares.append(job.step(f"part:{number}", int, value))
        return sum(squares)

    @huey.task(retries=3, retry_delay=0.5)
    def fails_at_first() -> int:
        if current_job().attempt == 1:
            raise ValueError("the first attempt")
        return current_job().attempt

    @huey.task()
    def clocks() -> list[float]:
        """Return the time by the host's clock, read in three ways."""
        return [time.time(), datetime.now().timestamp(), datetime.now(UTC).timestamp()]

    @huey.task()
    def logs(path: str) -> str:
        note(path, "ran")
        logging.getLogger("app").warning("logged")
        return "done"

    @huey.task()
    def asks_for_another_attempt(delay: float) -> int:
        if current_job().attempt == 1:
            raise RetryTask(delay=delay)
        return current_job().attempt

    @huey.task()
    def submits(value: Any) -> None:
        quick(value)

    @huey.task()
    def slow_at_first(path: str, seconds: float = LONG) -> int:
        """Take `seconds` in the first attempt, and no time in later ones."""
        note(path, "began")
        until = time.monotonic() + seconds
        while current_job().attempt == 1 and time.monotonic() < until:
            time.sleep(0.01)
        note(path, "ended")
        return current_job().attempt

    @huey.task()
    def dies(how: str, path: str) -> None:
        note(path, how)
        if how == "exit":
            os._exit(1)
        if how == "files":
            os.closerange(3, 1000)
            return
        os.kill(os.getpid(), signal.Signals[how])
        time.sleep(LONG)

    @huey.task()
    def silences() -> str:
        sys.stdout.close()
        with sys.stderr:
            pass
        return "silent"

    @huey.task()
    def waits_for_another(seconds: float) -> Any:
        return undisturbed(seconds).get(blocking=True, timeout=LONG)

    @huey.task()
    async def awaits(where: str, path: str) -> None:
        """Run for long in an event loop: in a coroutine, in another one, or in a callback."""

        async def wait() -> None:
            note(path, "began")
            try:
                await asyncio.sleep(LONG)
            finally:
                note(path, "cleaned")

        def block() -> None:
            note(path, "began")
            while True:
                time.sleep(0.01)

        if where == "a callback":
            asyncio.get_running_loop().call_soon(block)
            await asyncio.sleep(LONG)
        await (asyncio.gather(wait(), asyncio.sleep(LONG)) if where == "another coroutine" else wait())

    @huey.task(retries=3)
    def hard_to_cancel(how: str, path: str) -> str:
        """Run forever in one of the ways that make a job hard to cancel."""
        note(path, "began")
        match how:
            case "in Python":
                while True:
                    time.sleep(0.01)
            case "swallowing exceptions":
                while True:
                    try:
                        time.sleep(0.01)
                    except Exception:
                        note(path, "swallowed")
            case "with progress":
                while True:
                    current_job().progress(1, 2)
            case "in a call of C":
                hashlib.pbkdf2_hmac("sha256", b"", b"", 1_000_000_000)
            case "with all signals blocked":
                with all_signals_blocked():
                    time.sleep(LONG)
        return "went on"

    @huey.task()
    def undisturbed(seconds: float) -> str:
        """Return the exception that interrupts this job, or "undisturbed"."""
        until = time.monotonic() + seconds
        try:
            while time.monotonic() < until:
                time.sleep(0.001)
        except BaseException as error:
            return repr(error)
        return "undisturbed"

    @huey.task(retry_delay=0.05)
    def lasts(name: str, seconds: float, *before: Any) -> str:
        """Stay busy for `seconds`. The first attempt fails if the name starts with "retried"."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(0.001)
        if name.startswith("retried") and current_job().attempt == 1:
            raise ValueError("so that it is retried")
        return name

    @huey.task()
    def brief(seconds: float) -> list[float]:
        """Stay busy until the end, so that a timeout may hit the very last moment."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            pass
        return [seconds] * 50

    @huey.task(timeout=0.3)
    def hard_to_time_out(how: str) -> None:
        """Run where exceptions that signal handlers raise get lost. The second attempt returns at once."""
        if current_job().attempt > 1:
            return
        if how == "in a call of C":
            hashlib.pbkdf2_hmac("sha256", b"", b"", 1_000_000_000)

        class Closing:
            def __del__(self) -> None:
                sum(range(10_000))

        while True:
            if how == "in a destructor":
                Closing()
                continue
            try:
                time.sleep(0.01)
            except Exception:
                note("/dev/null", "swallowed")

    @huey.task()
    def hammer(number: int) -> None:
        """Execute every statement that a job can cause, without a pause, until the timeout."""
        job = current_job()
        turn = 0
        while True:
            turn += 1
            job.step(f"turn:{turn}", list, range(turn))
            job.progress(turn, turn + 1, "hammering")
            with huey.lock_task(f"lock:{number}"):
                if turn % 4 == 1:
                    quick(number, priority=-1)

    @huey.task()
    def late(what: str, path: str, go: str) -> str:
        """Wait in the first attempt until another attempt has ended the job. Then act late."""
        job = current_job()
        if job.attempt > 1:
            time.sleep(0.6)  # past the throttle
        job.progress(job.attempt, 9, f"attempt {job.attempt}")
        note(path, "began", what, job.attempt)
        if job.attempt > 1:
            job.step("a step", str, "of the second")
            return "the second"
        wait_for(go)
        try:
            if what == "step":
                job.step("a late step", str, "of the first")
            if what == "progress":
                time.sleep(0.6)  # past the throttle
                job.progress(8, 9, "late")
            if what in ("retry", "failure"):
                raise ValueError("late")
        except BaseException as error:
            note(path, what, "left", type(error).__name__)
            raise
        note(path, what, "went on")
        return "the first"

    @huey.task()
    def waits(path: str, go: str) -> int:
        note(path, "began")
        wait_for(go)
        return current_job().attempt

    @huey.task()
    def says(path: str, word: str) -> str:
        note(path, word)
        return word

    @huey.task()
    def names_at_length(what: str) -> None:
        """Use a name for a step or a lock that does not fit in a page of an index, even compressed."""
        name = random.Random(1).randbytes(8_000).hex()
        if what == "step":
            current_job().step(name, int)
        with huey.lock_task(name):
            pass

    @huey.task()
    def reports(path: str, go: str) -> str:
        """Report progress, save steps, take a lock and submit jobs until the file `go` exists."""
        note(path, "began")
        job = current_job()
        number = 0
        while not os.path.exists(go):
            job.progress(number, number + 1)
            with huey.lock_task("reports"):
                job.step(f"step:{number}", int, number)
            quick(number)
            number += 1
            time.sleep(0.05)
        kept = len(huey.ledger.attempts.step_names(str(job.id))), len(huey.jobs(task=quick, limit=10_000))
        return "all kept" if kept == (number, number) else f"{kept} of {number}"

    @huey.task()
    def meets(path: str, n: int) -> int:
        """Wait until `n` of these jobs have begun, each in a different worker."""
        note(path, "here")
        while sum(words[0] == "here" for words in notes(Path(path))) < n:
            time.sleep(0.005)
        return os.getpid()

    @huey.task()
    def crashing(point: str, fails: bool, path: str) -> str:
        note(path, "ran")
        if fails:
            raise ValueError("so that a handler is called")
        return "done"

    @huey.task()
    def told(path: str, outcome: Any) -> None:
        note(path, "told")

    @huey.task()
    def noted(path: str, word: str, value: Any = None) -> Any:
        note(path, word)
        return value

    @huey.task()
    def fails(path: str) -> None:
        note(path, "ran")
        raise ValueError("on purpose")

    @huey.task(retries=1, context=True)
    def fails_once(path: str, task: Task) -> str:
        note(path, "ran")
        if task.retries:
            raise ValueError("so that it is retried")
        return "done"

    @huey.task()
    def saves(path: str, lock: str) -> str:
        """Write everything that a job can write while it runs."""
        note(path, "ran")
        job = current_job()
        job.step("a step", note, path, "stepped")
        job.progress(1, 2)
        with huey.lock_task(lock):
            note(path, "locked")
        return "done"

    @huey.task()
    def makes_a_version(path: str, name: str) -> None:
        """Save a version, as the periodic job of a dataset does."""
        note(path, "ran")
        media_type, body = codec.encode(name)
        version = NewVersion(
            name=name, keep=1, as_of=None, rows=1, size=len(body), digest="", media_type=media_type, body=body
        )
        current_attempt.get().version = version  # type: ignore[union-attr]

    @huey.task()
    def counts(path: str, counter: str) -> str:
        note(path, "ran")
        huey.storage.incr(counter)
        return "done"

    @huey.task()
    def makes(path: str, size: int, how: str) -> Any:
        """Make `size` bytes. Return them, or save them as a step or as a dataset's version."""
        note(path, "ran", how.replace(" ", "_"))
        body = random.Random(1).randbytes(size)
        if how == "a step":
            return len(current_job().step("large", bytes, body))
        if how == "a version":
            current_attempt.get().version = NewVersion(  # type: ignore[union-attr]
                name="large", keep=1, as_of=None, rows=1, size=size, digest="", media_type="", body=body
            )
            return size
        return body

    @huey.task()
    def measures(value: bytes) -> int:
        return len(value)

    @huey.task()
    def submits_another(path: str, child: str) -> None:
        """Submit a job with a fixed id, so that each attempt submits the same job."""
        note(path, "ran")
        huey.enqueue(noted.s(path, "child", id=child))

    @huey.task(context=True)
    def toils(path: str, name: str, seconds: float, how: str, *given: Any, task: Task) -> list[Any]:
        """Run for `seconds`. Return the name and the given values, with the type's name in place of an error."""
        with huey.lock_task(how) if how.startswith("lock") else nullcontext():
            note(path, "began", how, name)
            time.sleep(seconds)
            note(path, "ended", how, name)
        if how == "fails" or (how == "fails at first" and task.retries):
            raise ValueError("on purpose")
        return [name, *([type(v).__name__ if isinstance(v, Error) else v for v in values] for values in given)]

    @huey.task()
    def dies_while(path: str, folder: str, prefix: str) -> None:
        """Exit the process while the folder has a file whose name starts with `prefix`."""
        note(path, "ran")
        if any(name.startswith(prefix) for name in os.listdir(folder)):
            os._exit(9)

    @huey.task()
    def member(number: int, seconds: float) -> int:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            current_job().progress(number, 30)
            time.sleep(0.005)
        return current_job().step("value", int, number)

    @huey.task()
    def pool_of_processes(n: int) -> list[int]:
        """Use a pool of forked processes, which inherit the worker's state."""
        with multiprocessing.get_context("fork").Pool(2) as pool:
            return pool.map(square, range(n))

    @huey.task()
    def terminates_its_child() -> int | None:
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(LONG,))
        child.start()
        child.terminate()
        child.join()
        return child.exitcode

    def crash(point: str, task: Task) -> None:
        """Exit the process at this point of a job's first attempt."""
        if task.name == "crashing" and task.args[0] == point and task.attempt.job.attempt == 1:
            os._exit(9)

    @huey.signal()
    def crash_in_signal(signum: str, task: Task, *args: Any) -> None:
        if hasattr(task, "attempt"):
            crash(f"signal {signum}", task)

    @huey.pre_execute()
    def crash_before(task: Task) -> None:
        crash("before", task)

    @huey.post_execute()
    def crash_after(task: Task, value: Any, error: Exception | None) -> None:
        crash("after", task)

    return SimpleNamespace(**{name: task for name, task in locals().items() if name != "huey"})
