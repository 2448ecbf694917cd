"""Concurrency limits: how many jobs of one task, or of one owner, may run at once."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from jobqueue.database.database import Row


@dataclass
class ConcurrencyLimits:
    """Limits across all consumers. Tasks that are not listed, and jobs without an owner, have no limit."""

    of_task: dict[str, int] = field(default_factory=dict)  # full name -> the most jobs that run at once
    per_owner: int | None = None  # the most jobs of each owner that run at once; None for no limit

    def counts(self, task: str, owner: str | None) -> bool:
        """Return whether a job counts against a limit."""
        return task in self.of_task or (self.per_owner is not None and owner is not None)

    def apply_to(self, tasks: Iterable[str]) -> bool:
        """Return whether a limit may apply to a job of these tasks."""
        return self.per_owner is not None or not self.of_task.keys().isdisjoint(tasks)

    def full(self, running: list[Row], spare: int = 0) -> tuple[set[str], set[str]]:
        """Return the tasks and the owners that have reached their limits.

        :param running: the number `n` of running jobs for each `task` and `owner`.
        :param spare: how many jobs above the limit are allowed.
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
    """Return a limit.

    :param name: the name of the setting, for the error.
    :param most: the most jobs that run at once; None for no limit.
    :raises ValueError: unless it is None or a whole number of at least 1.
    """
    if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 1):
        raise ValueError(f"{name} is {most!r}. It must be a whole number, 1 or more. Leave it out for no limit.")
    return most
