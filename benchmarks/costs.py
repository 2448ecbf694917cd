"""The time that a job takes, by process and by code: `python -m benchmarks.costs [--quick]`, run by `make bench`. Prints tables.

The processor time of each kind of process, for a job that does nothing, beside peers; what one worker alone spends on a job,
and in whose code; and how soon a queue that does nothing starts one, the first of a program and those that follow. Under both
the floor: a bare UPDATE of one row, as often as something is committed for a job until then.
"""

import argparse
import cProfile
import pstats
import random
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import psutil
import psycopg
from huey.api import TaskWrapper

from benchmarks.peers import CELERY, DRAMATIQ, HUEY, OURS, machine
from benchmarks.running import ENGINE, Peer, Running, Servers, running
from benchmarks.submitter import PAUSE
from tests.servers import PostgresServer, ValkeyServer, fresh_database, fresh_redis

sys.path.insert(0, str(ENGINE))

from jobqueue import DurableHuey

JOBS = 3000
QUICK = 100
IDLE = 100  # jobs of a queue that does nothing else
COMMITS = 2  # until a job starts: the submit and the claim. A worker makes one for each job that nothing follows
LOOK = 0.001  # seconds between two looks at whether the workers are let go

# Whose code a function is, by what its file's path has in it; the first that fits.
CODE = {
    "psycopg": "psycopg, which waits for Postgres",
    "/redis/": "redis",
    "/huey/": "Huey",
    "/jobqueue/": "jobqueue",
    "/sqlalchemy/": "SQLAlchemy",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few jobs, to see that all of it works")
    jobs = QUICK if parser.parse_args().quick else JOBS
    print(machine())
    with PostgresServer() as postgres, ValkeyServer() as valkey:
        servers = Servers(postgres, valkey)
        print(
            "\n| ms of a processor for a job | workers | Postgres | Valkey | all | ms from job to job | processors in use |"
        )
        print("|---|---:|---:|---:|---:|---:|---:|")
        for peer in OURS, CELERY, DRAMATIQ:
            print(f"| {peer.label} | {' | '.join(of_processes(peer, servers, jobs))} |")
        wall, processor, code = of_a_worker(servers, jobs)
        bare_wall, bare_processor = of_an_update(servers, jobs)
        print("\n| one worker alone | ms for a job | of its processor |\n|---|---:|---:|")
        print(f"| this queue | {wall:.2f} | {processor:.2f} |")
        print(f"| a bare update | {bare_wall:.2f} | {bare_processor:.2f} |")
        print("\n| in the code of | of a worker's time, as profiled |\n|---|---:|")
        for name, share in code.most_common():
            print(f"| {name} | {share:.0%} |")
        print("\n| idle, ms from the submit to the start | a program's first | p50 | p99 |\n|---|---:|---:|---:|")
        for peer in OURS, HUEY, CELERY:
            print(f"| {peer.label} | {' | '.join(when_idle(peer, servers))} |")
        print(f"| {COMMITS} bare updates | | {' | '.join(of_idle_updates(servers))} |")


def of_processes(peer: Peer, servers: Servers, jobs: int) -> list[str]:
    """While four workers do jobs that were submitted before."""
    with running(peer, servers) as queue:
        speed: dict[str, float] = {}
        asking = threading.Thread(target=lambda: speed.update(queue.ask("throughput", jobs)))
        asking.start()
        spent = after_the_gate(queue, servers, asking, jobs)
        wall = 1000 / speed["jobs /s"]
        return [*(f"{each:.2f}" for each in (*spent, sum(spent), wall)), f"{sum(spent) / wall:.1f}"]


def after_the_gate(queue: Running, servers: Servers, asking: threading.Thread, jobs: int) -> list[float]:
    gate = queue.notes.with_name("hold.gate")
    while asking.is_alive() and not gate.exists():
        time.sleep(LOOK)
    families = queue.tree, servers.postgres.processes, servers.valkey.processes
    before = [used(family()) for family in families]
    asking.join()
    after = [used(family()) for family in families]
    # What began or ended meanwhile is no worker, and no connection of one.
    return [
        sum(end[pid] - start[pid] for pid in start.keys() & end.keys()) / jobs * 1000
        for start, end in zip(before, after, strict=True)
    ]


def used(processes: Iterable[psutil.Process]) -> dict[int, float]:
    """Seconds of a processor, by process."""
    found = {}
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        found[process.pid] = times.user + times.system
    return found


def of_a_worker(servers: Servers, jobs: int) -> tuple[float, float, Counter[str]]:
    """Milliseconds for a job, those of its processor, and the shares of whose code it was in."""
    with fresh_database(servers.postgres.url) as database, fresh_redis(servers.valkey.url) as redis:
        huey = DurableHuey("bench", database, redis, secret_key="a key for benchmarks")
        nothing = huey.task(name="nothing")(lambda: None)
        work_through(huey, nothing, jobs // 10)  # what is imported, connected and prepared once
        wall, processor = work_through(huey, nothing, jobs)
        with cProfile.Profile() as profile:
            work_through(huey, nothing, jobs)
        huey.storage.close()
    return wall, processor, shares(pstats.Stats(profile))


def work_through(huey: DurableHuey, nothing: TaskWrapper, jobs: int) -> tuple[float, float]:
    """Run the jobs in this thread, by one worker, until no job is left."""
    handles = huey.enqueue_many([nothing.s() for _ in range(jobs)])
    worker = huey.create_consumer(workers=1).worker_threads[0][0]
    began, worked = time.perf_counter(), time.thread_time()
    worker.loop()
    assert handles is not None and handles[-1].is_ready()
    return (time.perf_counter() - began) / jobs * 1000, (time.thread_time() - worked) / jobs * 1000


def shares(profile: pstats.Stats) -> Counter[str]:
    """Return each library's share of the whole time."""
    spent: Counter[str] = Counter()
    for (path, _, name), (_, _, own, _, _) in profile.stats.items():  # type: ignore[attr-defined]  # not in its types
        where = name if path == "~" else path
        spent[next((whose for part, whose in CODE.items() if part in where), "Python and others")] += own
    total = spent.total()
    return Counter({whose: seconds / total for whose, seconds in spent.items()})


@contextmanager
def updating(servers: Servers) -> Iterator[Callable[[], object]]:
    """An UPDATE of one row, prepared, which commits by itself."""
    with (
        fresh_database(servers.postgres.url) as database,
        psycopg.connect(database, autocommit=True, prepare_threshold=0) as connection,
    ):
        connection.execute("CREATE TABLE floor (id int PRIMARY KEY, n int)")
        connection.execute("INSERT INTO floor VALUES (1, 0)")
        yield lambda: connection.execute("UPDATE floor SET n = n + 1 WHERE id = 1 RETURNING n").fetchone()


def of_an_update(servers: Servers, times: int) -> tuple[float, float]:
    """Milliseconds of one, and those of the processor of who asks."""
    with updating(servers) as update:
        began, worked = time.perf_counter(), time.thread_time()
        for _ in range(times):
            update()
        return (time.perf_counter() - began) / times * 1000, (time.thread_time() - worked) / times * 1000


# --- when nothing else is to be done ---


def when_idle(peer: Peer, servers: Servers) -> list[str]:
    """Return the times from the submit to the start: of a program's first job, which connects, and of those that follow."""
    with running(peer, servers) as queue:
        first, *others = queue.ask("idle", IDLE)["start"]
    return [f"{first:.1f}", *spread(others)]


def of_idle_updates(servers: Servers) -> list[str]:
    found = []
    with updating(servers) as update:
        for _ in range(IDLE):
            time.sleep(random.uniform(*PAUSE))
            began = time.perf_counter()
            for _ in range(COMMITS):
                update()
            found.append((time.perf_counter() - began) * 1000)
    return spread(found)


def spread(milliseconds: Sequence[float]) -> list[str]:
    return [f"{statistics.quantiles(milliseconds, n=100, method='inclusive')[at]:.1f}" for at in (49, 98)]


if __name__ == "__main__":
    main()
