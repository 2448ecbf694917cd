"""The time that a job takes, by process and by code: `python -m benchmarks.costs [--quick]`, run by `make bench`.

The first table compares queues by the processor time of each kind of process, for a job that does nothing. The next two
show the time that one worker alone spends on a job, and in which code. The last shows how soon an idle queue starts a
job: a program's first job, and later ones. For comparison, two tables end with bare UPDATEs of one row, one for each
commit of a job.
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
IDLE = 100  # jobs on an idle queue
COMMITS = 2  # before a job starts: the submit and the claim. A worker commits once for a job that no other job follows
POLL = 0.001  # seconds between two checks whether the workers were released

# Part of a file's path -> the library whose code it is. The first match counts.
CODE = {
    "psycopg": "psycopg, which waits for Postgres",
    "/redis/": "redis",
    "/huey/": "Huey",
    "/jobqueue/": "jobqueue",
    "/sqlalchemy/": "SQLAlchemy",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="run few jobs, to check that the benchmark works")
    jobs = QUICK if parser.parse_args().quick else JOBS
    print(machine())
    with PostgresServer() as postgres, ValkeyServer() as valkey:
        servers = Servers(postgres, valkey)
        print("\n| processor ms per job | workers | Postgres | Valkey | all | elapsed ms per job | processors in use |")
        print("|---|---:|---:|---:|---:|---:|---:|")
        for peer in OURS, CELERY, DRAMATIQ:
            print(f"| {peer.label} | {' | '.join(processor_times(peer, servers, jobs))} |")
        wall, processor, code = one_worker(servers, jobs)
        bare_wall, bare_processor = bare_update(servers, jobs)
        print("\n| one worker alone | elapsed ms per job | processor ms per job |\n|---|---:|---:|")
        print(f"| this queue | {wall:.2f} | {processor:.2f} |")
        print(f"| a bare update | {bare_wall:.2f} | {bare_processor:.2f} |")
        print("\n| code | share of a worker's profiled time |\n|---|---:|")
        for name, share in code.most_common():
            print(f"| {name} | {share:.0%} |")
        print("\n| idle queue, ms from submit to start | a program's first job | p50 | p99 |\n|---|---:|---:|---:|")
        for peer in OURS, HUEY, CELERY:
            print(f"| {peer.label} | {' | '.join(idle_latency(peer, servers))} |")
        print(f"| {COMMITS} bare updates | | {' | '.join(idle_updates(servers))} |")


def processor_times(peer: Peer, servers: Servers, jobs: int) -> list[str]:
    """Return the cells of a peer's row, measured while four workers run jobs that were submitted before."""
    with running(peer, servers) as queue:
        speed: dict[str, float] = {}
        asker = threading.Thread(target=lambda: speed.update(queue.ask("throughput", jobs)))
        asker.start()
        spent = times_after_release(queue, servers, asker, jobs)
        wall = 1000 / speed["jobs /s"]
        return [*(f"{each:.2f}" for each in (*spent, sum(spent), wall)), f"{sum(spent) / wall:.1f}"]


def times_after_release(queue: Running, servers: Servers, asker: threading.Thread, jobs: int) -> list[float]:
    gate = queue.notes.with_name("hold.gate")
    while asker.is_alive() and not gate.exists():
        time.sleep(POLL)
    families = queue.tree, servers.postgres.processes, servers.valkey.processes
    before = [seconds_of_each(family()) for family in families]
    asker.join()
    after = [seconds_of_each(family()) for family in families]
    # A process that started or ended meanwhile is neither a worker nor a worker's connection.
    return [
        sum(end[pid] - start[pid] for pid in start.keys() & end.keys()) / jobs * 1000
        for start, end in zip(before, after, strict=True)
    ]


def seconds_of_each(processes: Iterable[psutil.Process]) -> dict[int, float]:
    """Return the processor time of each process, in seconds, by process id."""
    found = {}
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        found[process.pid] = times.user + times.system
    return found


def one_worker(servers: Servers, jobs: int) -> tuple[float, float, Counter[str]]:
    """Return the elapsed and processor milliseconds of a job, and each library's share of a worker's time."""
    with fresh_database(servers.postgres.url) as database, fresh_redis(servers.valkey.url) as redis:
        huey = DurableHuey("bench", database, redis, secret_key="a key for benchmarks")
        nothing = huey.task(name="nothing")(lambda: None)
        work_through(huey, nothing, jobs // 10)  # imports, connects and prepares statements
        wall, processor = work_through(huey, nothing, jobs)
        with cProfile.Profile() as profile:
            work_through(huey, nothing, jobs)
        huey.storage.close()
    return wall, processor, shares(pstats.Stats(profile))


def work_through(huey: DurableHuey, nothing: TaskWrapper, jobs: int) -> tuple[float, float]:
    """Run the jobs with one worker in this thread. Return the elapsed and processor milliseconds of a job."""
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
        spent[next((library for part, library in CODE.items() if part in where), "Python and others")] += own
    total = spent.total()
    return Counter({library: seconds / total for library, seconds in spent.items()})


@contextmanager
def updating(servers: Servers) -> Iterator[Callable[[], object]]:
    """Yield a function that runs a prepared UPDATE of one row and commits it."""
    with (
        fresh_database(servers.postgres.url) as database,
        psycopg.connect(database, autocommit=True, prepare_threshold=0) as connection,
    ):
        connection.execute("CREATE TABLE floor (id int PRIMARY KEY, n int)")
        connection.execute("INSERT INTO floor VALUES (1, 0)")
        yield lambda: connection.execute("UPDATE floor SET n = n + 1 WHERE id = 1 RETURNING n").fetchone()


def bare_update(servers: Servers, times: int) -> tuple[float, float]:
    """Return the elapsed milliseconds of a bare UPDATE, and this process's processor milliseconds."""
    with updating(servers) as update:
        began, worked = time.perf_counter(), time.thread_time()
        for _ in range(times):
            update()
        return (time.perf_counter() - began) / times * 1000, (time.thread_time() - worked) / times * 1000


# --- on an idle queue ---


def idle_latency(peer: Peer, servers: Servers) -> list[str]:
    """Return the milliseconds from submit to start: of a program's first job, and p50 and p99 of the others."""
    with running(peer, servers) as queue:
        first, *others = queue.ask("idle", IDLE)["start"]
    return [f"{first:.1f}", *spread(others)]


def idle_updates(servers: Servers) -> list[str]:
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
