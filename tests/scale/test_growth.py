"""An operation costs the same with 1,000 and with 1,000,000 finished jobs, and with 100 and 100,000 that wait.

Counted are the statements that it executes and the rows that these read; on Postgres the pages too, on SQLite the instructions
of its virtual machine. An index that is a level higher costs one page more for each search: that is the logarithm of
the number of jobs and no slowness, so it is told apart, from the heights of the very indexes; as is a page for each row
that is wanted. Time is told, and bounded only as far as busy machines allow.
"""

import statistics
from collections.abc import Callable

from tests.scale.conftest import Say
from tests.scale.growth import QUEUED, Pair
from tests.scale.meter import Execution

RATIO = 1.2
RATIO_OF_TIME = 2.0
SHOWN = ["submit", "claim", "end", "end with result, log and follower", "retry", "progress", "renew", "promote nothing",
         "promote some", "rescue nothing", "rescue some", "fail nothing unknown", "look", "result", "queued jobs"]  # fmt: skip


def test_no_operation_costs_more(pair: Pair) -> None:
    dearer = []
    for name, (small, large) in pair.measured.items():
        assert {statements(run) for run in large} == {statements(run) for run in small}
        rows = median(small, lambda e: e.rows), median(large, lambda e: e.rows)
        # In a small table rows lie together; in a large one each that is looked at may lie on a page of its own.
        scattered = QUEUED + min(rows)
        costs = {
            "rows": rows,
            "steps": (median(small, lambda e: e.steps), median(large, lambda e: e.steps)),
            "pages": (
                median(small, lambda e: e.blocks),
                median(large, lambda e: e.blocks - pair.deeper(e)) - scattered,
            ),
        }
        dearer += [f"{name}: {before:g} -> {now:g} {of}" for of, (before, now) in costs.items() if now > RATIO * before]
    assert not dearer, "\n".join(dearer)


def test_no_operation_takes_longer(pair: Pair, say: Say) -> None:
    """All of them together: of a single one a busy machine may make anything."""
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
