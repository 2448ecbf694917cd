"""The duration of a claim while a million finished jobs are pruned.

`python -m benchmarks.pruning [--quick]`, run by `make bench`.

Fifty jobs a second are submitted, claimed and ended on a durable Postgres. Another process prunes at the rate of ten
consumers for two seconds, pauses for two, and so on until the million is gone. A round is a fifth of these turns. Its
ratio is the 99th percentile of a claim during pruning, divided by the one without. Exits with 1 if the median of the
ratios is over its limit.
"""

import argparse
import os
import statistics
import sys
from contextlib import closing
from pathlib import Path

KIT = Path(__file__).parents[1]
sys.path[:0] = [str(KIT), str(KIT / "engine" / "src")]

from jobqueue.database.database import Database  # noqa: E402
from jobqueue.ledger.ledger import Ledger  # noqa: E402
from tests.scale import filling  # noqa: E402
from tests.scale.pruning import FINISHED, pruner, work  # noqa: E402
from tests.servers import PostgresServer, fresh_database  # noqa: E402

ROUNDS = 5
QUICK = 50_000  # jobs
TURN = 2.0  # seconds
PAUSE = 0.01  # seconds from one batch to the next
LIMIT = 1.5  # times a claim without pruning


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="prune few jobs, to check that the benchmark works")
    finished = QUICK if parser.parse_args().quick else FINISHED
    with PostgresServer() as postgres, fresh_database(postgres.url) as url:
        without, beside, pruned = measure(url, finished)
    print(f"| a claim, ms, while {pruned:,} jobs are pruned | p50 | p99 | without: p50 | p99 | ratio of p99 |")
    print("|---|---:|---:|---:|---:|---:|")
    ratios = []
    for number in range(ROUNDS):
        (p50, p99), (p50_beside, p99_beside) = (spread(part(turns, number)) for turns in (without, beside))
        ratios.append(p99_beside / p99)
        print(
            f"| round {number + 1} | {p50_beside:.2f} | {p99_beside:.2f} | {p50:.2f} | {p99:.2f} | {ratios[-1]:.2f} |"
        )
    ratio = statistics.median(ratios)
    print(f"\nThe median ratio is {ratio:.2f}; the limit is {LIMIT}.")
    sys.exit(0 if ratio <= LIMIT else 1)


def measure(url: str, finished: int) -> tuple[list[list[float]], list[list[float]], int]:
    """Return the seconds of the claims in each turn without pruning and with it, and the number of pruned jobs."""
    took: dict[bool, list[list[float]]] = {False: [], True: []}
    with closing(Database(url)) as database:
        ledger = Ledger(database)
        filling.finish(ledger, finished)
        os.sync()  # otherwise the system writes the filled data for another minute
        work(ledger, TURN)  # prepares each statement
        with pruner(url, PAUSE) as (may_run, receiver):
            pruning = False
            while not receiver.poll():
                (may_run.set if pruning else may_run.clear)()
                took[pruning].append(work(ledger, TURN))
                pruning = not pruning
            deleted: list[int] = receiver.recv()
    return took[False], took[True], sum(deleted)


def part(turns: list[list[float]], number: int) -> list[float]:
    """Return the seconds of one round's claims."""
    first, last = (len(turns) * of // ROUNDS for of in (number, number + 1))
    return [seconds for turn in turns[first:last] for seconds in turn]


def spread(seconds: list[float]) -> tuple[float, float]:
    """Return the median and the 99th percentile, in milliseconds."""
    quantiles = statistics.quantiles(seconds, n=100, method="inclusive")
    return 1000 * quantiles[49], 1000 * quantiles[98]


if __name__ == "__main__":
    main()
