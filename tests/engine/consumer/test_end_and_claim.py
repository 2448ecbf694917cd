"""One statement writes an end and claims the worker's next job, on databases behind a network."""

import os
import threading
from collections.abc import Callable

import pytest
from huey.api import Task
from huey.consumer import WorkerRecycle

from jobqueue import DurableHuey, State, codec, current_job
from jobqueue.consumer.asking import Asking
from jobqueue.consumer.worker import DurableWorker
from jobqueue.database.database import DatabaseUnavailable, Row
from jobqueue.execution.executor import Executor
from jobqueue.ledger.ledger import Ledger
from jobqueue.ledger.records import ClaimRequest, Outcome
from tests import statements as sql

pytestmark = pytest.mark.parametrize("storage", ["postgres"], indirect=True)

MakeWorker = Callable[..., DurableWorker]


@pytest.fixture
def make_worker(huey: DurableHuey) -> MakeWorker:
    def make(max_tasks: int | None = None, max_memory: int | None = None) -> DurableWorker:
        return DurableWorker(
            consumer="consumer",
            name="worker",
            parent=os.getpid(),
            queues=None,
            asking=Asking(),
            ledger=huey.ledger,
            executor=huey.executor,
            messages=huey.messages,
            notifier=huey.storage.notifier,
            huey=huey,
            stop_flag=threading.Event(),
            default_delay=0.01,
            max_delay=0.01,
            backoff=1,
            max_tasks=max_tasks,
            max_memory=max_memory,
        )

    return make


def test_worker_takes_one_statement_per_job(huey: DurableHuey, make_worker: MakeWorker, statements: list[str]) -> None:
    double = huey.task(name="double")(lambda number: 2 * number)
    handles = [double(number) for number in range(3)]
    statements.clear()
    make_worker().loop()
    assert statements == [sql.CLAIM, *[sql.END_AND_CLAIM] * 3]
    assert [handle() for handle in handles] == [0, 2, 4]
    assert [[event.name for event in handle.history()] for handle in handles] == [["submitted", "claimed", "ended"]] * 3


def test_job_with_a_follower_ends_without_a_claim_and_the_follower_is_next(
    huey: DurableHuey, make_worker: MakeWorker, statements: list[str]
) -> None:
    double = huey.task(name="double")(lambda number: 2 * number)
    results = huey.enqueue(double.s(1).then(double))
    statements.clear()
    worker = make_worker()
    worker.loop()
    assert sql.END_AND_SAVE in statements and sql.END_AND_CLAIM not in statements
    worker.loop()
    assert statements[-1] == sql.END_AND_CLAIM
    assert results.get() == [2, 4]


def test_stopping_worker_claims_no_job_with_its_last_end(huey: DurableHuey, make_worker: MakeWorker) -> None:
    worker = make_worker()
    stops = huey.task(name="stops")(worker.stop_flag.set)
    first, second = stops(), stops()
    worker.loop()
    assert (first.state, second.state, second.get_job().attempt) == (State.SUCCEEDED, State.QUEUED, 0)


def test_worker_at_its_task_limit_claims_no_job_with_its_last_end(huey: DurableHuey, make_worker: MakeWorker) -> None:
    nothing = huey.task(name="nothing")(lambda: None)
    handles = [nothing() for _ in range(3)]
    with pytest.raises(WorkerRecycle):
        make_worker(max_tasks=2).loop()
    assert [handle.state for handle in handles] == [State.SUCCEEDED, State.SUCCEEDED, State.QUEUED]
    assert handles[2].get_job().attempt == 0


def test_worker_above_its_memory_limit_claims_no_job_with_its_last_end(
    huey: DurableHuey, make_worker: MakeWorker
) -> None:
    nothing = huey.task(name="nothing")(lambda: None)
    handles = [nothing() for _ in range(2)]
    with pytest.raises(WorkerRecycle):
        make_worker(max_memory=1_000_000).loop()
    assert [handle.state for handle in handles] == [State.SUCCEEDED, State.QUEUED]
    assert handles[1].get_job().attempt == 0


def test_unreadable_next_job_fails_and_the_worker_continues(huey: DurableHuey, make_worker: MakeWorker) -> None:
    nothing = huey.task(name="nothing")(lambda: None)
    handles = [nothing() for _ in range(3)]
    with huey.ledger.database.statement() as tx:
        tx.run("UPDATE jobs SET message = :message WHERE id = :id", message=b"garbage", id=handles[1].id)
    worker = make_worker()
    worker.loop()
    worker.loop()
    assert [handle.state for handle in handles] == [State.SUCCEEDED, State.FAILED, State.SUCCEEDED]


@pytest.mark.parametrize("written", [False, True], ids=["nothing:written", "both:written"])
def test_lost_answer_counts_the_end_once_and_releases_the_claim(
    huey: DurableHuey, make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch, written: bool
) -> None:
    ran: list[int] = []
    notes = huey.task(name="notes")(ran.append)
    handles = [notes(number) for number in range(3)]
    end_and_claim = Ledger.end_and_claim

    def unanswered(ledger: Ledger, job_id: str, *args: object) -> object:
        if job_id != handles[0].id:
            return end_and_claim(ledger, job_id, *args)  # type: ignore[arg-type]
        if written:
            end_and_claim(ledger, job_id, *args)  # type: ignore[arg-type]
        raise DatabaseUnavailable("The answer got lost.")

    monkeypatch.setattr(Ledger, "end_and_claim", unanswered)
    worker = make_worker()
    worker.loop()
    assert [handle.state for handle in handles] == [
        State.SUCCEEDED,
        State.RUNNING if written else State.QUEUED,
        State.QUEUED,
    ]
    worker.loop()
    assert ran == [0, 1, 2]
    looks = [handle.get_job() for handle in handles]
    assert {job.state for job in looks} == {State.SUCCEEDED}
    given_back = 1 if written else 0
    assert [(job.attempt, job.losses, job.returns) for job in looks] == [
        (1, 0, 0),
        (1 + given_back, 0, given_back),
        (1, 0, 0),
    ]


@pytest.mark.parametrize("held", [True, False], ids=["held", "cancelled"])
@pytest.mark.parametrize("more", [True, False], ids=["another:waits", "none:waits"])
def test_refused_end_claims_no_job(huey: DurableHuey, held: bool, more: bool) -> None:
    nothing = huey.task(name="nothing")(lambda: None)
    first = nothing()
    tasks = [first.get_job().task]
    row = huey.ledger.claim(ClaimRequest(tasks=tasks, token="one", consumer="c", worker="w", lease_s=60))
    assert row is not None
    if not held:
        first.cancel()
    second = nothing() if more else None
    asking = ClaimRequest(tasks=tasks, token="two", consumer="c", worker="w", lease_s=60)
    written, claimed = huey.ledger.end_and_claim(row["id"], "one", Outcome(result=codec.encode(1)), asking)
    assert written is held
    assert (first.state, first.is_ready()) == ((State.SUCCEEDED, True) if held else (State.CANCELLED, False))
    assert (claimed and claimed["id"]) == (second and second.id if held else None)
    assert claimed is None or (claimed["attempt"], huey.ledger.attempts.still_held(claimed["id"], "two")) == (1, True)
    assert second is None or held or (second.state, second.get_job().attempt) == (State.QUEUED, 0)


def test_job_that_got_a_follower_meanwhile_ends_without_a_claim(
    huey: DurableHuey, make_worker: MakeWorker, statements: list[str]
) -> None:
    nothing = huey.task(name="nothing")(lambda: None)

    @huey.task()
    def is_followed(late: str) -> None:
        with huey.ledger.database.statement() as tx:
            tx.run("UPDATE jobs SET state = 'waiting', pending = 1 WHERE id = :id", id=late)
        with huey.ledger.database.statement() as tx:
            tx.run(sql.SET_FOLLOWER, id=current_job().id, follower=late, chord_index=None)

    late, other = nothing.schedule(delay=3600), nothing.s()
    first = is_followed(late.id)
    second = huey.enqueue(other)
    statements.clear()
    make_worker().loop()
    assert sql.END_AND_SAVE in statements
    assert (first.state, second.state, second.get_job().attempt) == (State.SUCCEEDED, State.QUEUED, 0)
    assert late.state is State.SCHEDULED


def test_stop_after_a_lost_answer_does_not_count_as_a_loss(
    huey: DurableHuey, make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = make_worker()
    end_and_claim = Ledger.end_and_claim

    def unheard(ledger: Ledger, *args: object) -> object:
        end_and_claim(ledger, *args)  # type: ignore[arg-type]
        worker.stop_flag.set()
        raise DatabaseUnavailable("The answer got lost.")

    monkeypatch.setattr(Ledger, "end_and_claim", unheard)
    nothing = huey.task(name="nothing")(lambda: None)
    first, second = nothing(), nothing()
    worker.loop()
    assert (first.state, second.state) == (State.SUCCEEDED, State.RUNNING)
    worker.shutdown()
    job = second.get_job()
    assert (job.state, job.returns, job.losses) == (State.QUEUED, 1, 0)


def test_next_job_is_released_if_an_outage_hides_its_input(
    huey: DurableHuey, make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = huey.task(name="nothing")(lambda: None)
    handles = [nothing() for _ in range(2)]
    give_input = Executor._give_input
    outages = [handles[1].id]

    def unanswered(executor: Executor, task: Task, row: Row) -> None:
        if row["id"] in outages:
            outages.remove(row["id"])
            raise DatabaseUnavailable("It does not answer.")
        give_input(executor, task, row)

    monkeypatch.setattr(Executor, "_give_input", unanswered)
    worker = make_worker()
    worker.loop()
    worker.loop()
    looks = [handle.get_job() for handle in handles]
    assert [(job.state, job.attempt, job.losses) for job in looks] == [(State.SUCCEEDED, 1, 0), (State.SUCCEEDED, 2, 0)]
