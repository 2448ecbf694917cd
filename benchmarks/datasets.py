"""The cost of repeated reads of a dataset in a web process, compared with a bare SELECT or GET. Run by `make bench`.

The frame has 10 MB and does not change. On each storage, one thread reads, and then twenty threads read at the same
time. The same run makes as many bare requests, on separate connections. Prints whether each storage stays within its
limits.
"""

import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import psycopg
import redis

KIT = Path(__file__).parent.parent
sys.path[:0] = [str(KIT), str(KIT / "engine" / "src")]

from jobqueue import DurableHuey  # noqa: E402
from jobqueue.datasets.dataset import Dataset  # noqa: E402
from tests.servers import PostgresServer, ValkeyServer  # noqa: E402

MEGABYTES = 10
READS = 2000  # by one thread
THREADS = 20
EACH = 100  # reads of each thread
ROUNDS = 5
ONE_THREAD = {"postgres+valkey": 1.0, "postgres": 3.0}  # limit of the median, in milliseconds
MANY = 1.5  # limit of the median, as a multiple of a bare request

Ask = Callable[[], object]


def main() -> None:
    print(f"read() of an unchanged frame of {MEGABYTES} MB (ms, medians)")
    print(f"{'':18}{'1 thread':>12}{'bare':>10}{f'{THREADS} threads':>14}{'bare':>10}{'times':>8}")
    within = True
    with tempfile.TemporaryDirectory() as folder, PostgresServer() as postgres, ValkeyServer() as valkey:
        for name, urls, bare in (
            ("sqlite", (f"sqlite:///{folder}/jobs.sqlite", None), None),
            ("postgres", (postgres.url, None), lambda: bare_select(postgres.url)),
            ("postgres+valkey", (postgres.url, valkey.url), lambda: bare_get(valkey.url)),
        ):
            within &= compare(name, saved_dataset(*urls), bare)
    print("all within the limits" if within else "NOT within the limits")
    sys.exit(0 if within else 1)


def saved_dataset(database_url: str, redis_url: str | None) -> Dataset[pd.DataFrame]:
    """Return a dataset with one version, which this process has read once."""
    huey = DurableHuey("bench", database_url, redis_url, secret_key="a key for the benchmark")

    @huey.dataset(lambda moment: False)
    def prices() -> pd.DataFrame:
        rows = MEGABYTES * 1_000_000 // (8 * 20)
        return pd.DataFrame(np.random.default_rng(1).random((rows, 20)), columns=[f"S{i}" for i in range(20)])

    prices.refresh()
    while (task := huey.dequeue()) is not None:
        huey.execute(task)
    prices.read()
    return prices


def compare(name: str, prices: Dataset[pd.DataFrame], bare: Callable[[], Ask] | None) -> bool:
    """Print the line of a storage. Return whether it stays within its limits."""
    one, many = median(by_one_thread(prices.read)), 0.0
    line = f"{name:18}{one:12.3f}"
    if bare is None:
        many = median(by_many_threads(lambda: prices.read))
        print(f"{line}{'':10}{many:14.2f}")
        return True
    line += f"{median(by_one_thread(bare())):10.3f}"
    rounds = [(median(by_many_threads(lambda: prices.read)), median(by_many_threads(bare))) for _ in range(ROUNDS)]
    many, plain = (statistics.median(column) for column in zip(*rounds, strict=True))
    print(f"{line}{many:14.2f}{plain:10.2f}{many / plain:8.2f}")
    return one < ONE_THREAD[name] and many <= MANY * plain


def by_one_thread(ask: Ask) -> list[float]:
    return [timed(ask) for _ in range(READS)]


def by_many_threads(make: Callable[[], Ask]) -> list[float]:
    """Return the seconds of each request of twenty threads that start together."""
    begun = threading.Barrier(THREADS)

    def run(_: int) -> list[float]:
        ask = make()
        ask()
        begun.wait(60)
        return [timed(ask) for _ in range(EACH)]

    with ThreadPoolExecutor(THREADS) as pool:
        return [seconds for times in pool.map(run, range(THREADS)) for seconds in times]


def timed(ask: Ask) -> float:
    begun = time.perf_counter()
    ask()
    return time.perf_counter() - begun


def median(seconds: list[float]) -> float:
    """Return the median in milliseconds."""
    return statistics.median(seconds) * 1000


def bare_select(url: str) -> Ask:
    connection = psycopg.connect(url, autocommit=True)
    return lambda: connection.execute("SELECT version FROM datasets WHERE version > 0").fetchall()


def bare_get(url: str) -> Ask:
    client = redis.Redis.from_url(url)
    client.set("bare", "1")
    return lambda: client.get("bare")


if __name__ == "__main__":
    main()
