"""A process dies at each place between two writes; afterwards the promises hold."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest

from jobqueue import DurableHuey, State
from tests.faults.conftest import StartConsumer
from tests.faults.crash_points import Place, arm, armed, places, recorded
from tests.faults.crash_table import IN_WORKERS, SCENARIOS, Operation, Scenario
from tests.faults.fault_jobs import notes
from tests.jobqueue.consumers import wait_until

ENDED = 40.0  # seconds in which all jobs have ended, on a machine that is busy


class Point(NamedTuple):
    """A place of an operation: somebody dies there, once for each of the operation's keys."""

    name: str  # what its jobs' ids begin with
    operation: Operation
    place: Place

    def arm(self, folder: Path) -> None:
        for key in self.operation.keys:
            for place in (*self.operation.before_it, self.place):
                arm(folder, place, "" if self.before_a_claim else key.format(self.name))

    @property
    def before_a_claim(self) -> bool:
        """Nobody knows which job it will be: any worker dies."""
        return self.operation.method == "claim" and self.place.when == "before"

    @property
    def losses(self) -> int:
        """Attempts that die with their worker."""
        if self.before_a_claim or (self.operation.method == "end" and self.place.when == "after"):
            return 0
        return len(self.operation.keys) * (len(self.operation.before_it) + 1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of the crash points."""
    (tmp_path / "points").mkdir()
    return tmp_path / "points"


@pytest.fixture
def in_workers(huey: DurableHuey) -> list[Operation]:
    return [
        operation._replace(statements=statements(huey, operation.statements)) for operation in IN_WORKERS
    ]  # fmt: skip


def statements(huey: DurableHuey, executed: Sequence[str]) -> tuple[str, ...]:
    """Where one writer at a time is the rule, a look before a write spares the others."""
    one_writer = huey.ledger.database.dialect.one_writer
    return tuple(name for name in executed if one_writer or name != "ANY_TO_CLAIM")


def points(operations: Sequence[Operation]) -> list[Point]:
    return [
        Point(f"{number} {operation.scenario}: {place}", operation, place)
        for number, operation in enumerate(operations)
        for place in places(operation.method, operation.statements)
    ]


def test_workers_that_die_at_any_place_lose_nothing_and_repeat_no_more_than_an_attempt(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, folder: Path, in_workers: list[Operation]
) -> None:
    crashes = points(in_workers)
    jobs = {point.name: (SCENARIOS[point.operation.scenario], point.losses) for point in crashes}
    jobs |= {f"nobody dies: {name}": (scenario, 0) for name, scenario in SCENARIOS.items()}
    for name, (scenario, _) in jobs.items():
        huey.enqueue(scenario.submit(tasks, name, str(folder / f"{name}.txt")))
    for point in crashes:
        point.arm(folder)
    start(workers=2, crash_points=folder, max_losses=1000)
    wait_until(lambda: not armed(folder) and all_have_ended(huey), ENDED)
    for name, (scenario, losses) in jobs.items():
        assert_the_promises(huey, folder, name, scenario, losses)
    assert len(huey.jobs(task=tasks.told, limit=1000)) == sum(
        scenario.once == ("told",) for scenario, _ in jobs.values()
    )
    assert_complete(in_workers, folder)


def all_have_ended(huey: DurableHuey) -> bool:
    return not any(huey.ledger.count(state) for state in State if not state.ended)


def assert_the_promises(huey: DurableHuey, folder: Path, name: str, scenario: Scenario, losses: int) -> None:
    jobs = {added: huey.look(name + added) for added in scenario.ends}
    assert {added: job.state for added, job in jobs.items()} == scenario.ends, name
    assert sum(job.losses for job in jobs.values()) == max(losses, scenario.losses), name
    attempts = Counter(word for word, *_ in notes(folder / f"{name}.txt"))
    assert attempts.keys() == scenario.notes.keys(), name
    for word, times in scenario.notes.items():
        assert times <= attempts[word] <= times + (0 if word in scenario.once else losses), name
    succeeded = [added for added, state in scenario.ends.items() if state is State.SUCCEEDED]
    if succeeded:
        assert huey.result(name + succeeded[-1]) == scenario.result, name


def assert_complete(operations: Sequence[Operation], folder: Path) -> None:
    """The table is what was executed: an operation that writes more, or writes it otherwise, has no place in it yet."""
    known = {(operation.method, operation.statements) for operation in operations}
    executed = {(method, statements) for method, _, statements in recorded(folder)}
    assert known - executed == set()
    names = {method: {name for of, executed in known if of == method for name in executed} for method, _ in known}
    more = {
        (method, executed) for method, executed in executed if method in names and not set(executed) <= names[method]
    }
    assert more == set()
