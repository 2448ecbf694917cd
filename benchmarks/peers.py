"""This queue beside its peers: the same jobs, four workers each, on the same machine and servers, in one run.

`python -m benchmarks.peers [--quick] [--only NAME ...]`, run by `make bench`. Prints tables, and what the figures are held to;
exits 1 where one falls short. A round measures one queue after the other, and the median of the rounds is shown. How each is set
up stands in benchmarks/queues/.
"""

import argparse
import os
import platform
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks.running import Peer, Running, Servers, running
from benchmarks.work import Note
from tests.servers import PostgresServer, ValkeyServer

OURS = Peer("this queue, Postgres and Valkey", "ours", postgres=True, redis=True)
HUEY = Peer("Huey, Valkey", "stock_huey", redis=True)
CELERY = Peer("Celery acks_late, Valkey", "on_celery", redis=True)
DRAMATIQ = Peer("Dramatiq, Valkey", "on_dramatiq", redis=True)
PEERS = [
    OURS,
    Peer("this queue, Postgres", "ours", postgres=True),
    Peer("this queue, SQLite", "ours"),
    HUEY,
    Peer("Huey, SQLite", "stock_huey"),
    CELERY,
    DRAMATIQ,
    Peer("RQ, Valkey", "on_rq", redis=True),
    Peer("Procrastinate, Postgres", "on_procrastinate", postgres=True),
]
THEIRS = [peer for peer in PEERS if peer.module != "ours"]
PACKAGES = ("huey", "celery", "dramatiq", "rq", "procrastinate", "redis", "psycopg")


class Size(NamedTuple):
    rounds: int
    jobs: int
    probes: int
    patience: float  # seconds in which a job is to be rescued


FULL = Size(rounds=5, jobs=1000, probes=60, patience=120)
QUICK = Size(rounds=1, jobs=20, probes=5, patience=25)

JOBS_AT_THE_FAULT = 12
IN_FLIGHT = 4
STAGGER = 3.0  # seconds from one queue's fault to the next one's, so that few start while another does
RESOLUTION = 0.5  # seconds: rescues that differ by less are equally fast
LOOK = 0.02  # seconds between two looks at the notes

CELERY_RATIO = 1.5
LATER = 5  # milliseconds
THREADS_MB = 100

# What a round measures -> how it is shown. Latencies are milliseconds from the submit.
SPEED = {"submits /s": ".0f", "jobs /s": ".0f", "MB": ".0f"}
LATENCY = {f"{when}{what} {p}": ".1f" for when in ("", "busy ") for what in ("start", "result") for p in ("p50", "p99")}

Figures = Mapping[str, float]
Bound = tuple[str, bool]  # what is asked for, and whether it holds


class Fault(NamedTuple):
    """The fate of the jobs in flight."""

    lost: int
    seconds: float | None  # until the last of them was started again; None if one was not, in time

    def __str__(self) -> str:
        if self.lost:
            return f"{self.lost} lost"
        return "not in time" if self.seconds is None else f"{self.seconds:.1f} s"

    def beats(self, other: "Fault") -> bool:
        """Return whether it lost fewer jobs than the other, or was faster."""
        if self.lost != other.lost:
            return self.lost < other.lost
        if self.seconds is None or other.seconds is None:
            return self.seconds is not None
        return self.seconds < other.seconds - RESOLUTION


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round with few jobs, to see that all of it works")
    parser.add_argument("--only", nargs="+", default=[""], help="parts of the names of the queues to run")
    parser.add_argument("--skip-faults", action="store_true", help="kill nothing")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # with nothing left running
    size = QUICK if asked.quick else FULL
    peers = [peer for peer in PEERS if any(part.lower() in peer.label.lower() for part in asked.only)]
    print(machine())
    with PostgresServer() as postgres, ValkeyServer() as valkey:
        servers = Servers(postgres, valkey)
        faults = {} if asked.skip_faults else {what: after(what, peers, servers, size) for what in KILL}
        figures = measured(peers, servers, size)
        threads = four_threads(servers)
    for title, columns in ("jobs that do nothing", SPEED), ("ms from the submit to", LATENCY):
        table(title, columns, {peer: [format(figures[peer][c], columns[c]) for c in columns] for peer in peers})
    if OURS in peers:
        table(
            "this queue / theirs", SPEED, {p: [f"{figures[OURS][c] / figures[p][c]:.2f}" for c in SPEED] for p in peers}
        )
    if faults:
        title = f"kill -9 with {IN_FLIGHT} of {JOBS_AT_THE_FAULT} jobs in flight"
        table(title, faults, {peer: [str(ended[peer]) for ended in faults.values()] for peer in peers})
    print(f"\nA consumer of this queue with four threads takes {threads:.0f} MB.\n")
    short = False
    for bound, holds in bounds(peers, figures, faults, threads):
        print(f"{'holds' if holds else 'FALLS SHORT'}: {bound}")
        short |= not holds
    return int(short)


def machine() -> str:
    """Describe the machine: its name and time, its hardware, its load."""
    info = Path("/proc/cpuinfo")
    models = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    model = models[0].partition(": ")[2] if models else platform.machine()
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {os.cpu_count()} cores of {model}, "
        f"{psutil.virtual_memory().total / 2**30:.0f} GiB; load {os.getloadavg()[0]:.1f}; "
        f"Python {platform.python_version()}, {versions}"
    )


def table(title: str, columns: Mapping[str, object], rows: Mapping[Peer, Sequence[str]]) -> None:
    print(f"\n| {title} | {' | '.join(columns)} |")
    print("|---|" + "---:|" * len(columns))
    for peer, cells in rows.items():
        print(f"| {peer.label} | {' | '.join(cells)} |")


# --- speed ---


def measured(peers: Sequence[Peer], servers: Servers, size: Size) -> dict[Peer, Figures]:
    """The medians of the rounds; each round begins with another queue."""
    found: dict[Peer, list[Figures]] = {peer: [] for peer in peers}
    for number in range(size.rounds):
        for peer in [*peers[number % len(peers) :], *peers[: number % len(peers)]]:
            progress(f"round {number + 1} of {size.rounds}: {peer.label}")
            with running(peer, servers) as queue:
                found[peer].append(one_round(queue, size))
            progress(", ".join(f"{name} {value:.1f}" for name, value in found[peer][-1].items()))
    return {
        peer: {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
        for peer, rounds in found.items()
    }


def one_round(queue: Running, size: Size) -> Figures:
    figures: dict[str, float] = {}
    figures.update(queue.ask("throughput", size.jobs))
    figures["MB"] = queue.memory() / 1e6
    figures.update(quantiles(queue.ask("idle", size.probes), ""))
    with queue.loaded():
        figures.update(quantiles(queue.ask("busy", size.probes), "busy "))
    return figures


def quantiles(milliseconds: dict[str, list[float]], prefix: str) -> Figures:
    figures = {}
    for what, values in milliseconds.items():
        figures[f"{prefix}{what} p50"] = statistics.median(values)
        figures[f"{prefix}{what} p99"] = statistics.quantiles(values, n=100, method="inclusive")[98]
    return figures


def four_threads(servers: Servers) -> float:
    progress("memory of four threads")
    with running(OURS, servers, BENCH_WORKER_TYPE="thread") as queue:
        return queue.memory() / 1e6


# --- faults ---


def kill_a_worker(queue: Running, in_flight: dict[str, Note]) -> set[str]:
    job, note = next(iter(in_flight.items()))
    psutil.Process(note.pid).kill()
    return {job}


def kill_everything(queue: Running, in_flight: dict[str, Note]) -> set[str]:
    queue.kill()
    return set(in_flight)


# Fault -> what does it, and returns the jobs that it hits.
KILL: dict[str, Callable[[Running, dict[str, Note]], set[str]]] = {
    "a worker": kill_a_worker,
    "everything, started again": kill_everything,
}


def after(what: str, peers: Sequence[Peer], servers: Servers, size: Size) -> dict[Peer, Fault]:
    """The same fault to all of them. As most wait most of the time, they do so together."""

    def fault(number: int) -> Fault:
        time.sleep(number * STAGGER)
        with running(peers[number], servers) as queue:
            found = one_fault(queue, what, size.patience)
        progress(f"{peers[number].label}: {found}")
        return found

    progress(f"kill -9 of {what}: up to {size.patience + len(peers) * STAGGER:.0f} s")
    with ThreadPoolExecutor(len(peers)) as pool:
        return dict(zip(peers, pool.map(fault, range(len(peers))), strict=True))


def one_fault(queue: Running, what: str, patience: float) -> Fault:
    queue.ask("submit", JOBS_AT_THE_FAULT)
    while len(jobs := in_flight(queue.noted())) < IN_FLIGHT:
        time.sleep(LOOK)
    at = time.time()
    hit = KILL[what](queue, jobs)
    queue.go.touch()
    while (missing := JOBS_AT_THE_FAULT - len(ended(queue.noted()))) and time.time() < at + patience:
        queue.look_after()
        time.sleep(LOOK)
    again = {note.job: note.at for note in queue.noted() if note.event == "start" and note.at > at and note.job in hit}
    seconds = max(again.values()) - at if len(again) == len(hit) else None
    return Fault(max(0, missing - queue.ask("kept")), seconds)


def in_flight(noted: list[Note]) -> dict[str, Note]:
    """Jobs that have started and not ended."""
    started = {note.job: note for note in noted if note.event == "start" and note.job.startswith("job-")}
    return {job: note for job, note in started.items() if job not in ended(noted)}


def ended(noted: list[Note]) -> set[str]:
    return {note.job for note in noted if note.event == "end" and note.job.startswith("job-")}


# --- what the figures are held to ---


def bounds(
    peers: Sequence[Peer], figures: Mapping[Peer, Figures], faults: Mapping[str, Mapping[Peer, Fault]], threads: float
) -> Iterator[Bound]:
    """Yield each promised comparison of which both sides were measured."""
    speed = {peer: figures[peer]["jobs /s"] for peer in peers}
    if {OURS, CELERY} <= speed.keys():
        yield f"jobs a second: at least {CELERY_RATIO} of Celery's", speed[OURS] >= CELERY_RATIO * speed[CELERY]
    if {OURS, DRAMATIQ} <= speed.keys():
        yield "jobs a second: at least Dramatiq's", speed[OURS] >= speed[DRAMATIQ]
    if {OURS, HUEY} <= speed.keys():
        later = figures[OURS]["start p99"] - figures[HUEY]["start p99"]
        yield f"submit to start, idle, p99: at most {LATER} ms after Huey's on Valkey", later <= LATER
    yield f"a consumer with four threads: under {THREADS_MB} MB", threads < THREADS_MB
    for what, fault in faults.items():
        for peer in THEIRS:
            if {OURS, peer} <= fault.keys():
                yield f"kill -9 of {what}: {peer.label} does no better", not fault[peer].beats(fault[OURS])


def progress(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
