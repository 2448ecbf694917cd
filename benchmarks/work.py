"""The job that every queue of the benchmark runs: it notes in a file when it starts and when it ends."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

NOTES = Path(os.environ.get("BENCH_FOLDER", "."), "notes.txt")
LOOK = 0.001  # seconds between two looks at a gate


class Note(NamedTuple):
    """One line of the notes; `at` is in seconds since the epoch, by the one clock of this machine."""

    job: str
    event: str  # start or end
    pid: int
    at: float


def work(job: str, seconds: float = 0, gate: str = "") -> str:
    """Sleep for so long, or until there is a file of that name."""
    note(job, "start")
    if seconds:
        time.sleep(seconds)
    while gate and not os.path.exists(gate):
        time.sleep(LOOK)
    note(job, "end")
    return job


def note(job: str, event: str) -> None:
    """A line is written whole, whoever is killed meanwhile."""
    descriptor = os.open(NOTES, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{job} {event} {os.getpid()} {time.time():.6f}\n".encode())
    os.close(descriptor)


def notes(path: Path = NOTES) -> Iterator[Note]:
    for line in path.read_text().splitlines() if path.exists() else []:
        job, event, pid, at = line.split()
        yield Note(job, event, int(pid), float(at))
