"""The machines that a load needs: workers, connections, Postgres's processors and disk, computed from measured costs.

    python benchmarks/capacity.py --jobs-a-day 200000 --seconds 12 --peak 3 --users 500
    python benchmarks/capacity.py --simulate

The costs are in benchmarks/capacity.json. `python -m benchmarks.capacity_runs`, run by `make bench`, measures them and
compares the formulas below with real runs. docs/scaling.md explains the figures.
"""

import argparse
import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

COSTS = Path(__file__).with_suffix(".json")
DAY = 86_400  # seconds
BUSY = 0.7  # share of the workers, or of the processors, that work at the peak. With more, jobs wait long by chance
MAIN = 2  # connections of a consumer's main process: the ledger's, and one that listens unless Redis wakes the workers
WEB = 2  # connections of a web process at most
PRUNED = (
    320  # jobs a second that the consumer with the housekeeping deletes at most: a batch of 64 in each pass of 0.2 s
)
WRITES = 2  # times a second that a job's progress is written at most

SIMULATED_JOBS = [10_000, 100_000, 1_000_000, 10_000_000, 100_000_000]  # a day
SIMULATED_SECONDS = [1.0, 12.0]
SIMULATED_PROCESSORS = [2, 4, 8, 16, 32, 64]

# What takes processor time of Postgres, and how often.
CAUSES = {
    "server": "a second, once",
    "consumer": "a second, for each consumer",
    "idle_worker": "a second, for each worker without a job",
    "busy_worker": "a second, for each worker with a job, whose lease is renewed",
    "job": "a job: its submit, claim and end",
    "woken_consumer": "a job, for each consumer whose idle worker looks for it after its NOTIFY, without Redis",
    "step": "a step",
    "progress": "a write of progress",
    "kilobyte": "a kilobyte of a result",
    "read": "a job that an open page reads",
    "pruned": "a job that is deleted",
}


@dataclass(frozen=True)
class Costs:
    """Measured costs."""

    measured: str  # when and where
    processor_ms: dict[str, float]  # milliseconds of a processor of Postgres, by cause
    wal_bytes: dict[str, float]  # of Postgres's write-ahead log, by cause
    disk_bytes: dict[str, float]  # with indexes, by cause
    queued_job_ms: float  # of a processor, for a job of a long queue: one statement ends a job and claims the next one
    connection: float  # milliseconds that a connection is in use, for each millisecond of a processor
    web_read_ms: float  # milliseconds of a processor of a web process, for each time that an open page reads a job
    job_time_ms: float  # that a job which does nothing takes its worker
    step_time_ms: float  # that a step adds to that
    consumer_mb: float  # memory of a consumer's main process
    worker_mb: float  # memory of a worker that imports nothing but the queue


@dataclass(frozen=True)
class Load:
    """Jobs of one shape, and the setup that runs them. Raises ValueError for a number that no load can have."""

    jobs_a_day: float
    seconds: float = 1.0
    peak: float = 1.0
    users: float = 0.0
    steps: float = 0.0
    progress: float = 0.0
    result_kb: float = 0.0
    keep_days: float = 30.0
    keep_jobs: float = 1_000_000.0
    workers_per_consumer: int = 4
    worker_mb: float | None = None
    redis: bool = False

    def __post_init__(self) -> None:
        for name, (least, meaning) in LEAST.items():
            given = getattr(self, name)
            if given is not None and not (math.isfinite(given) and given >= least):
                raise ValueError(f"{option(name)} is {given:g}. Give {meaning}. It is a number, and at least {least}.")

    @property
    def average(self) -> float:
        """Return the jobs a second."""
        return self.jobs_a_day / DAY

    @property
    def rate(self) -> float:
        """Return the jobs a second at the peak."""
        return self.average * self.peak

    @property
    def kept_days(self) -> float:
        """Return the days for which a job is kept: KEEP_DAYS, or fewer if KEEP_JOBS newer jobs come in that time."""
        by_number = self.keep_jobs / self.jobs_a_day if self.keep_jobs else math.inf
        return min(self.keep_days or math.inf, by_number)


# Field of a load -> its least value and its meaning. The command has an option for each.
LEAST = {
    "jobs_a_day": (1, "the number of jobs in 24 hours"),
    "seconds": (0, "the seconds that a job takes"),
    "peak": (1, "the jobs of the busiest hour as a multiple of an average hour's"),
    "users": (0, "the number of users with an open page, which reads a job once a second"),
    "steps": (0, "the steps of a job"),
    "progress": (0, "the calls of progress in a job"),
    "result_kb": (0, "the kilobytes of a result"),
    "keep_days": (0, "KEEP_DAYS, the days for which a job is kept. 0 sets no limit"),
    "keep_jobs": (0, "KEEP_JOBS, the number of the newest jobs that are kept. 0 sets no limit"),
    "workers_per_consumer": (1, "WORKERS, the worker processes of a consumer"),
    "worker_mb": (1, "the megabytes of memory of a worker that has imported what the jobs need"),
}


@dataclass(frozen=True)
class Needs:
    """The needs of a load. All but the gigabytes are those of the peak."""

    busy_workers: float
    workers: int
    consumers: int
    web_processes: int
    connections: int  # of Postgres, if all processes connect to it
    pooled: int  # of Postgres, if all processes connect to a pooler
    busy_processors: dict[str, float]  # of Postgres, by cause
    processors: int  # of Postgres
    gigabytes: float  # in the end, or after a year if all jobs are kept
    wal_mb: float  # a second
    memory_gb: float  # of the consumers and their workers
    pruned: float  # jobs to delete a second, so that the database does not grow


def needs(load: Load, costs: Costs) -> Needs:
    """Return the needs of a load."""
    # Little's law: jobs that run = jobs that start in a second x seconds for which each takes a worker.
    held_s = load.seconds + (costs.job_time_ms + load.steps * costs.step_time_ms) / 1000
    busy_workers = load.rate * held_s
    consumers = math.ceil(math.ceil(busy_workers / BUSY) / load.workers_per_consumer)
    workers = consumers * load.workers_per_consumer
    web_processes = max(1, math.ceil(load.users * costs.web_read_ms / 1000 / BUSY))
    listening = 0 if load.redis else consumers
    # As jobqueue.monitoring.connections: one for each worker, and those of the main process.
    connections = workers + consumers * (MAIN - load.redis) + web_processes * WEB
    often = amounts(load, consumers, workers, busy_workers)
    busy = {cause: amount * costs.processor_ms[cause] / 1000 for cause, amount in often.items()}
    # Little's law again: connections in use = seconds for which they are in use in a second.
    in_use = sum(busy.values()) * costs.connection
    kept_days = load.kept_days if math.isfinite(load.kept_days) else 365
    return Needs(
        busy_workers=busy_workers,
        workers=workers,
        consumers=consumers,
        web_processes=web_processes,
        connections=connections,
        pooled=math.ceil(in_use / BUSY) + listening,  # those that listen go past the pooler: DATABASE_DIRECT_URL
        busy_processors=busy,
        processors=math.ceil(sum(busy.values()) / BUSY),
        # The database grows by each job, until as many are deleted.
        gigabytes=load.jobs_a_day * kept_days * total(costs.disk_bytes, often) / load.rate / 1e9,
        wal_mb=total(costs.wal_bytes, often) / 1e6,
        memory_gb=(consumers * costs.consumer_mb + workers * (load.worker_mb or costs.worker_mb)) / 1000,
        pruned=often["pruned"],
    )


def amounts(load: Load, consumers: float, workers: float, busy_workers: float) -> dict[str, float]:
    """Return how often each cause occurs in a second of the peak."""
    idle = max(0.0, workers - busy_workers)
    return {
        "server": 1,
        "consumer": consumers,
        "idle_worker": idle,
        "busy_worker": busy_workers,
        "job": load.rate,
        "woken_consumer": 0 if load.redis else load.rate * consumers,
        "step": load.rate * load.steps,
        "progress": load.rate * min(load.progress, WRITES * load.seconds),
        "kilobyte": load.rate * load.result_kb,
        "read": load.users,
        "pruned": load.average if math.isfinite(load.kept_days) else 0,
    }


def total(costs: Mapping[str, float], often: Mapping[str, float]) -> float:
    """Return the sum of costs. A cause without a cost costs nothing."""
    return sum(cost * often[cause] for cause, cost in costs.items())


# --- what breaks first ---

# Limit -> its default, its meaning, and the need that it bounds.
LIMITS: dict[str, tuple[float, str, Callable[[Needs], float]]] = {
    "max_connections": (500, "connections of Postgres", lambda of: of.connections),
    "max_processors": (32, "processors of Postgres", lambda of: of.processors),
    "max_gigabytes": (2000, "GB of disk", lambda of: of.gigabytes),
    "max_wal_mb": (100, "MB of WAL a second", lambda of: of.wal_mb),
    "max_memory_gb": (64, "GB of memory for the workers", lambda of: of.memory_gb),
    "max_pruned": (PRUNED, "deleted jobs a second", lambda of: of.pruned),
}


def passed(of: Needs, limits: Mapping[str, float]) -> dict[str, float]:
    """Return the limits that a need passes, by how many times, the furthest first: the first one breaks first."""
    times = {name: need(of) / limits[name] for name, (_, _, need) in LIMITS.items()}
    return dict(sorted(((name, by) for name, by in times.items() if by > 1), key=lambda each: -each[1]))


def simulation(load: Load, costs: Costs, limits: Mapping[str, float], seconds: Sequence[float]) -> Iterator[str]:
    """Yield lines that show what breaks first as the jobs of a day grow, and how much one Postgres can carry."""
    yield "| jobs a day | seconds a job | woken by | workers | connections | with a pooler | processors | GB | WAL MB/s | memory GB | breaks |"
    yield "|---:|---:|---|---:|---:|---:|---:|---:|---:|---:|---|"
    for each, redis in itertools.product(seconds, [True] if load.redis else [False, True]):
        for jobs in SIMULATED_JOBS:
            of = needs(replace(load, jobs_a_day=jobs, seconds=each, redis=redis), costs)
            breaks = ", ".join(f"{LIMITS[name][1]}: {by:.1f} x" for name, by in passed(of, limits).items())
            yield (
                f"| {jobs:,} | {each:g} | {'Redis' if redis else 'NOTIFY'} | {of.workers:,} | {of.connections:,} | {of.pooled:,} | "
                f"{of.processors:,} | {of.gigabytes:.1f} | {of.wal_mb:.2f} | {of.memory_gb:.1f} | {breaks or 'nothing'} |"
            )
    yield f"\nLimits: {', '.join(f'{limit:g} {LIMITS[name][1]}' for name, limit in limits.items())}."
    yield "\n| processors of Postgres | jobs a second that fill them, from a long queue | jobs a second that keep them 70 % busy, woken by Redis |"
    yield "|---:|---:|---:|"
    for processors in SIMULATED_PROCESSORS:
        full, planned = processors * 1000 / costs.queued_job_ms, processors * 1000 * BUSY / costs.processor_ms["job"]
        yield f"| {processors} | {full:,.0f} | {planned:,.0f} |"


# --- the command ---


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    defaults = {field.name: field.default for field in fields(Load)}
    for name, (_, meaning) in LEAST.items():
        shown = f" (default: {defaults[name]:g})" if isinstance(defaults[name], float | int) else ""
        kind = int if name == "workers_per_consumer" else float
        parser.add_argument(option(name), type=kind, metavar="N", help=meaning + shown)
    parser.add_argument("--redis", action="store_true", help="Redis wakes the workers, and not Postgres")
    parser.add_argument("--simulate", action="store_true", help="show what breaks first as the jobs of a day grow")
    for name, (limit, meaning, _) in LIMITS.items():
        parser.add_argument(
            option(name), type=float, metavar="N", default=limit, help=f"{meaning} (default: {limit:g})"
        )
    parser.add_argument("--costs", type=Path, default=COSTS, help="the file with the measured costs")
    asked = vars(parser.parse_args(arguments))
    limits = {name: asked[name] for name in LIMITS}
    given = {name: asked[name] for name in (*LEAST, "redis") if asked[name] is not None}
    try:
        costs = read(asked["costs"])
        if bad := [name for name, limit in limits.items() if not limit > 0]:
            raise ValueError(f"{option(bad[0])} is {limits[bad[0]]:g}. Give a limit of more than 0.")
        if asked["simulate"] == ("jobs_a_day" in given):
            raise ValueError("Give either --jobs-a-day, or --simulate, which takes its own numbers of jobs.")
        if asked["simulate"]:
            seconds = [given["seconds"]] if "seconds" in given else SIMULATED_SECONDS
            lines = simulation(Load(**{"jobs_a_day": 1} | given), costs, limits, seconds)
        else:
            lines = report(Load(**given), costs)
        print("\n".join(lines))
    except ValueError as error:
        parser.error(str(error))
    print(f"\nCosts: {costs.measured}")


def option(name: str) -> str:
    return "--" + name.replace("_", "-")


def read(path: Path) -> Costs:
    """Return the costs of a file. Raise ValueError if it has others."""
    try:
        return Costs(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(
            f"{path} has no costs ({error}). Measure them: python -m benchmarks.capacity_runs --costs {path}"
        ) from None


def report(load: Load, costs: Costs) -> Iterator[str]:
    """Yield lines that say what a load needs."""
    of = needs(load, costs)
    kept = f"for the jobs of the last {load.kept_days:.3g} days" if math.isfinite(load.kept_days) else "after a year"
    yield f"{load.jobs_a_day:,.0f} jobs a day of {load.seconds:g} s, {load.rate:.3g} a second at the peak, {load.users:g} users:"
    for name, figure, meaning in (
        ("workers", f"{of.workers}", f"{of.busy_workers:.1f} have a job at the peak"),
        ("consumers", f"{of.consumers}", f"with WORKERS={load.workers_per_consumer:g}"),
        ("web processes", f"{of.web_processes}", "for the pages of the users"),
        ("connections", f"{of.connections}", f"without a pooler; {2 * of.connections} during a deploy"),
        ("", f"{of.pooled}", "with a pooler"),
        ("processors of Postgres", f"{of.processors}", f"{sum(of.busy_processors.values()):.2f} work at the peak, of these for"),
        *(("", f"{busy:.2f}", CAUSES[cause]) for cause, busy in of.busy_processors.items() if busy >= 0.005),
        ("gigabytes", f"{of.gigabytes:.2f}", kept),
        ("WAL, MB a second", f"{of.wal_mb:.2f}", "at the peak"),
        ("memory of workers, GB", f"{of.memory_gb:.1f}", ""),
    ):  # fmt: skip
        yield f"{name:24}{figure:>9}  {meaning}".rstrip()


if __name__ == "__main__":
    main()
