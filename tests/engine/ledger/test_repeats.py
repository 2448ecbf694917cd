"""A write whose answer is lost is repeated: the second time changes nothing."""

import itertools
from types import SimpleNamespace

import pytest

from jobqueue import DurableHuey
from jobqueue.database.database import Database, DatabaseUnavailable
from jobqueue.execution.current_job import ClaimedJob, working_for
from jobqueue.ledger.entries import Entries
from jobqueue.ledger.records import FenceRefused
from tests.scale import operations
from tests.scale.operations import KNOWN, OPERATIONS, claimed, new

# Nobody repeats these. A worker whose claim gets no answer gives back what it may have been given, and asks under another token.
# A job counts under an id of its own ("count up once").
NOT_REPEATED = {
    *("claim", "claim in a queue", "claim within a task's cap", "claim within a cap that has room"),
    *("claim within owners' caps", "count up"),
}
TABLES = ("jobs", "results", "steps", "logs", "handles", "entries", "counters", "consumers", "schedules", "datasets",
          "dataset_versions", "callback_updates", "callback_answers")  # fmt: skip
TIMES = {"seen_at", "left_at", "lease_until", "saved_at", "used_at", "watermark", "expires_at"}


def contents(database: Database) -> dict[str, list[tuple[object, ...]]]:
    """Return all rows, without the times that a repeated write may set anew."""
    with database.statement() as tx:
        rows = {table: tx.all(f"SELECT * FROM {table}") for table in TABLES}
    return {
        table: sorted((tuple(row[column] for column in row.keys() if column not in TIMES) for row in found), key=repr)  # noqa: SIM118
        for table, found in rows.items()
    }


def test_every_operation_can_be_repeated(huey: DurableHuey, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, numbers = huey.ledger, itertools.count()
    monkeypatch.setattr(operations, "secrets", SimpleNamespace(token_hex=lambda _: f"{next(numbers):032d}"))
    changed, wrote = set(), set()
    for operation in OPERATIONS:
        if operation.page or operation.of and operation.name not in NOT_REPEATED:
            continue
        with ledger.database.transaction() as tx:
            for table in TABLES:
                tx.run(f"DELETE FROM {table}")
        numbers = itertools.count()
        ledger.submit([new(task=task) for task in KNOWN[:3]])
        given = operation.before(ledger)
        before = contents(ledger.database)
        seen: list[dict[str, list[tuple[object, ...]]]] = []
        for _ in range(2):
            numbers = itertools.count(1_000)  # the same ids and tokens each time
            try:
                operation.act(ledger, given)
            except (AssertionError, FenceRefused):  # it found less, or the claim was over
                assert seen, operation.name
            seen.append(contents(ledger.database))
        wrote |= {operation.name} if seen[0] != before else set()
        changed |= {operation.name} if seen[1] != seen[0] else set()
    assert changed == NOT_REPEATED
    assert len(wrote) > 50


def test_a_job_counts_once_however_often_the_answer_is_lost(huey: DurableHuey, monkeypatch: pytest.MonkeyPatch) -> None:
    held = claimed(huey.ledger)
    add_once, losses = Entries.add_once, iter([True, True, False, False])

    def without_an_answer(self: Entries, *args: object) -> int:
        value = add_once(self, *args)  # type: ignore[arg-type]
        if next(losses):
            raise DatabaseUnavailable("The answer got lost.")
        return value

    monkeypatch.setattr(Entries, "add_once", without_an_answer)
    with working_for(ClaimedJob(huey.ledger, *held, attempt=1, owner=None)):
        assert huey.storage.incr("calls", 3) == 3
        assert huey.storage.incr("calls", 3) == 6
