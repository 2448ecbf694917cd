"""Tests of paused processes that resume, and of locked databases: late writes are refused, and ends are written."""

import os
import signal
import sqlite3
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from huey import chord

from jobqueue import DurableHuey, State
from jobqueue.database.database import Row
from tests.engine.consumers import wait_until
from tests.faults.conftest import LEASE, StartConsumer, contents
from tests.faults.fault_jobs import LATE, notes

SQLITE = pytest.mark.parametrize("storage", ["sqlite"], indirect=True)
POSTGRES = pytest.mark.parametrize("storage", ["postgres"], indirect=True)
SHORT = {"HELD": 1}  # seconds


def pause(huey: DurableHuey, *pids: int) -> None:
    """Pause processes while none of them writes: a process that is paused in a write to a SQLite file blocks all others."""
    with huey.ledger.database.transaction():
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)


def test_late_writes_of_a_paused_consumer_are_refused(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, path: str, go: Path, tmp_path: Path
) -> None:
    zombie = start(workers=len(LATE))
    pipelines = [
        huey.enqueue(
            tasks.late.s(what, path, str(go), retries=2 * (what == "retry")).then(tasks.quick).error(tasks.told, path)
        )
        for what in LATE
    ]
    wait_until(lambda: len(notes(Path(path))) == len(LATE))
    workers = zombie.worker_pids()
    pause(huey, *workers, zombie.pid)
    other = start()
    for late, follower in pipelines:
        assert late.get(blocking=True, timeout=10) == "the second"
        assert follower.get(blocking=True, timeout=5) == "the second"
    before = contents(huey)
    other.send(signal.SIGTERM)
    assert other.wait() == 0

    go.touch()
    for pid in workers:  # without their main process, which would interrupt them
        os.kill(pid, signal.SIGCONT)
    began, enough = tmp_path / "began", tmp_path / "enough"
    after = [tasks.waits(str(began), str(enough)) for _ in workers]
    # Each worker has ended its late job, and runs one of these.
    wait_until(lambda: len(notes(began)) == len(workers))
    enough.touch()
    assert [handle.get(blocking=True, timeout=5) for handle in after] == [1] * len(workers)
    noted = {" ".join(words[:-1]) for words in notes(Path(path)) if int(words[-1]) in workers}
    assert noted == {f"began {what} 1" for what in LATE} | set(LATE.values())
    assert contents(huey)[: len(before)] == before
    for late, _ in pipelines:
        job = late.get_job()
        assert (job.attempt, job.losses, job.note, job.error) == (2, 1, "attempt 2", "")
        assert huey.ledger.attempts.step_names(late.id) == {"a step"}

    os.kill(zombie.pid, signal.SIGCONT)
    zombie.send(signal.SIGTERM)
    assert zombie.wait() == 0
    assert [late() for late, _ in pipelines] == ["the second"] * len(LATE)
    assert len(huey.jobs()) == 2 * len(LATE) + len(after)  # a late error has started no handler


def test_resumed_consumer_interrupts_a_worker_whose_job_is_gone(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, path: str
) -> None:
    zombie = start()
    handle = tasks.slow_at_first(path)
    wait_until(lambda: notes(Path(path)))
    (worker,) = zombie.worker_pids()
    pause(huey, zombie.pid, worker)
    start()
    assert handle.get(blocking=True, timeout=10) == 2
    for pid in (worker, zombie.pid):
        os.kill(pid, signal.SIGCONT)
    tasks_for_both = [tasks.undisturbed(0.3) for _ in range(4)]
    assert [job.get(blocking=True, timeout=5) for job in tasks_for_both] == ["undisturbed"] * 4
    assert (handle.get_job().attempt, handle.get_job().losses) == (2, 1)
    assert zombie.worker_pids() == [worker]


@pytest.mark.promise
def test_paused_worker_loses_its_job_to_another_and_works_again(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, path: str
) -> None:
    """Test that a live main process does not renew the lease of a paused worker."""
    consumer = start(workers=2)
    handle, follower = huey.enqueue(tasks.slow_at_first.s(path).then(tasks.quick))
    wait_until(lambda: notes(Path(path)))
    workers = consumer.worker_pids()
    stopped = int(notes(Path(path))[0][-1])
    pause(huey, stopped)
    asked = time.monotonic()
    assert (handle.get(blocking=True, timeout=10), follower.get(blocking=True, timeout=10)) == (2, 2)
    assert time.monotonic() - asked < LEASE + 2
    before = contents(huey)
    os.kill(stopped, signal.SIGCONT)
    both = [tasks.meets(path, 2) for _ in workers]
    assert {handle.get(blocking=True, timeout=5) for handle in both} == set(workers)
    assert contents(huey)[: len(before)] == before
    assert [words[0] for words in notes(Path(path))[:3]] == ["began", "began", "ended"]
    assert (handle.get_job().attempt, handle.get_job().losses) == (2, 1)


def idle_in_transactions(huey: DurableHuey) -> list[Row]:
    """Return the sessions that are idle in a transaction."""
    with huey.ledger.database.statement() as tx:
        return tx.all(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'"
        )


@POSTGRES
@pytest.mark.parametrize("moment", ["END_AND_SAVE", "RELEASE_DEPENDENT"])
def test_worker_paused_in_a_transaction_blocks_no_other(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, path: str, tmp_path: Path, moment: str
) -> None:
    """Test that the server releases the worker's rows, and that the worker writes its end when it resumes."""
    here = tmp_path / "here"
    consumer = start(workers=3, postgres=SHORT, at={moment: ("stops", str(here))}, lease_s=8.0)
    workers = consumer.worker_pids()
    members = [tasks.member.s(i, 0.1) for i in range(6)]
    result = huey.enqueue(chord(members, tasks.collect.s(path)))
    wait_until(here.exists)
    assert [tasks.quick(i).get(blocking=True, timeout=2) for i in range(3)] == [0, 1, 2]
    wait_until(lambda: [job.state for job in huey.jobs(task=tasks.member)].count(State.SUCCEEDED) == 5)
    wait_until(lambda: not idle_in_transactions(huey))
    os.kill(int(here.read_text()), signal.SIGCONT)
    assert result.get(blocking=True, timeout=5) == list(range(6))
    jobs = huey.jobs()
    assert {(job.state, job.attempt, job.losses, job.error) for job in jobs} == {(State.SUCCEEDED, 1, 0, "")}
    assert len(notes(Path(path))) == 1
    assert consumer.worker_pids() == workers


@POSTGRES
def test_main_process_paused_in_a_transaction_blocks_no_worker(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, path: str, go: Path, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    consumer = start(workers=2, postgres=SHORT, at={"RENEW_LEASES": ("stops", str(here))}, lease_s=8.0)
    workers = consumer.worker_pids()
    handle = tasks.waits(path, str(go))
    wait_until(here.exists)
    assert here.read_text() == str(consumer.pid)
    go.touch()
    assert handle.get(blocking=True, timeout=5) == 1  # the server has released the rows of the renewal
    wait_until(lambda: not idle_in_transactions(huey))
    os.kill(consumer.pid, signal.SIGCONT)
    back = time.time()
    wait_until(lambda: huey.ledger.consumers.all()[0]["seen_at"] > back + 1)
    assert tasks.quick("after").get(blocking=True, timeout=5) == "after"
    assert consumer.worker_pids() == workers
    assert (handle.get_job().attempt, handle.get_job().losses) == (1, 0)


@SQLITE
def test_end_is_retried_until_the_database_answers(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, path: str, go: Path
) -> None:
    """Test a writer that locks the database for longer than statements wait, and longer than the lease."""
    consumer = start(workers=2, busy_timeout=0.3)
    handle, follower = huey.enqueue(tasks.waits.s(path, str(go)).then(tasks.quick))
    wait_until(lambda: notes(Path(path)))
    workers = consumer.worker_pids()
    writer = sqlite3.connect(str(huey.ledger.database.path), isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    go.touch()
    begun = time.monotonic()
    wait_until(lambda: "waits for its database" in consumer.log.read_text())
    wait_until(lambda: time.monotonic() > begun + LEASE * 1.5)
    assert handle.state is State.RUNNING
    writer.execute("ROLLBACK")
    writer.close()
    assert handle.get(blocking=True, timeout=5) == 1
    assert follower.get(blocking=True, timeout=5) == 1
    assert (handle.get_job().attempt, handle.get_job().losses, len(notes(Path(path)))) == (1, 0, 1)
    assert consumer.worker_pids() == workers


@SQLITE
def test_outage_takes_no_job_from_a_living_consumer(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, path: str, go: Path
) -> None:
    """Test that the first consumer to recover lets the others renew their expired leases."""
    consumers = [start(busy_timeout=0.2) for _ in range(3)]
    handles = [tasks.waits(path, str(go)) for _ in consumers]
    wait_until(lambda: len(notes(Path(path))) == len(consumers))
    writer = sqlite3.connect(str(huey.ledger.database.path), isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    begun = time.monotonic()
    wait_until(lambda: time.monotonic() > begun + LEASE * 1.5)
    writer.execute("ROLLBACK")
    writer.close()
    back = time.time()
    wait_until(lambda: all(consumer["seen_at"] > back + LEASE for consumer in huey.ledger.consumers.all()))
    go.touch()
    for handle in handles:
        assert handle.get(blocking=True, timeout=5) == 1
        assert handle.get_job().losses == 0


@SQLITE
def test_job_of_a_worker_that_dies_in_an_outage_is_marked_lost_afterwards(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, path: str
) -> None:
    consumer = start(busy_timeout=0.2)
    handle = tasks.slow_at_first(path)
    wait_until(lambda: notes(Path(path)))
    (worker,) = consumer.worker_pids()
    writer = sqlite3.connect(str(huey.ledger.database.path), isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: consumer.worker_pids() not in ([], [worker]))  # replaced, so its death is known
    writer.execute("ROLLBACK")
    writer.close()
    assert handle.get(blocking=True, timeout=10) == 2
    assert handle.get_job().losses == 1
