"""Ends: an attempt's end is one transaction with its result and its follow-ups. A late attempt changes nothing."""

from collections.abc import Callable
from typing import Any

import pytest
from huey.exceptions import TaskException

from jobqueue import DurableHuey, State, current_job
from tests.engine.conftest import HueyFactory
from tests.engine.consumers import work
from tests.losing import mark_lost

Snapshot = Callable[[], dict[str, Any]]


@pytest.fixture
def snapshot(make_huey: HueyFactory) -> Snapshot:
    """Return what another process sees: each job's state by its task's name, and whether it has a result."""
    other = make_huey()
    return lambda: {job.name: (str(job.state), other.job(job.id).is_ready()) for job in other.jobs()}


def test_state_result_and_followers_of_a_job_become_visible_together(huey: DurableHuey, snapshot: Snapshot) -> None:
    seen: list[Any] = []
    huey.post_execute("look")(lambda task, value, error: seen.append(snapshot()) if task.name == "first" else None)
    second = huey.task(name="second")(lambda value: value)
    huey.enqueue(huey.task(name="first")(lambda: 1).s().then(second))
    claimed = huey.dequeue()
    assert claimed is not None
    huey.execute(claimed)
    seen.append(snapshot())
    assert seen == [
        {"first": ("running", False), "second": ("waiting", False)},
        {"first": ("succeeded", True), "second": ("queued", False)},
    ]


def test_error_and_its_handler_become_visible_together(huey: DurableHuey, snapshot: Snapshot) -> None:
    @huey.task()
    def fails() -> None:
        raise ValueError

    handler = huey.task(name="handler")(lambda error: None)
    seen: list[Any] = []
    huey.post_execute("look")(lambda task, value, error: seen.append(snapshot()) if error else None)
    huey.signal("error", "enqueued")(lambda signal, task, *args: seen.append(snapshot()))
    huey.enqueue(fails.s().error(handler))
    claimed = huey.dequeue()
    assert claimed is not None
    huey.execute(claimed)
    assert seen[1:] == [{"fails": ("running", False)}] * (len(seen) - 1)
    assert snapshot() == {"fails": ("failed", True), "handler": ("queued", False)}


def test_jobs_submitted_by_a_running_job_are_accepted_immediately(huey: DurableHuey, snapshot: Snapshot) -> None:
    seen: list[Any] = []
    child = huey.task(name="child")(lambda: None)

    @huey.task()
    def parent() -> None:
        child()
        seen.append(snapshot()["child"])
        raise ValueError("the child is accepted all the same")

    parent()
    work(huey)
    assert seen == [("queued", False)]
    assert snapshot()["child"] == ("succeeded", True)


LATE: dict[str, Callable[[DurableHuey, str], object]] = {
    "cancelled": lambda huey, job_id: huey.ledger.cancel(job_id),
    "lost": lambda huey, job_id: mark_lost(huey.ledger, job_id, str(current_job().token), "worker"),
    "given back": lambda huey, job_id: huey.ledger.release_one(job_id, str(current_job().token)),
}


@pytest.mark.parametrize("what", LATE)
@pytest.mark.parametrize("end", ["a result", "an error", "a retry"])
def test_end_of_an_attempt_that_lost_its_claim_changes_nothing(huey: DurableHuey, what: str, end: str) -> None:
    ran: list[str] = []
    follower = huey.task(name="follower")(lambda *args: ran.append("follower"))
    huey.signal("complete", "error", "retrying")(lambda signal, task, *args: follower())

    @huey.task(retries=1 if end == "a retry" else 0)
    def late() -> str:
        LATE[what](huey, str(current_job().id))
        if end != "a result":
            raise ValueError
        return "late"

    huey.enqueue(late.s().then(follower).error(follower))
    claimed = huey.dequeue()
    assert claimed is not None
    huey.execute(claimed)
    job = huey.job(claimed.id)
    assert job.state is (State.CANCELLED if what == "cancelled" else State.QUEUED)
    assert (job.get_job().error in ("", "cancelled"), job.is_ready()) == (True, False)
    assert len(huey.jobs()) == 2  # the late job, and its follower
    assert ran == []


def test_late_end_of_an_attempt_does_not_affect_the_next_attempt(huey: DurableHuey) -> None:
    """Two claims of one job, of which the first ends last, in one process."""
    first_claim = huey.task(name="task")(lambda: "first")()
    one = huey.claim("consumer-1", "worker")
    assert one is not None
    huey.ledger.consumers.mark_worker_lost("consumer-1", "worker")
    two = huey.claim("consumer-2", "worker")
    assert two is not None
    huey.execute(one)
    assert (first_claim.state, first_claim.is_ready()) == (State.RUNNING, False)
    huey.execute(two)
    assert first_claim() == "first"
    assert first_claim.get_job().attempt == 2


UNREADABLE: dict[str, Callable[[bytes], bytes]] = {
    "tampered with": lambda message: bytes([message[0] ^ 1]) + message[1:],
    "cut short": lambda message: message[:-3],
    "empty": lambda message: b"",
    "not of ours": lambda message: b"junk",
}


@pytest.mark.parametrize("how", UNREADABLE)
def test_unreadable_message_fails_its_job_and_cancels_followers(huey: DurableHuey, how: str) -> None:
    ran: list[Any] = []
    task = huey.task(name="task", retries=3)(ran.append)
    first, second = huey.enqueue(task.s(1).then(task))
    with huey.ledger.database.transaction() as tx:
        (row,) = tx.all("SELECT message FROM jobs WHERE id = :id", id=first.id)
        tx.run(
            "UPDATE jobs SET message = :message WHERE id = :id", message=UNREADABLE[how](row["message"]), id=first.id
        )
    task(2)
    work(huey)
    assert ran == [2]
    job = first.get_job()
    assert (job.state, job.attempt, second.state) == (State.FAILED, 1, State.CANCELLED)
    assert "cannot be read" in job.error
    for handle in (first, second):
        with pytest.raises(TaskException, match="cannot be read"):
            handle.get(blocking=True, timeout=1)


def test_many_workers_run_each_job_once(huey: DurableHuey) -> None:
    import threading

    ran: list[int] = []
    task = huey.task(name="task")(ran.append)
    for i in range(60):
        task(i)
    threads = [threading.Thread(target=work, args=[huey], kwargs={"timeout": 10}) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ran) == list(range(60))
    assert {job.state for job in huey.jobs(limit=100)} == {State.SUCCEEDED}
