"""Pairs of a small and a large ledger, in which each operation is measured."""

import itertools
import statistics
import time
from dataclasses import dataclass
from functools import cached_property

from jobqueue.database.database import Database
from jobqueue.ledger.ledger import Ledger
from jobqueue.ledger.states import State
from tests.scale import filling
from tests.scale.meter import Execution, heights, metered, metered_ledger
from tests.scale.operations import OPERATIONS, Operation, submitted

QUEUED = 10
REPEATS = {
    "sqlite": 3,  # its counts do not vary
    "postgresql": 13,  # enough for prepared statements with generic plans
}
TIMED = 15


@dataclass(frozen=True)
class Growth:
    """A way in which a ledger grows: by finished jobs, or by jobs that wait in a state. Ten queued jobs come last."""

    name: str
    finished: tuple[int, int] = (1_000, 1_000)
    waiting: tuple[int, int] = (0, 0)  # the smaller number still fills a page of a list
    state: State | None = None
    task: str = ""

    def pile_up(self, ledger: Ledger, size: int) -> None:
        """Add the waiting jobs of the small ledger (size 0) or of the large one (size 1) to its finished ones."""
        if self.state is not None:
            filling.pile_up(ledger, self.waiting[size], self.state, self.task)
        for _ in range(QUEUED):
            submitted(ledger)


GROWTHS = [
    Growth("1,000,000 finished", finished=(1_000, 1_000_000)),
    Growth("100,000 queued", waiting=(100, 100_000), state=State.QUEUED, task="app.jobs.task_"),
    Growth("100,000 queued of unknown tasks", waiting=(100, 100_000), state=State.QUEUED, task="old.jobs.task_"),
    Growth("100,000 scheduled", waiting=(100, 100_000), state=State.SCHEDULED, task="app.jobs.task_"),
]
DATABASES = ["sqlite", "postgres"]


class Side:
    """A filled ledger, which is restored after each operation.

    :param url: a database with the finished jobs.
    """

    def __init__(self, url: str, growth: Growth, size: int) -> None:
        self.ledger = Ledger(Database(url))
        self.metered = metered_ledger(url)
        growth.pile_up(self.ledger, size)
        self.heights = {} if self.ledger.database.dialect.one_writer else heights(self.ledger)
        with self.ledger.database.statement() as tx:
            row = tx.one("SELECT (SELECT max(seq) FROM jobs) AS job, (SELECT max(seq) FROM handles) AS handle")
            assert row is not None
            self.last = row

    def executions(self, operation: Operation) -> list[Execution]:
        given = operation.before(self.ledger)
        with metered() as executions:
            operation.act(self.metered, given)
        self.restore()
        return executions

    def seconds(self, operation: Operation) -> float:
        given = operation.before(self.ledger)
        started = time.perf_counter()
        operation.act(self.ledger, given)
        took = time.perf_counter() - started
        self.restore()
        return took

    def restore(self) -> None:
        with self.ledger.database.transaction() as tx:
            tx.run("UPDATE jobs SET state = 'queued', token = NULL, lease_until = NULL WHERE token IS NOT NULL")
            tx.run("DELETE FROM jobs WHERE seq > :last", last=self.last["job"])
            tx.run("DELETE FROM handles WHERE seq > :last", last=self.last["handle"])

    def close(self) -> None:
        self.ledger.database.close()
        self.metered.database.close()


class Pair:
    """A small and a large ledger, on which each operation is measured once."""

    def __init__(self, name: str, growth: Growth, small: Side, large: Side) -> None:
        self.name = name
        self.growth = growth
        limited = [operation for operation in OPERATIONS if operation.of is None or operation.of is not growth.state]
        self.operations = sorted(limited, key=lambda operation: operation.page)
        self.small = small
        self.large = large

    @cached_property
    def taller(self) -> dict[str, int]:
        """Return the number of levels by which each index is taller in the large ledger."""
        return {name: max(0, height - self.small.heights[name]) for name, height in self.large.heights.items()}

    @cached_property
    def measured(self) -> dict[str, tuple[list[list[Execution]], list[list[Execution]]]]:
        """Return the executions of each operation in the small and in the large ledger."""
        repeats = REPEATS[self.small.ledger.database.url.get_backend_name()]
        measured = {}
        for page, operations in itertools.groupby(self.operations, key=lambda operation: operation.page):
            if page:  # by the time a user opens a page, the database's statistics are up to date
                filling.tidy(self.small.ledger)
                filling.tidy(self.large.ledger)
            for operation in operations:
                measured[operation.name] = (
                    [self.small.executions(operation) for _ in range(repeats)],
                    [self.large.executions(operation) for _ in range(repeats)],
                )
        return measured

    @cached_property
    def took(self) -> dict[str, tuple[float, float]]:
        """Return the median seconds of each operation in the small and in the large ledger, measured in turns."""
        return {
            operation.name: (statistics.median(seconds[0::2]), statistics.median(seconds[1::2]))
            for operation in self.operations
            for seconds in [[side.seconds(operation) for _ in range(TIMED) for side in (self.small, self.large)]]
        }

    def deeper(self, execution: Execution) -> int:
        """Return the pages that were read only because indexes are taller, in searches and for new index entries."""
        down = sum(times * self.taller[index] for index, times in execution.searches.items() if index in self.taller)
        entries = sum(
            rows * sum(levels for index, levels in self.taller.items() if index.startswith(table))
            for table, rows in execution.wrote.items()
        )
        return down + entries
