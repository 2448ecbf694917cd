"""enqueue_many: a thousand tasks in each transaction. And submits while the database does not answer."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import pytest
from huey import chord, group

import jobqueue.tasks.submitter
from jobqueue import ArgumentsTooLarge, DatabaseUnavailable, DurableHuey, QueueUnavailable, State, current_job
from tests.engine.conftest import HueyFactory
from tests.engine.consumers import work


@pytest.fixture
def add(huey: DurableHuey) -> Any:
    return huey.task(name="add")(lambda *numbers: sum(numbers))


@pytest.fixture
def three_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobqueue.tasks.submitter, "BATCH", 3)


class Outage:
    """An outage: a lock blocks submits, from the start or after some transactions."""

    def __init__(self, huey: DurableHuey, other: DurableHuey) -> None:
        self.stack = ExitStack()
        self.huey = huey
        self.other = other

    def after(self, transactions: int) -> None:
        left = transactions

        def count(queues: Sequence[str]) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                self.begin()

        self.huey.ledger.notify = count

    def begin(self) -> None:
        tx = self.stack.enter_context(self.other.ledger.database.transaction())
        if not self.other.ledger.database.dialect.one_writer:
            tx.run("SET LOCAL idle_in_transaction_session_timeout = 0")
            tx.run("LOCK TABLE jobs IN EXCLUSIVE MODE")

    def end(self) -> None:
        self.stack.close()


@pytest.fixture
def outage(huey: DurableHuey, make_huey: HueyFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outage]:
    other = make_huey()
    other.jobs()  # opens its connection
    monkeypatch.setattr("jobqueue.database.postgres.HELD", 0.3)
    monkeypatch.setattr("jobqueue.database.sqlite.BUSY_TIMEOUT", 0.3)
    outage = Outage(huey, other)
    yield outage
    outage.end()


def test_enqueue_many_keeps_the_order_and_uses_few_transactions(huey: DurableHuey, add: Any) -> None:
    transactions: list[int] = []
    huey.ledger.notify = lambda queues: transactions.append(len(queues))
    handles = huey.enqueue_many(add.s(number, id=f"job {number}") for number in range(2500))
    assert transactions == [1000, 1000, 500]
    assert handles is not None and [handle.id for handle in handles] == [f"job {number}" for number in range(2500)]
    listed = huey.jobs(limit=3000)
    assert [job.id for job in reversed(listed)] == [handle.id for handle in handles]
    assert {job.state for job in listed} == {State.QUEUED}
    assert huey.enqueue_many([]) == []


def test_pipelines_are_accepted_whole(huey: DurableHuey, add: Any, three_together: None) -> None:
    transactions: list[int] = []
    huey.ledger.notify = lambda queues: transactions.append(len(queues))
    total = huey.task(name="total")(sum)
    results = huey.enqueue_many(
        [
            add.s(1),
            add.s(2).then(add, 10).then(add, 100),
            group([add.s(1), add.s(2)]),
            chord([add.s(1), add.s(2)], total.s()),
            add.using(owner="ann").s(3),
            add.s(4, delay=60),
        ]
    )
    assert transactions == [6, 5]
    work(huey)
    assert results is not None
    assert [result() for result in results] == [1, [2, 12, 112], [1, 2], 3, 3, None]
    assert [job.args for job in huey.jobs(owner="ann")] == [(3,)]


def test_same_task_twice_makes_two_jobs(huey: DurableHuey, add: Any) -> None:
    task = add.s(1)
    first = huey.enqueue_many([task, task, task])
    second = huey.enqueue_many([task, task])
    assert first is not None and second is not None
    assert len({handle.id for handle in first + second}) == len(huey.jobs()) == 5


def test_jobs_submitted_at_the_end_of_a_job_are_accepted_with_the_end(
    huey: DurableHuey, add: Any, three_together: None
) -> None:
    task = huey.task(name="task")(lambda: None)

    @huey.post_execute()
    def ask(task: Any, value: Any, error: Any) -> None:
        if task.name == "task":
            huey.enqueue_many([add.s(number) for number in range(5)])
            assert len(huey.jobs()) == 1

    task()
    work(huey)
    assert [job.state for job in huey.jobs(task=add)] == [State.SUCCEEDED] * 5


def test_running_job_waits_for_the_database_to_submit_many(
    huey: DurableHuey, add: Any, outage: Outage, three_together: None
) -> None:
    tries: list[int] = []

    @huey.task()
    def parent() -> int:
        outage.after(1)
        job = current_job()
        patiently = job.patiently
        job.patiently = lambda query: patiently(lambda: tried(query))  # type: ignore[method-assign]
        return len(huey.enqueue_many([add.s(number) for number in range(5)]) or [])

    def tried(ask: Any) -> Any:
        tries.append(1)
        if len(tries) == 3:
            outage.end()
        return ask()

    handle = parent()
    work(huey)
    assert (handle(), len(huey.jobs(task=add)), len(tries) >= 3) == (5, 5, True)


def test_enqueue_many_runs_jobs_in_immediate_mode(huey: DurableHuey, add: Any) -> None:
    huey.immediate = True
    handles = huey.enqueue_many([add.s(1), add.s(2).then(add, 3)])
    assert handles is not None and [handle() for handle in handles] == [1, [2, 5]]


@pytest.mark.parametrize("last", ["too large", "not to be sent"])
def test_invalid_task_is_found_before_any_is_accepted(
    huey: DurableHuey, add: Any, three_together: None, last: str
) -> None:
    tasks = [add.s(number) for number in range(4)]
    tasks.append(add.s("x" * 2_000_000 if last == "too large" else lambda: None))
    with pytest.raises(ArgumentsTooLarge if last == "too large" else Exception):
        huey.enqueue_many(tasks)
    assert huey.jobs() == []
    assert huey.enqueue_many(tasks[:4]) is not None


# --- a database that does not answer ---


def test_submit_without_a_database_raises_and_accepts_nothing(huey: DurableHuey, add: Any, outage: Outage) -> None:
    task = add.s(1).then(add, 2)
    outage.begin()
    with pytest.raises(QueueUnavailable, match="nothing was submitted. Try again in a moment") as refusal:
        huey.enqueue(task)
    assert refusal.value.accepted == []
    assert isinstance(refusal.value, DatabaseUnavailable)
    outage.end()
    assert huey.jobs() == []
    huey.enqueue(task)
    work(huey)
    assert {job.state for job in huey.jobs()} == {State.SUCCEEDED}


@pytest.mark.parametrize("kind", ["new", "submitted before", "one task", "unique"])
def test_partly_accepted_tasks_can_be_submitted_again_without_duplicates(
    huey: DurableHuey, add: Any, outage: Outage, three_together: None, kind: str
) -> None:
    tasks = [add.s(number) for number in range(8)]
    if kind == "submitted before":
        huey.enqueue_many(tasks)
    if kind == "one task":
        tasks = [tasks[0]] * 8
    if kind == "unique":
        tasks = [add.using(unique=True, owner="ann").s(number % 5) for number in range(8)]
    before = len(huey.jobs())
    outage.after(2)
    with pytest.raises(QueueUnavailable, match="only the first 6 of 8 tasks were submitted") as refusal:
        huey.enqueue_many(tasks)
    accepted = [handle.id for handle in refusal.value.accepted]
    assert len(accepted) == 6
    outage.end()
    assert len(huey.jobs()) - before == (5 if kind == "unique" else 6)
    handles = huey.enqueue_many(tasks)
    assert handles is not None and [handle.id for handle in handles][:6] == accepted
    assert len(huey.jobs()) - before == (5 if kind == "unique" else 8)
    assert len({handle.id for handle in handles}) == 8
    assert kind != "unique" or len(huey.jobs(owner="ann")) == 8
