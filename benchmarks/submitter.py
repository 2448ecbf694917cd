"""A program that submits jobs to a queue and measures it: `submitter.py MODULE COMMAND NUMBER`. Prints a line of JSON.

Each queue gets a separate process, like a web process, which imports only that queue.
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

PAUSE = 0.05, 0.1  # seconds between two jobs, least and most, when latency is measured
BUSY_PACE = 0.05  # seconds from one job of the load to the next
BUSY_JOB = 0.05  # seconds that each of them takes: a quarter of the capacity of four workers
LONG_JOB = 1  # seconds
PATIENCE = 120.0  # seconds for all jobs to end
POLL = 0.1  # seconds between two reads of the notes. Frequent reads would take time from the workers


def throughput(queue: Any, jobs: int) -> dict[str, float]:
    """Submit jobs that do nothing, one by one, while a job blocks each worker. Then release the workers."""
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
    """Submit jobs, each after the last one's end. Return the milliseconds from submit to start, and to result."""
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
    """Submit jobs at an even pace until the file `enough` exists. Wait while there is a job for each worker."""
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
    """Submit jobs that take a second, and then wait for the file `go`."""
    for i in range(jobs):
        queue.submit(f"job-{i}", LONG_JOB, str(NOTES.with_name("go")))


def warm(queue: Any, _: int) -> None:
    """Wait until every worker has run a job."""
    hold(queue, "warm").touch()
    wait_until(lambda: seen("warm-", "start") == seen("warm-", "end"))


def hold(queue: Any, name: str) -> Path:
    """Block every worker with a job until the returned file exists. A worker that prefetches may take several jobs."""
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
            raise TimeoutError(f"The condition was not met within {PATIENCE:g} s.")
        time.sleep(POLL)


def seen(prefix: str, event: str) -> int:
    """Return the number of jobs with this name prefix that have noted the event."""
    noted = NOTES.read_bytes() if NOTES.exists() else b""
    return len(set(re.findall(rf"^{prefix}\d+ {event} ".encode(), noted, re.MULTILINE)))


COMMANDS: dict[str, Callable[[Any, int], Any]] = {
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
    module, command, number = sys.argv[1:]
    queue = importlib.import_module(f"benchmarks.queues.{module}")
    print(json.dumps(COMMANDS[command](queue, int(number))))


if __name__ == "__main__":
    main()
