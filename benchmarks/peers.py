"""A comparison of this queue with its peers: the same jobs, machine and servers, four workers each, in one run.

`python -m benchmarks.peers [--quick] [--only NAME ...]`, run by `make bench`. Prints tables and the limits of the
figures. Exits with 1 if a limit is missed. A round measures one queue after the other. The tables show the medians of
the rounds. benchmarks/queues/ has the setup of each queue.
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
    patience: float  # seconds that a queue has to rescue a job


FULL = Size(rounds=5, jobs=1000, probes=60, patience=120)
QUICK = Size(rounds=1, jobs=20, probes=5, patience=25)

JOBS_AT_THE_FAULT = 12
IN_FLIGHT = 4
STAGGER = 3.0  # seconds from one queue's fault to the next one's, so that few queues start at the same time
RESOLUTION = 0.5  # seconds: rescues that differ by less are equally fast
POLL = 0.02  # seconds between two reads of the notes

CELERY_RATIO = 1.5
LATER = 5  # milliseconds
THREADS_MB = 100

# Figure of a round -> its format. Latencies are milliseconds from the submit.
SPEED = {"submits /s": ".0f", "jobs /s": ".0f", "MB": ".0f"}
LATENCY = {f"{when}{what} {p}": ".1f" for when in ("", "busy ") for what in ("start", "result") for p in ("p50", "p99")}

Figures = Mapping[str, float]
Limit = tuple[str, bool]  # the limit, and whether it is met


class Fault(NamedTuple):
    """The fate of the jobs in flight."""

    lost: int
    seconds: float | None  # until the last of them started again; None if one did not in time

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
    parser.add_argument(
        "--quick", action="store_true", help="run one round with few jobs, to check that the benchmark works"
    )
    parser.add_argument(
        "--only", nargs="+", default=[""], help="run only the queues that have one of these texts in their names"
    )
    parser.add_argument("--skip-faults", action="store_true", help="skip the measurements that kill workers")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # stops the servers and workers too
    size = QUICK if asked.quick else FULL
    peers = [peer for peer in PEERS if any(part.lower() in peer.label.lower() for part in asked.only)]
    print(machine())
    with PostgresServer() as postgres, ValkeyServer() as valkey:
        servers = Servers(postgres, valkey)
        faults = {} if asked.skip_faults else {what: cause_in_all(what, peers, servers, size) for what in KILL}
        figures = measure(peers, servers, size)
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
    missed = False
    for limit, met in limits(peers, figures, faults, threads):
        print(f"{'met' if met else 'MISSED'}: {limit}")
        missed |= not met
    return int(missed)


def machine() -> str:
    """Return a description of the machine: time, hardware, load, versions."""
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


def measure(peers: Sequence[Peer], servers: Servers, size: Size) -> dict[Peer, Figures]:
    """Return the medians of the rounds. Each round begins with a different queue."""
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


# Fault -> a function that causes it and returns the jobs that it hits.
KILL: dict[str, Callable[[Running, dict[str, Note]], set[str]]] = {
    "a worker": kill_a_worker,
    "everything, started again": kill_everything,
}


def cause_in_all(what: str, peers: Sequence[Peer], servers: Servers, size: Size) -> dict[Peer, Fault]:
    """Cause the same fault in all queues. They run at the same time, because they wait most of the time."""

    def fault(number: int) -> Fault:
        time.sleep(number * STAGGER)
        with running(peers[number], servers) as queue:
            found = cause_in_one(queue, what, size.patience)
        progress(f"{peers[number].label}: {found}")
        return found

    progress(f"kill -9 of {what}: up to {size.patience + len(peers) * STAGGER:.0f} s")
    with ThreadPoolExecutor(len(peers)) as pool:
        return dict(zip(peers, pool.map(fault, range(len(peers))), strict=True))


def cause_in_one(queue: Running, what: str, patience: float) -> Fault:
    queue.ask("submit", JOBS_AT_THE_FAULT)
    while len(jobs := in_flight(queue.noted())) < IN_FLIGHT:
        time.sleep(POLL)
    at = time.time()
    hit = KILL[what](queue, jobs)
    queue.go.touch()
    while (missing := JOBS_AT_THE_FAULT - len(ended(queue.noted()))) and time.time() < at + patience:
        queue.restart_ended()
        time.sleep(POLL)
    again = {note.job: note.at for note in queue.noted() if note.event == "start" and note.at > at and note.job in hit}
    seconds = max(again.values()) - at if len(again) == len(hit) else None
    return Fault(max(0, missing - queue.ask("kept")), seconds)


def in_flight(noted: list[Note]) -> dict[str, Note]:
    """Return the jobs that have started and not ended, with their starts."""
    started = {note.job: note for note in noted if note.event == "start" and note.job.startswith("job-")}
    return {job: note for job, note in started.items() if job not in ended(noted)}


def ended(noted: list[Note]) -> set[str]:
    return {note.job for note in noted if note.event == "end" and note.job.startswith("job-")}


# --- limits ---


def limits(
    peers: Sequence[Peer], figures: Mapping[Peer, Figures], faults: Mapping[str, Mapping[Peer, Fault]], threads: float
) -> Iterator[Limit]:
    """Yield each limit whose figures were measured."""
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
