"""Tests that concurrent claims each get a job, in order, as long as there is one."""

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

import pytest

from jobqueue.database.database import Database, Row
from jobqueue.ledger.ledger import Ledger
from jobqueue.ledger.records import ClaimRequest, NewJob
from tests import statements as sql
from tests.servers import fresh_database

CLAIMERS = 4
TASKS = ["jobs.a", "jobs.b", "jobs.c"]
EACH = 1_000


@pytest.fixture
def url(postgres: str) -> Iterator[str]:
    with fresh_database(postgres) as url:
        yield url


@pytest.fixture
def ledgers(url: str) -> Iterator[list[Ledger]]:
    """Yield a ledger with its own connections for each claimer."""
    with ExitStack() as stack:
        yield [Ledger(stack.enter_context(closing(Database(url)))) for _ in range(CLAIMERS)]


def new(task: str, priority: float = 0) -> NewJob:
    return NewJob(id=secrets.token_hex(8), task=task, message=b"", priority=priority)


def claim(ledger: Ledger) -> Row | None:
    return ledger.claim(
        ClaimRequest(tasks=TASKS, token=secrets.token_hex(16), consumer="consumer", worker="worker", lease_s=60)
    )


def uncommitted_claim(stack: ExitStack, ledger: Ledger) -> Row | None:
    """Claim a job in a transaction that stays open until the stack ends."""
    tx = stack.enter_context(ledger.database.transaction())
    where = {"tasks": TASKS, "queues": None, "lately": []}
    claim = {"token": secrets.token_hex(16), "consumer": "consumer", "worker": "worker", "host": "host", "lease": 60}
    return tx.one(sql.CLAIM, **where, **claim)


def jobs_in_turns(each: int) -> list[NewJob]:
    """Return jobs of three tasks and three priorities."""
    return [new(task, priority=n % 3) for n in range(each) for task in TASKS]


def in_order(jobs: list[NewJob]) -> list[str]:
    """Return the jobs' ids by priority, then by the order of their submits."""
    return [job.id for job in sorted(jobs, key=lambda job: -job.priority)]


def test_one_worker_claims_the_jobs_of_all_its_tasks_in_order(ledgers: list[Ledger]) -> None:
    jobs = jobs_in_turns(30)
    ledgers[0].submit(jobs)
    rows = [claim(ledgers[0]) for _ in range(len(jobs) + 1)]
    assert [row and row["id"] for row in rows] == [*in_order(jobs), None]


def test_concurrent_workers_claim_every_job_and_each_task_in_order(ledgers: list[Ledger]) -> None:
    jobs = jobs_in_turns(EACH)
    ledgers[0].submit(jobs)
    claimed: list[str] = []
    claimed_at_end: list[int] = []

    def work(ledger: Ledger) -> None:
        while (row := claim(ledger)) is not None:
            claimed.append(row["id"])
        claimed_at_end.append(len(claimed))

    with ThreadPoolExecutor(CLAIMERS) as pool:
        list(pool.map(work, ledgers))
    assert sorted(claimed) == sorted(job.id for job in jobs)
    # The others may have claimed the last jobs without having noted them yet.
    assert min(claimed_at_end) >= len(jobs) - (CLAIMERS - 1)
    # If a claim is delayed, the others overtake it within its task, so the order is checked for each task. A claim may
    # also be delayed between reading the clock and finding a job, so not every job is in its place, but most are.
    with ledgers[0].database.statement() as tx:
        by_time = tx.all("SELECT id, task FROM jobs ORDER BY claimed_at")
    for task in TASKS:
        place = {job_id: n for n, job_id in enumerate(in_order([job for job in jobs if job.task == task]))}
        ids = [row["id"] for row in by_time if row["task"] == task]
        off = sorted(abs(place[job_id] - n) for n, job_id in enumerate(ids))
        assert off[EACH * 9 // 10] < CLAIMERS


def test_claim_skips_locked_jobs_and_locks_only_its_own(ledgers: list[Ledger]) -> None:
    ledgers[0].submit([new(task) for task in TASKS])
    with ExitStack() as stack:
        taken = [uncommitted_claim(stack, ledger) for ledger in ledgers]
        assert [row and row["task"] for row in taken] == [*TASKS, None]


def test_claim_takes_the_next_job_of_a_task_whose_first_is_locked(ledgers: list[Ledger]) -> None:
    jobs = [new(TASKS[0]) for _ in ledgers]
    ledgers[0].submit(jobs)
    with ExitStack() as stack:
        taken = [uncommitted_claim(stack, ledger) for ledger in ledgers]
        assert [row and row["id"] for row in taken] == [job.id for job in jobs]
