"""Where a job's time goes: `python -m benchmarks.costs [--quick]`, run by `make bench`. Prints three tables.

The processor time of each kind of process, for a job that does nothing, beside two peers; what one worker alone spends on a
job, and in whose code; and the floor under it: a bare UPDATE of one row, as often as a job has to be written.
"""

import argparse
import cProfile
import pstats
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable

import psutil
import psycopg
from huey.api import TaskWrapper

from benchmarks.peers import CELERY, DRAMATIQ, OURS, machine
from benchmarks.running import TEMPLATE, Peer, Running, Servers, running
from tests.servers import PostgresServer, ValkeyServer, fresh_database, fresh_redis

sys.path.insert(0, str(TEMPLATE))

from jobqueue import DurableHuey  # noqa: E402

JOBS = 3000
QUICK = 100
WRITES = 2  # of a job that nothing follows, by its worker: the claim and the end
LOOK = 0.001  # seconds between two looks at whether the workers are let go

# Whose code a function is, by what its file's path has in it; the first that fits.
CODE = {
    "psycopg_binary": "psycopg's C, which waits for Postgres",
    "/psycopg": "psycopg",
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
        print("\n| one worker alone | ms for a job |\n|---|---:|")
        print(f"| from job to job | {wall:.2f} |\n| of its processor | {processor:.2f} |")
        print("\n| in the code of | of its time, as profiled |\n|---|---:|")
        for name, share in code.most_common():
            print(f"| {name} | {share:.0%} |")
        wall, processor = of_an_update(postgres.url, jobs)
        print("\n| the floor | ms for a job |\n|---|---:|")
        print(
            f"| {WRITES} bare updates | {WRITES * wall:.2f} |\n| of the client's processor | {WRITES * processor:.2f} |"
        )


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
    """As a worker's loop does, in this thread."""
    huey.enqueue_many([nothing.s() for _ in range(jobs)])
    began, worked = time.perf_counter(), time.thread_time()
    for _ in range(jobs):
        task = huey.claim("bench", "worker")
        assert task is not None
        huey.execute(task)
    return (time.perf_counter() - began) / jobs * 1000, (time.thread_time() - worked) / jobs * 1000


def shares(profile: pstats.Stats) -> Counter[str]:
    """Of the whole, by whose code it was; what psycopg spends in C is the waiting for Postgres, with its own work there."""
    spent: Counter[str] = Counter()
    for (path, _, name), (_, _, own, _, _) in profile.stats.items():  # type: ignore[attr-defined]  # not in its types
        where = name if path == "~" else path
        spent[next((whose for part, whose in CODE.items() if part in where), "Python and others")] += own
    total = spent.total()
    return Counter({whose: seconds / total for whose, seconds in spent.items()})


def of_an_update(url: str, times: int) -> tuple[float, float]:
    """Milliseconds of one that is prepared and commits by itself, and those of the processor of who asks."""
    with fresh_database(url) as database, psycopg.connect(database, autocommit=True, prepare_threshold=0) as connection:
        connection.execute("CREATE TABLE floor (id int PRIMARY KEY, n int)")
        connection.execute("INSERT INTO floor VALUES (1, 0)")
        began, worked = time.perf_counter(), time.thread_time()
        for _ in range(times):
            connection.execute("UPDATE floor SET n = n + 1 WHERE id = 1 RETURNING n").fetchone()
        return (time.perf_counter() - began) / times * 1000, (time.thread_time() - worked) / times * 1000


if __name__ == "__main__":
    main()
