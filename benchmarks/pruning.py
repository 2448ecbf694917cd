"""How long a claim takes while a million finished jobs are pruned: `python -m benchmarks.pruning [--quick]`, run by `make bench`.

Fifty jobs a second come, are claimed and end, on Postgres as a host has it. In turns of two seconds, another process prunes
as often as ten consumers would, and rests, until the million is gone. A round is a fifth of these turns: the median of the
rounds' ratios, of the 99th percentiles beside pruning and without, is held to what is promised; exits 1 where it is over.
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
PAUSE = 0.01  # seconds from one piece to the next
HELD_TO = 1.5  # times a claim without pruning


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few jobs, to see that all of it works")
    finished = QUICK if parser.parse_args().quick else FINISHED
    with PostgresServer() as postgres, fresh_database(postgres.url) as url:
        without, beside, pruned = measured(url, finished)
    print(f"| a claim, ms, while {pruned:,} jobs are pruned | p50 | p99 | without: p50 | p99 | p99, times |")
    print("|---|---:|---:|---:|---:|---:|")
    ratios = []
    for number in range(ROUNDS):
        (p50, p99), (p50_beside, p99_beside) = (spread(part(turns, number)) for turns in (without, beside))
        ratios.append(p99_beside / p99)
        print(
            f"| round {number + 1} | {p50_beside:.2f} | {p99_beside:.2f} | {p50:.2f} | {p99:.2f} | {ratios[-1]:.2f} |"
        )
    ratio = statistics.median(ratios)
    print(f"\nTheir median is {ratio:.2f} times; promised are at most {HELD_TO}.")
    sys.exit(0 if ratio <= HELD_TO else 1)


def measured(url: str, finished: int) -> tuple[list[list[float]], list[list[float]], int]:
    """Seconds of the claims in each turn without pruning, and in each beside it; and how many jobs were pruned."""
    took: dict[bool, list[list[float]]] = {False: [], True: []}
    with closing(Database(url)) as database:
        ledger = Ledger(database)
        filling.finish(ledger, finished)
        os.sync()  # else the system writes for a minute what the filling left
        work(ledger, TURN)  # until each statement is prepared
        with pruner(url, PAUSE) as (may, told):
            pruning = False
            while not told.poll():
                (may.set if pruning else may.clear)()
                took[pruning].append(work(ledger, TURN))
                pruning = not pruning
            deleted: list[int] = told.recv()
    return took[False], took[True], sum(deleted)


def part(turns: list[list[float]], number: int) -> list[float]:
    """Return the figures of one round."""
    first, last = (len(turns) * of // ROUNDS for of in (number, number + 1))
    return [seconds for turn in turns[first:last] for seconds in turn]


def spread(seconds: list[float]) -> tuple[float, float]:
    """Milliseconds: the median and the 99th percentile."""
    quantiles = statistics.quantiles(seconds, n=100, method="inclusive")
    return 1000 * quantiles[49], 1000 * quantiles[98]


if __name__ == "__main__":
    main()
