"""Tests that an operation costs the same with 1,000 and 1,000,000 finished jobs, and with 100 and 100,000 waiting ones.

The tests count statements and rows, and also pages on Postgres and instructions of the virtual machine on SQLite. An
index that is one level taller costs one more page for each search. This is the logarithm of the number of jobs, so
these pages are subtracted, by the heights of the indexes. So is one page for each wanted row. Durations are printed,
and have only a loose limit, because machines may be busy.
"""

import statistics
from collections.abc import Callable

from tests.scale.conftest import Say
from tests.scale.growth import QUEUED, Pair
from tests.scale.meter import Execution

RATIO = 1.2
RATIO_OF_TIME = 2.0
SHOWN = ["submit", "claim", "end", "end with result, log and follower", "retry", "progress", "heartbeat", "promote nothing",
         "promote some", "rescue nothing", "rescue some", "fail nothing unknown", "job", "result", "queued jobs"]  # fmt: skip


def test_no_operation_costs_more(pair: Pair) -> None:
    costlier = []
    for name, (small, large) in pair.measured.items():
        assert {statements(run) for run in large} == {statements(run) for run in small}
        rows = median(small, lambda e: e.rows), median(large, lambda e: e.rows)
        # In a small table, rows share pages. In a large one, each row that is read may be on a separate page.
        scattered = QUEUED + min(rows)
        costs = {
            "rows": rows,
            "steps": (median(small, lambda e: e.steps), median(large, lambda e: e.steps)),
            "pages": (
                median(small, lambda e: e.blocks),
                median(large, lambda e: e.blocks - pair.deeper(e)) - scattered,
            ),
        }
        costlier += [
            f"{name}: {before:g} -> {now:g} {of}" for of, (before, now) in costs.items() if now > RATIO * before
        ]
    assert not costlier, "\n".join(costlier)


def test_no_operation_takes_longer(pair: Pair, say: Say) -> None:
    """Test the sum of all operations, because a busy machine may delay a single one."""
    took = pair.took
    say(f"{pair.name}: milliseconds, and rows and pages or steps, in the small ledger -> in the large one")
    for name in SHOWN:
        small, large = pair.measured[name]
        figures = [f"{1000 * took[name][0]:6.2f} -> {1000 * took[name][1]:6.2f} ms"]
        for of, count in COUNTED.items():
            if any(median(side, count) for side in (small, large)):
                figures.append(f"{median(small, count):5g} -> {median(large, count):5g} {of}")
        say(f"  {name:30}{len(large[0]):3} statements  " + "   ".join(figures))
    small, large = (sum(times) for times in zip(*took.values(), strict=True))
    say(f"  all {len(took)} operations: {1000 * small:.1f} -> {1000 * large:.1f} ms")
    assert large < RATIO_OF_TIME * small


COUNTED: dict[str, Callable[[Execution], int]] = {
    "rows": lambda execution: execution.rows,
    "pages": lambda execution: execution.blocks,
    "steps": lambda execution: execution.steps,
}


def statements(run: list[Execution]) -> tuple[str, ...]:
    return tuple(execution.name for execution in run)


def median(runs: list[list[Execution]], count: Callable[[Execution], int]) -> float:
    return statistics.median(sum(map(count, run)) for run in runs)
