"""Pruning deletes old jobs with everything that belongs to them, and keeps what another job may still need."""

import logging
import math
import time
from typing import Any

import pytest

from jobqueue import DurableHuey, State, current_job
from jobqueue.consumer import pruner as pruning
from jobqueue.consumer.pruner import DAY, Pruner
from jobqueue.database import postgres
from jobqueue.database.database import Transaction
from jobqueue.ledger.ledger import Ledger
from jobqueue.ledger.records import ClaimRequest, NewJob, Outcome
from tests import statements as sql
from tests.engine.conftest import HueyFactory
from tests.engine.consumers import work
from tests.engine.ledger.test_transitions import CLAIM, TABLES, TASK, TOKEN
from tests.waiting import wait_until

OLD = 31 * DAY


@pytest.fixture
def ledger(make_huey: HueyFactory) -> Ledger:
    return make_huey().ledger


def finish(ledger: Ledger, job_id: str, state: State = State.SUCCEEDED, **given: Any) -> None:
    ledger.submit([NewJob(id=job_id, task=TASK, message=b"", **given)])
    ledger.claim(ClaimRequest(tasks=[TASK], **CLAIM))
    ledger.end(job_id, TOKEN, Outcome(state=state))


def age(ledger: Ledger, *ids: str, by: float = OLD) -> None:
    with ledger.database.transaction() as tx:
        for job_id in ids:
            tx.run(
                "UPDATE jobs SET created_at = created_at - :by, ended_at = ended_at - :by WHERE id = :id",
                by=by,
                id=job_id,
            )


def prune(ledger: Ledger, keep_days: float | None = 30, keep_jobs: int | None = None) -> int:
    """Prune the whole history once. Return how many jobs were deleted."""
    return sum(Pruner(ledger.retention, keep_days, keep_jobs).batches())


def left(ledger: Ledger) -> list[str]:
    """Return the ids of the jobs that are left, in the order of their submission."""
    with ledger.database.statement() as tx:
        return [row["id"] for row in tx.all("SELECT id FROM jobs ORDER BY seq")]


def test_a_job_is_pruned_with_everything_that_belongs_to_it(huey: DurableHuey) -> None:
    @huey.task()
    def task() -> int:
        logging.getLogger("app").warning("logged")
        return current_job().step("step", int, 1)

    old, young = task(), task()
    revoked = task()
    revoked.revoke()
    work(huey)
    revoked.revoke()  # again, after its end: no claim consumes this revocation
    age(huey.ledger, old.id, revoked.id)
    assert prune(huey.ledger) == 2
    with huey.ledger.database.statement() as tx:
        kept = {table: tx.all(f"SELECT * FROM {table}") for table in TABLES}
    assert {table: len(rows) for table, rows in kept.items() if rows} == {
        "jobs": 1,
        "results": 1,
        "steps": 1,
        "logs": 1,
    }
    assert young() == 1
    assert prune(huey.ledger) == 0


@pytest.mark.parametrize("keep", [0, None])
def test_nothing_is_pruned_without_a_retention_setting(ledger: Ledger, keep: int | None) -> None:
    finish(ledger, "job")
    age(ledger, "job", by=100 * OLD)
    assert prune(ledger, keep, keep) == 0


def test_only_ended_jobs_are_pruned_however_long_ago_they_were_submitted(ledger: Ledger) -> None:
    ledger.submit([NewJob(id=name, task=TASK, message=b"", **given) for name, given in UNFINISHED.items()])
    finish(ledger, "ended today")
    with ledger.database.statement() as tx:
        tx.run("UPDATE jobs SET created_at = created_at - :by", by=OLD)
    finish(ledger, "old", State.FAILED)
    age(ledger, "old")
    assert prune(ledger) == 1
    assert left(ledger) == [*UNFINISHED, "ended today"]


UNFINISHED: dict[str, dict[str, Any]] = {
    "waiting": {"pending": 1},
    "scheduled": {"run_in": 3600.0},
    "queued": {"priority": -1},
}


def test_a_job_is_kept_as_long_as_a_job_that_depends_on_it(ledger: Ledger) -> None:
    ledger.submit([NewJob(id="callback", task=TASK, message=b"", pending=2, chord_size=2)])
    finish(ledger, "member", follower="callback", chord_index=0)
    age(ledger, "member")
    assert prune(ledger) == 0  # the callback waits
    finish(ledger, "late member", follower="callback", chord_index=1)
    ledger.claim(ClaimRequest(tasks=[TASK], **CLAIM))
    age(ledger, "late member")
    assert prune(ledger) == 0  # it runs
    ledger.end("callback", TOKEN, Outcome(state=State.FAILED))
    assert prune(ledger) == 0  # it may be retried
    assert len(ledger.reading.chord_members("callback")) == 2
    age(ledger, "callback")
    assert prune(ledger) == 3


def test_a_cached_result_is_kept_for_a_day_after_it_was_given_to_a_new_handle(ledger: Ledger) -> None:
    cached: dict[str, Any] = {"task": TASK, "message": b"", "unique_key": "key", "cache_for": 2 * OLD}
    ledger.submit([NewJob(id="run", handle="first", **cached)])
    ledger.claim(ClaimRequest(tasks=[TASK], **CLAIM))
    ledger.end("run", TOKEN, Outcome())
    age(ledger, "run")
    with ledger.database.statement() as tx:
        tx.run("UPDATE handles SET created_at = created_at - :by", by=OLD + 1)
    ledger.submit([NewJob(id="not run", handle="second", **cached)])
    assert prune(ledger) == 0
    second = ledger.reading.job("second")
    assert second is not None and second["state"] == State.SUCCEEDED
    with ledger.database.statement() as tx:
        tx.run("UPDATE handles SET created_at = created_at - :by", by=DAY)
    assert prune(ledger) == 1


def test_keep_jobs_keeps_only_the_newest_jobs_however_young_the_others_are(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "COUNTED", 3)
    monkeypatch.setattr(pruning, "BATCH", 2)
    ids = [f"job-{n}" for n in range(12)]
    for job_id in ids:
        finish(ledger, job_id)
    assert prune(ledger, keep_days=30, keep_jobs=12) == 0
    assert prune(ledger, keep_days=None, keep_jobs=7) == 5
    assert left(ledger) == ids[-7:]
    assert prune(ledger, keep_days=None, keep_jobs=6) == 1
    age(ledger, "job-6")
    assert prune(ledger, keep_days=30, keep_jobs=6) == 1
    assert left(ledger) == ids[-5:]


def test_a_pruner_deletes_one_batch_at_a_time_and_pauses_after_the_last(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "BATCH", 2)
    monkeypatch.setattr(pruning, "PAUSE", 0)
    ids = [f"job-{n}" for n in range(5)]
    for job_id in ids:
        finish(ledger, job_id)
    age(ledger, *ids)
    pruner = Pruner(ledger.retention, 30, None)
    assert [pruner.prune_batch() for _ in range(5)] == [2, 2, 1, 0, 0]
    finish(ledger, "old")
    age(ledger, "old")
    assert pruner.prune_batch() == 0
    pruner._due_at = time.monotonic()
    assert pruner.prune_batch() == 1


def test_after_a_slow_batch_the_next_one_is_due_later_but_within_a_second(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "BATCH", 1)
    monkeypatch.setattr(pruning, "PAUSE", math.inf)
    ids = [f"job-{n}" for n in range(2)]
    for job_id in ids:
        finish(ledger, job_id)
    age(ledger, *ids)
    pruner = Pruner(ledger.retention, 30, None)
    assert [pruner.prune_batch() for _ in range(2)] == [1, 0]
    assert pruner._due_at <= time.monotonic() + 1
    wait_until(lambda: pruner.prune_batch() == 1)
    assert left(ledger) == []


@pytest.mark.parametrize("storage", ["postgres"], indirect=True)
def test_pruning_and_a_retry_by_a_user_do_not_wait_for_each_other(ledger: Ledger, make_huey: HueyFactory) -> None:
    for job_id in ("held", "free"):
        finish(ledger, job_id, State.FAILED)
    age(ledger, "held", "free")
    other = make_huey().ledger
    with other.database.transaction() as tx:
        assert tx.one("SELECT id FROM jobs WHERE id = 'held' FOR UPDATE") is not None
        assert prune(ledger) == 1
    assert left(ledger) == ["held"]
    assert ledger.retry("held")
    assert prune(ledger) == 0


@pytest.mark.parametrize("storage", ["postgres"], indirect=True)
def test_no_worker_waits_for_a_batch_of_pruning(
    ledger: Ledger, make_huey: HueyFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.submit([NewJob(id="running", task=TASK, message=b"")])
    ledger.claim(ClaimRequest(tasks=[TASK], **CLAIM | {"token": "another"}))
    ledger.submit([NewJob(id="queued", task=TASK, message=b"", priority=-1)])
    finish(ledger, "old")
    age(ledger, "running", "queued", "old")
    monkeypatch.setattr(postgres, "HELD", 1)  # second that a statement waits for locked rows
    other = make_huey().ledger
    claimed: list[str] = []
    run = Transaction.run

    def run_and_work(tx: Transaction, statement: str, **params: Any) -> int:
        changed = run(tx, statement, **params)
        if statement == sql.PRUNE_REVOCATIONS:  # the last statement of a batch, which then holds all of its locks
            other.submit([NewJob(id="new", task=TASK, message=b"", priority=-2)])
            row = other.claim(ClaimRequest(tasks=[TASK], **CLAIM))
            claimed.append(row["id"] if row else "")
            other.consumers.heartbeat("consumer", ["another"], 60)
            other.attempts.save_progress("running", "another", 1, 2, "")
            other.attempts.save_step("running", "another", "step", ("application/json", b"1"))
            other.end("running", "another", Outcome(result=("application/json", b"1")))
            other.housekeeping.promote()
            other.housekeeping.rescue([])
            assert other.cancel("new")
            assert prune(other) == 0
        return changed

    monkeypatch.setattr(Transaction, "run", run_and_work)
    assert prune(ledger) == 1
    assert claimed == ["queued"]
    assert left(ledger) == ["running", "queued", "new"]


def test_entries_that_expired_long_ago_are_pruned_in_batches(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "BATCH", 1)
    for key in ("expired", "expired too", "expired as well"):
        ledger.entries.put_if_free(key, b"", None, ttl=-2 * DAY)
    ledger.entries.put_if_free("expired a moment ago", b"", None, ttl=-1)
    ledger.entries.put("for ever", b"")
    prune(ledger)
    assert set(ledger.entries.all()) == {"expired a moment ago", "for ever"}


def test_a_consumer_prunes_one_batch_in_each_turn(huey: DurableHuey) -> None:
    finish(huey.ledger, "old")
    age(huey.ledger, "old")
    consumer = huey.create_consumer(worker_type="thread")
    consumer.notifier.expect([None])
    consumer._register()
    consumer._tick(0)
    assert left(huey.ledger) == []
