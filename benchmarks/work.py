"""The job that every queue of the benchmark runs. It writes its start and its end to a file."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

NOTES = Path(os.environ.get("BENCH_FOLDER", "."), "notes.txt")
POLL = 0.001  # seconds between two checks of a gate


class Note(NamedTuple):
    """One line of the notes. `at` is in seconds since the epoch, by this machine's clock."""

    job: str
    event: str  # start or end
    pid: int
    at: float


def work(job: str, seconds: float = 0, gate: str = "") -> str:
    """Sleep for `seconds`, and then until the file `gate` exists."""
    note(job, "start")
    if seconds:
        time.sleep(seconds)
    while gate and not os.path.exists(gate):
        time.sleep(POLL)
    note(job, "end")
    return job


def note(job: str, event: str) -> None:
    """Append a line in a single write, so that a kill cannot leave half of it."""
    descriptor = os.open(NOTES, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{job} {event} {os.getpid()} {time.time():.6f}\n".encode())
    os.close(descriptor)


def notes(path: Path = NOTES) -> Iterator[Note]:
    for line in path.read_text().splitlines() if path.exists() else []:
        job, event, pid, at = line.split()
        yield Note(job, event, int(pid), float(at))
