"""Processes that stop and come back, and a database that does not answer: what is late is refused, what ended is written."""

import os
import signal
import sqlite3
import time
from pathlib import Path
from types import SimpleNamespace

from jobqueue import DurableHuey, State
from tests.faults.conftest import LEASE, StartConsumer
from tests.faults.fault_jobs import notes
from tests.jobqueue.consumers import wait_until

LATE = ["result", "progress", "step"]


def test_what_a_stopped_consumer_does_late_is_refused(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, path: str, go: Path
) -> None:
    zombie = start(workers=len(LATE))
    pipelines = [huey.enqueue(tasks.late.s(what, path, str(go)).then(tasks.quick)) for what in LATE]
    wait_until(lambda: len(notes(Path(path))) == len(LATE))
    workers = zombie.worker_pids()
    for pid in (*workers, zombie.pid):
        os.kill(pid, signal.SIGSTOP)
    other = start()
    for late, follower in pipelines:
        assert late.get(blocking=True, timeout=10) == "the second"
        assert follower.get(blocking=True, timeout=5) == "the second"
    before = contents(huey)
    other.send(signal.SIGTERM)
    assert other.wait() == 0

    go.touch()
    for pid in workers:  # without their main process: nobody tells them
        os.kill(pid, signal.SIGCONT)
    after = [tasks.undisturbed(0.3) for _ in workers]  # each worker is done with its late job, and does one of these
    assert [handle.get(blocking=True, timeout=5) for handle in after] == ["undisturbed"] * len(workers)
    said = {" ".join(words[:-1]) for words in notes(Path(path)) if int(words[-1]) in workers}
    assert said == {"began result 1", "began progress 1", "began step 1", "result went on"} | {
        "progress refused ClaimLost",
        "step refused ClaimLost",
    }
    assert contents(huey)[: len(before)] == before
    for late, _ in pipelines:
        job = late.look()
        assert (job.attempt, job.losses, job.note) == (2, 1, "attempt 2")
        assert huey.ledger.step_names(late.id) == {"a step"}

    os.kill(zombie.pid, signal.SIGCONT)
    zombie.send(signal.SIGTERM)
    assert zombie.wait() == 0
    assert [late() for late, _ in pipelines] == ["the second"] * len(LATE)


def contents(huey: DurableHuey) -> list[tuple[object, ...]]:
    """Every job with its result."""
    with huey.ledger.database.statement() as tx:
        rows = tx.all("SELECT jobs.*, results.* FROM jobs LEFT JOIN results ON job_id = id ORDER BY seq")
    return [tuple(row[column] for column in row.keys()) for row in rows]  # noqa: SIM118


def test_a_consumer_that_comes_back_tells_its_worker_that_the_job_is_gone(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, path: str
) -> None:
    zombie = start()
    handle = tasks.slow_at_first(path)
    wait_until(lambda: notes(Path(path)))
    (worker,) = zombie.worker_pids()
    for pid in (zombie.pid, worker):
        os.kill(pid, signal.SIGSTOP)
    start()
    assert handle.get(blocking=True, timeout=10) == 2
    for pid in (worker, zombie.pid):
        os.kill(pid, signal.SIGCONT)
    tasks_for_both = [tasks.undisturbed(0.3) for _ in range(4)]
    assert [job.get(blocking=True, timeout=5) for job in tasks_for_both] == ["undisturbed"] * 4
    assert (handle.look().attempt, handle.look().losses) == (2, 1)
    assert zombie.worker_pids() == [worker]


def test_an_end_that_cannot_be_written_is_written_when_the_database_answers_again(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, path: str, go: Path
) -> None:
    """Locked by another writer for longer than statements wait, and longer than the lease."""
    consumer = start(workers=2, busy_timeout=0.3)
    handle, follower = huey.enqueue(tasks.waits.s(path, str(go)).then(tasks.quick))
    wait_until(lambda: notes(Path(path)))
    workers = consumer.worker_pids()
    writer = sqlite3.connect(str(huey.ledger.database.path), isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    go.touch()
    begun = time.monotonic()
    wait_until(lambda: "is not written yet" in consumer.log.read_text())
    wait_until(lambda: time.monotonic() > begun + LEASE * 1.5)
    assert handle.state is State.RUNNING
    writer.execute("ROLLBACK")
    writer.close()
    assert handle.get(blocking=True, timeout=5) == 1
    assert follower.get(blocking=True, timeout=5) == 1
    assert (handle.look().attempt, handle.look().losses, len(notes(Path(path)))) == (1, 0, 1)
    assert consumer.worker_pids() == workers


def test_an_outage_of_the_database_takes_no_job_from_a_living_consumer(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, path: str, go: Path
) -> None:
    """Leases run out meanwhile: whoever is back first gives the others time to say that they live."""
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
    wait_until(lambda: all(consumer["seen_at"] > back + LEASE for consumer in huey.ledger.consumers()))
    go.touch()
    for handle in handles:
        assert handle.get(blocking=True, timeout=5) == 1
        assert handle.look().losses == 0


def test_a_worker_that_dies_while_the_database_does_not_answer_has_lost_its_job_all_the_same(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, path: str
) -> None:
    consumer = start(busy_timeout=0.2)
    handle = tasks.slow_at_first(path)
    wait_until(lambda: notes(Path(path)))
    (worker,) = consumer.worker_pids()
    writer = sqlite3.connect(str(huey.ledger.database.path), isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: consumer.worker_pids() not in ([], [worker]))  # replaced: it is known to be dead
    writer.execute("ROLLBACK")
    writer.close()
    assert handle.get(blocking=True, timeout=10) == 2
    assert handle.look().losses == 1
