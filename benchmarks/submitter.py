"""A program that uses a queue, and measures it from within: `submitter.py MODULE WHAT [NUMBER]`. Prints one line of JSON.

A process of its own for each queue, as a web process is, with nothing imported but that queue.
"""

import importlib
import itertools
import json
import random
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.queues import WORKERS
from benchmarks.work import NOTES, notes

PAUSE = 0.05, 0.1  # seconds between two jobs of a queue that is asked how soon it starts one
BUSY_PACE = 0.05  # seconds from one job of the load to the next
BUSY_JOB = 0.05  # seconds that each of them takes: a quarter of what four workers could take
LONG_JOB = 1  # seconds
PATIENCE = 120.0  # seconds for all jobs to end
LOOK = 0.1  # seconds between two looks at the notes: rarely, as it takes time from the workers


def throughput(queue: Any, jobs: int) -> dict[str, float]:
    """Jobs that do nothing: submitted one by one while all workers are held, then released."""
    gate = hold(queue, "hold")
    began = time.perf_counter()
    for i in range(jobs):
        queue.submit(f"noop-{i}")
    submitted = time.perf_counter() - began
    released = time.time()
    gate.touch()
    wait_until(lambda: seen("noop-", "end") == jobs)
    last = max(note.at for note in notes() if note.event == "end" and note.job.startswith("noop-"))
    return {"submits /s": jobs / submitted, "jobs /s": jobs / (last - released)}


def latency(queue: Any, jobs: int, name: str = "probe") -> dict[str, list[float]]:
    """Milliseconds from submit to start, and to result, of jobs submitted one after the other's end."""
    submitted, got = {}, {}
    for i in range(jobs):
        time.sleep(random.uniform(*PAUSE))
        job = f"{name}-{i}"
        submitted[job] = time.time()
        queue.wait(queue.submit(job))
        got[job] = time.time()
    started = {note.job: note.at for note in notes() if note.event == "start"}
    return {
        "start": [(started[job] - at) * 1000 for job, at in submitted.items()],
        "result": [(got[job] - at) * 1000 for job, at in submitted.items()],
    }


def load(queue: Any, most: int) -> None:
    """Jobs at an even pace, until there is a file `enough`; but a queue that cannot keep up gets no more than it can do."""
    enough = NOTES.with_name("enough")
    for i in range(most):
        while i - seen("load-", "end") >= WORKERS and not enough.exists():
            time.sleep(BUSY_PACE)
        if enough.exists():
            return
        queue.submit(f"load-{i}", BUSY_JOB)
        time.sleep(BUSY_PACE)


def consumer(queue: Any, _: int) -> dict[str, Any]:
    return {"command": queue.CONSUMER, "processes": getattr(queue, "PROCESSES", 1)}


def submit(queue: Any, jobs: int) -> None:
    """Jobs that take a while, and until there is a file `go`."""
    for i in range(jobs):
        queue.submit(f"job-{i}", LONG_JOB, str(NOTES.with_name("go")))


def warm(queue: Any, _: int) -> None:
    """Returns when every worker has run a job."""
    hold(queue, "warm").touch()
    wait_until(lambda: seen("warm-", "start") == seen("warm-", "end"))


def hold(queue: Any, name: str) -> Path:
    """Keep every worker at a job, until the file is there that is returned. One that prefetches takes more than it starts."""
    gate = NOTES.with_name(f"{name}.gate")
    jobs = itertools.count()

    def all_held() -> bool:
        if (held := seen(f"{name}-", "start")) < WORKERS:
            queue.submit(f"{name}-{next(jobs)}", 0, str(gate))
        return held >= WORKERS

    wait_until(all_held)
    return gate


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(f"Not so within {PATIENCE:g} s.")
        time.sleep(LOOK)


def seen(prefix: str, event: str) -> int:
    """How many jobs with such a name have noted it."""
    noted = NOTES.read_bytes() if NOTES.exists() else b""
    return len(set(re.findall(rf"^{prefix}\d+ {event} ".encode(), noted, re.MULTILINE)))


WHAT: dict[str, Callable[[Any, int], Any]] = {
    "consumer": consumer,
    "prepare": lambda queue, _: queue.prepare(),
    "warm": warm,
    "throughput": throughput,
    "idle": latency,
    "busy": lambda queue, jobs: latency(queue, jobs, "busy"),
    "load": load,
    "submit": submit,
    "kept": lambda queue, _: queue.kept(),
}


def main() -> None:
    module, what, number = sys.argv[1:]
    queue = importlib.import_module(f"benchmarks.queues.{module}")
    print(json.dumps(WHAT[what](queue, int(number))))


if __name__ == "__main__":
    main()
