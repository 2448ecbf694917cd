"""Real runs that measure the costs of benchmarks/capacity.py, and check what it predicts.

`python -m benchmarks.capacity_runs [--costs FILE] [--seconds 300] [--quick] [--check-only]`, run by `make bench`: 40 minutes.

A run has a durable Postgres, consumers, and a program that submits jobs at random moments and reads them as open pages do.
Processor time is that of all processes of Postgres. Each measured run is an equation: the time that Postgres worked is the
sum of how often each cause occurred, times its cost. The costs are the least squares solution. Then three loads run for 300
seconds each, with the consumers that capacity.py asks for. Exits with 1 if a figure differs by more than a quarter.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import psycopg
from scipy.optimize import nnls

KIT = Path(__file__).parents[1]
sys.path[:0] = [str(KIT), str(KIT / "engine" / "src")]

from benchmarks import web  # noqa: E402
from benchmarks.capacity import DAY, Costs, Load, amounts, needs, read  # noqa: E402
from jobqueue.consumer.pruner import Pruner  # noqa: E402
from jobqueue.database.database import Database  # noqa: E402
from jobqueue.ledger.retention import Retention  # noqa: E402
from tests.servers import DURABLE, PostgresServer, ValkeyServer, fresh_database, fresh_redis  # noqa: E402
from tests.waiting import wait_until  # noqa: E402

# Dead rows are a small share of the rows of a month. In a run of minutes they are not, unless they are removed often. But each VACUUM or
# ANALYZE makes all workers plan their statements anew, which takes a busy worker some milliseconds. In a table of a month they are hours
# apart. So dead rows are removed by the thousand here, and the rows are analyzed once.
SERVER = DURABLE | {
    "autovacuum_naptime": "5s",
    "autovacuum_vacuum_threshold": "2000",
    "autovacuum_vacuum_scale_factor": "0",
    "autovacuum_analyze_threshold": "1000000000",
}
MEASURED_COSTS = KIT / "build" / "capacity.json"
LOOK = 5.0  # seconds between two looks at the connections, which take processor time too
STARTS_IN = 180.0  # seconds, on a busy machine
ENDS_IN = 300.0  # seconds for the jobs of a long queue
WATCHING = 100  # browsers whose requests to a web process are measured
TOLERANCE = 0.25


class Size(NamedTuple):
    measured: float  # seconds of each run that measures costs
    warm_up: float  # seconds before each run, at least
    prepared: int  # jobs of a worker in the warm-up, on average. After a dozen, its statements are planned for good
    queued: int  # jobs of a long queue


FULL = Size(30.0, 15.0, 12, 5000)
QUICK = Size(3.0, 2.0, 0, 200)


class Setup(NamedTuple):
    load: Load
    consumers: int

    @property
    def workers(self) -> int:
        return self.consumers * self.load.workers_per_consumer

    def __str__(self) -> str:
        own = ("seconds", "steps", "progress", "result_kb", "users", "redis")
        shape = "".join(f", {name} {getattr(self.load, name):g}" for name in own if getattr(self.load, name))
        return f"{self.consumers} x {self.load.workers_per_consumer} workers, {self.load.rate:.0f} jobs a second{shape}"


class Run(NamedTuple):
    """Figures of a run, each second or at the most."""

    jobs: float  # that ended
    busy_workers: float
    processors: float  # of Postgres
    in_use: float  # connections that a statement or a transaction occupied
    connections: int  # the most that were open
    wal: float  # bytes
    disk: float  # bytes
    memory: float  # megabytes of all consumers and workers at the end

    def __str__(self) -> str:
        return (
            f"{self.jobs:.1f} jobs a second ended, {self.busy_workers:.2f} busy workers, {self.processors:.4f} processors of Postgres, "
            f"{self.wal:.0f} B WAL, {self.disk:.0f} B disk"
        )


def every_day(rate: float, **shape: Any) -> Load:
    """Return the load of so many jobs a second that are never deleted. A load without jobs has a few in a day."""
    return Load(rate * DAY or 1, keep_days=0, keep_jobs=0, **shape)


MEASURED = [
    Setup(every_day(0, workers_per_consumer=2), 1),
    Setup(every_day(0, workers_per_consumer=12), 1),
    Setup(every_day(0, workers_per_consumer=2), 6),
    Setup(every_day(50, seconds=0, workers_per_consumer=2), 1),
    Setup(every_day(50, seconds=0, workers_per_consumer=12), 1),
    Setup(every_day(50, seconds=0, workers_per_consumer=2), 6),
    Setup(every_day(50, seconds=0, workers_per_consumer=12, redis=True), 1),
    Setup(every_day(2, seconds=6, workers_per_consumer=16), 1),
    Setup(every_day(5, seconds=0.2, steps=20, workers_per_consumer=4), 1),
    Setup(every_day(5, seconds=2, progress=20, workers_per_consumer=16), 1),
    Setup(every_day(10, seconds=0, result_kb=100, workers_per_consumer=4), 1),
    Setup(every_day(5, seconds=0, users=200, workers_per_consumer=2), 1),
]
# A young database grows faster than later, until the room of dead rows is used again. So the growth is measured after a while.
LASTING = Setup(every_day(50, seconds=0), 1)
LONGER = 3  # times as long as the other runs
CHECKED = {
    "50 short jobs a second": every_day(50, seconds=0.05),
    "10 a second with steps, progress, results and readers": every_day(
        10, seconds=0.5, steps=5, progress=2, result_kb=5, users=30, workers_per_consumer=5
    ),
    "8 a second that wait": every_day(8, seconds=3.5, workers_per_consumer=10),
}
WAL = ("job", "busy_worker", "step", "progress", "kilobyte")
DISK = ("job", "step", "kilobyte")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--costs", type=Path, default=MEASURED_COSTS, help="the file of the costs (default: build/capacity.json)"
    )
    parser.add_argument("--seconds", type=float, default=300.0, help="the seconds of each checked run (default: 300)")
    parser.add_argument("--check-only", action="store_true", help="check the costs of the file. Measure none")
    parser.add_argument("--quick", action="store_true", help="try it with short runs, whose figures mean nothing")
    asked = parser.parse_args()
    size, seconds = (QUICK, QUICK.measured) if asked.quick else (FULL, asked.seconds)
    try:
        costs = read(asked.costs) if asked.check_only else None
    except ValueError as error:
        parser.error(str(error))
    with PostgresServer(SERVER) as postgres, ValkeyServer() as valkey:
        runs = Runs(postgres, valkey)
        if costs is None:
            costs = measure(runs, size)
            asked.costs.parent.mkdir(exist_ok=True)
            asked.costs.write_text(json.dumps(asdict(costs), indent=2) + "\n")
        print(f"Costs: {costs.measured}\n")
        return check(runs, costs, size._replace(measured=seconds))


class Runs:
    """Runs on two servers, each on an empty database."""

    def __init__(self, postgres: PostgresServer, valkey: ValkeyServer) -> None:
        self.postgres = postgres
        self.valkey = valkey

    def run(self, setup: Setup, size: Size, longer: float = 1) -> Run:
        """Measure a setup for size.measured seconds. `longer` multiplies them, and those of the warm-up."""
        seconds, warm_up = longer * size.measured, longer * size.warm_up
        if setup.load.rate > 1:
            warm_up = max(warm_up, size.prepared * setup.workers / setup.load.rate)
        with ExitStack() as stack:
            environment = self.database(stack, setup.load.redis)
            consumers = self.start_consumers(stack, environment, setup)
            connection = stack.enter_context(psycopg.connect(environment["BENCH_DATABASE_URL"], autocommit=True))
            if setup.load.rate > 1:
                self.start(
                    stack,
                    environment,
                    "-c",
                    "from benchmarks import paced; paced.main()",
                    json.dumps(asdict(setup.load)),
                )
                wait_until(lambda: connection.execute(ENDED).fetchone() != (0,), STARTS_IN)
            # The load of the run lasts all the while: ANALYZE needs rows, and after it each worker plans its statements once more.
            time.sleep(warm_up / 4)
            connection.execute("ANALYZE")
            time.sleep(warm_up * 3 / 4)
            before, most = self.look(connection), 0
            while time.time() < before["at"] + seconds:
                time.sleep(min(LOOK, seconds))
                most = max(most, *connection.execute(OPEN).fetchone() or ())
            after = self.look(connection)
            took = after["at"] - before["at"]
            jobs, busy = connection.execute(WORKED, before | {"until": after["at"]}).fetchone() or ()
            spent = {name: (after[name] - before[name]) / took for name in after}
            return Run(
                jobs=jobs / took,
                busy_workers=busy / took,
                processors=spent["processors"],
                in_use=spent["in_use"],
                connections=most,
                wal=spent["wal"],
                disk=spent["disk"],
                memory=sum(map(memory, consumers)),
            )  # fmt: skip

    def database(self, stack: ExitStack, redis: bool = False) -> dict[str, str]:
        """Return the environment of programs that share an empty database."""
        names = {"BENCH_DATABASE_URL": stack.enter_context(fresh_database(self.postgres.url))}
        if redis:
            names["BENCH_REDIS_URL"] = stack.enter_context(fresh_redis(self.valkey.url))
        with closing(Database(names["BENCH_DATABASE_URL"])) as database:
            database.migrate()
        return os.environ | names | {"PYTHONPATH": os.pathsep.join(sys.path[:2])}

    def start_consumers(self, stack: ExitStack, environment: dict[str, str], setup: Setup) -> list[psutil.Process]:
        """Start consumers, and wait until all have registered."""
        workers = str(setup.load.workers_per_consumer)
        command = ("-m", "huey.bin.huey_consumer", "benchmarks.paced.huey", "-k", "process", "-w", workers, "-q")
        consumers = [self.start(stack, environment, *command) for _ in range(setup.consumers)]
        with psycopg.connect(environment["BENCH_DATABASE_URL"], autocommit=True) as connection:
            wait_until(lambda: connection.execute(REGISTERED).fetchone() == (setup.consumers,), STARTS_IN)
        return consumers

    def start(self, stack: ExitStack, environment: dict[str, str], *command: str) -> psutil.Process:
        program = subprocess.Popen([sys.executable, *command], cwd=KIT, env=environment)
        stack.callback(program.wait, STARTS_IN)
        stack.callback(program.terminate)
        return psutil.Process(program.pid)

    def look(self, connection: psycopg.Connection) -> dict[str, float]:
        """Return the figures of the database and its server that only grow."""
        used = connection.execute(USED).fetchone() or ()
        return dict(zip(("at", "in_use", "wal", "disk"), map(float, used), strict=True)) | {
            "processors": self.seconds()
        }

    def seconds(self) -> float:
        """Return the processor time of all processes of Postgres, with those that have ended, in seconds."""
        first = self.postgres.processes()[0]
        times = first.cpu_times()
        ended = times.children_user + times.children_system
        return web.cpu_seconds([first]) + ended


OPEN = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""
REGISTERED = "SELECT count(*) FROM consumers"
ENDED = "SELECT count(*) FROM jobs WHERE state = 'succeeded'"
USED = """
SELECT extract(epoch FROM clock_timestamp()), (active_time + idle_in_transaction_time) / 1000,
       pg_current_wal_lsn() - '0/0', pg_database_size(datname)
FROM pg_stat_database WHERE datname = current_database()
"""
WORKED = """
SELECT count(*) FILTER (WHERE ended_at BETWEEN %(at)s AND %(until)s),
       COALESCE(sum(LEAST(COALESCE(ended_at, %(until)s), %(until)s) - GREATEST(claimed_at, %(at)s)), 0)
FROM jobs WHERE claimed_at < %(until)s AND (ended_at IS NULL OR ended_at > %(at)s)
"""


def memory(consumer: psutil.Process) -> float:
    """Return the megabytes of a consumer and its workers. Shared memory counts once."""
    return sum(process.memory_full_info().pss for process in (consumer, *consumer.children())) / 1e6


# --- measuring ---


def measure(runs: Runs, size: Size) -> Costs:
    """Return the costs on this machine."""
    measured = (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores of {model()}, load {os.getloadavg()[0]:.1f}"
    )
    found: list[tuple[Setup, Run]] = []
    for setup in MEASURED:
        found.append((setup, runs.run(setup, size)))
        progress(f"{setup}: {found[-1][1]}")
    lasting = runs.run(LASTING, size, LONGER)
    grown = [(LASTING, lasting), *((setup, run) for setup, run in found if setup.load.steps or setup.load.result_kb)]
    processor = fit(found, [1000 * run.processors for _, run in found])
    busy = [(setup, run) for setup, run in found if setup.load.rate > 1]
    plain, steps = ([each for each in busy if each[0].load.seconds == 0], [each for each in busy if each[0].load.steps])
    job_time = np.median([run.busy_workers / run.jobs for _, run in plain])
    step_time = np.mean(
        [(run.busy_workers / run.jobs - setup.load.seconds - job_time) / setup.load.steps for setup, run in steps]
    )
    few, many = (next(run.memory for setup, run in busy if setup.workers == number) for number in (2, 12))
    queued, pruned = measure_queue(runs, size.queued)
    return Costs(
        measured=measured,
        processor_ms=processor | {"pruned": pruned},
        wal_bytes=fit(busy, [run.wal for _, run in busy], WAL),
        disk_bytes=fit(grown, [run.disk for _, run in grown], DISK),
        queued_job_ms=queued,
        connection=sum(run.in_use for _, run in busy) / sum(run.processors for _, run in busy),
        web_read_ms=measure_web(size),
        job_time_ms=1000 * float(job_time),
        step_time_ms=1000 * max(0.0, float(step_time)),
        consumer_mb=few - 2 * (many - few) / 10,
        worker_mb=(many - few) / 10,
    )  # fmt: skip


def fit(found: Sequence[tuple[Setup, Run]], spent: Sequence[float], causes: Sequence[str] = ()) -> dict[str, float]:
    """Return the cost of each cause, none below zero, with the least sum of squares of relative errors.

    spent: What each run spent in a second.
    causes: Those to fit. By default all that occurred.
    """
    often = [
        amounts(replace(setup.load, jobs_a_day=run.jobs * DAY or 1), setup.consumers, setup.workers, run.busy_workers)
        for setup, run in found
    ]
    names = causes or [cause for cause in often[0] if any(each[cause] for each in often)]
    equations = np.array([[each[name] for name in names] for each in often]) / np.array(spent)[:, None]
    return dict(zip(names, map(float, nnls(equations, np.ones(len(spent)))[0]), strict=True))


def measure_queue(runs: Runs, jobs: int) -> tuple[float, float]:
    """Return the processor milliseconds of a job of a long queue, and of one that is deleted."""
    with ExitStack() as stack:
        environment = runs.database(stack)
        connection = stack.enter_context(psycopg.connect(environment["BENCH_DATABASE_URL"], autocommit=True))
        began = runs.seconds()
        fill = runs.start(stack, environment, "-c", f"from benchmarks import paced; paced.fill({jobs})")
        wait_until(lambda: fill.status() == psutil.STATUS_ZOMBIE, ENDS_IN)
        with ExitStack() as consumer:
            started = time.monotonic()
            runs.start_consumers(consumer, environment, Setup(every_day(0), 1))
            wait_until(lambda: connection.execute(ENDED).fetchone() == (jobs,), ENDS_IN)
            took = time.monotonic() - started
        ended = runs.seconds()
        progress(f"{jobs} queued jobs: {jobs / took:.0f} a second with 4 workers")
        database = stack.enter_context(closing(Database(environment["BENCH_DATABASE_URL"])))
        deleted = sum(Pruner(Retention(database), keep_days=None, keep_jobs=1).batches())
        connection.execute("VACUUM")
        return 1000 * (ended - began) / jobs, 1000 * (runs.seconds() - ended) / deleted


def measure_web(size: Size) -> float:
    """Return the milliseconds of a processor of a web process, for each refresh of a panel."""
    with web.site("huey") as (port, process, others):
        requests = [web.panel_request(port) for _ in range(web.JOBS)]
        lasts = web.Size((WATCHING,), size.warm_up, size.measured)
        without, watched = (web.measure(port, requests, count, lasts, process, others) for count in (0, WATCHING))
    return 1000 * (watched.web - without.web) / watched.answers


# --- checking ---


def check(runs: Runs, costs: Costs, size: Size) -> int:
    """Run each load with what it needs, and print predicted and measured figures. Return 1 if one is too far off, else 0."""
    print(f"| {size.measured:g} s each | figure | predicted | measured | ratio |\n|---|---|---:|---:|---:|")
    off = []
    for name, load in CHECKED.items():
        of = needs(load, costs)
        run = runs.run(Setup(load, of.consumers), size)
        for figure, predicted, measured in (
            ("jobs a second", load.rate, run.jobs),
            ("busy workers", of.busy_workers, run.busy_workers),
            ("connections", of.connections, run.connections),
            ("processors of Postgres", sum(of.busy_processors.values()), run.processors),
            ("MB of disk a minute", of.gigabytes * 1000 / 365 / DAY * 60, run.disk * 60 / 1e6),
        ):
            print(f"| {name} | {figure} | {predicted:.2f} | {measured:.2f} | {predicted / measured:.2f} |", flush=True)
            if abs(predicted / measured - 1) > TOLERANCE:
                off.append(f"{name}: {figure}")
    for each in off:
        print(f"MISSED: {each} differs by more than {TOLERANCE:.0%}")
    return 1 if off else 0


def model() -> str:
    """Return the name of this machine's processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
