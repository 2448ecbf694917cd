"""Tests that a claim does not read jobs that a concurrency limit holds back."""

from contextlib import closing
from pathlib import Path

import pytest

from jobqueue.database.database import Database
from jobqueue.ledger.ledger import Ledger
from jobqueue.ledger.limits import ConcurrencyLimits
from jobqueue.ledger.records import ClaimRequest
from tests.scale.meter import metered, metered_ledger
from tests.scale.operations import KNOWN, new

FEW, MANY = 100, 3_000


def steps_of_claims(url: str, queued: int, caps: ConcurrencyLimits) -> list[tuple[str | None, int]]:
    """Return the owners of the jobs that three claims get, and the steps of each claim, with `queued` jobs of Ann."""
    with closing(Database(url)) as database:
        Ledger(database).submit([*(new(owner="ann") for _ in range(queued)), new(owner="bob")])
    ledger = metered_ledger(url)
    ledger.limits = caps
    claims = []
    with closing(ledger.database):
        for token in ("1", "2", "3"):
            with metered() as executions:
                row = ledger.claim(ClaimRequest(tasks=KNOWN, token=token, consumer="c", worker="w", lease_s=60))
            claims.append((None if row is None else row["owner"], sum(execution.steps for execution in executions)))
    return claims


@pytest.mark.parametrize(
    "caps, owners",
    [
        (ConcurrencyLimits(per_owner=1), ["ann", "bob", None]),
        (ConcurrencyLimits(of_task={new().task: 1}), ["ann", None, None]),
    ],
    ids=["owner", "task"],
)
def test_claim_reads_no_job_above_its_limit(tmp_path: Path, caps: ConcurrencyLimits, owners: list[str]) -> None:
    few, many = (steps_of_claims(f"sqlite:///{tmp_path}/{queued}.sqlite", queued, caps) for queued in (FEW, MANY))
    assert [owner for owner, _ in few] == owners
    assert many == few
