"""How many jobs may run at once: of one task, and of one owner."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from jobqueue.database.database import Row


@dataclass
class ConcurrencyLimits:
    """Across all consumers. What has none is not counted."""

    of_task: dict[str, int] = field(default_factory=dict)
    per_owner: int | None = None

    def hold(self, task: str, owner: str | None) -> bool:
        """Whether a job takes up a place that another may wait for."""
        return task in self.of_task or (self.per_owner is not None and owner is not None)

    def any_of(self, tasks: Iterable[str]) -> bool:
        return self.per_owner is not None or not self.of_task.keys().isdisjoint(tasks)

    def full(self, running: list[Row], spare: int = 0) -> tuple[set[str], set[str]]:
        """Tasks and owners that have no place left, given how many jobs (`n`) of each `task` and `owner` run.

        spare: how many more than the cap are let pass.
        """
        tasks: Counter[str] = Counter()
        owners: Counter[str] = Counter()
        for row in running:
            tasks[row["task"]] += row["n"]
            if row["owner"] is not None:
                owners[row["owner"]] += row["n"]
        return (
            {task for task, most in self.of_task.items() if tasks[task] >= most + spare},
            {owner for owner, n in owners.items() if self.per_owner is not None and n >= self.per_owner + spare},
        )


def check_limit(name: str, most: int | None) -> int | None:
    """Raises ValueError."""
    if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 1):
        raise ValueError(f"{name} is {most!r}: it has to be 1 or more; left out, there is no cap.")
    return most
