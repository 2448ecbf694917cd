"""Tests that Redis only carries notifications: a kill, flush or pause of Redis delays work, but loses no job."""

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from jobqueue import DatabaseUnavailable, DurableHuey, State
from tests.engine.consumers import wait_until
from tests.faults.conftest import LEASE, StartConsumer
from tests.faults.fault_jobs import notes
from tests.servers import PostgresServer, ValkeyServer, create_database, fresh_database, redis_client, shared_postgres
from tests.storages import Storage

JOBS = 20
NOTIFY = 0.25  # seconds by which a notification may delay a submit
MARGIN = 0.75  # seconds for a busy machine

only_redis_breaks = pytest.mark.parametrize("storage", ["postgres+valkey"], indirect=True)
both_break = pytest.mark.parametrize("storage", ["both to break"], indirect=True)


@pytest.fixture
def storage(request: pytest.FixtureRequest, valkey: ValkeyServer, shared: Path) -> Iterator[Storage]:
    if request.param == "both to break":
        yield Storage(create_database(request.getfixturevalue("postgres").url), valkey.url)
        return
    with fresh_database(shared_postgres(shared)) as database_url:
        yield Storage(database_url, valkey.url)


# Fault -> a function that causes it and one that ends it
FAULTS: dict[str, tuple[Callable[[ValkeyServer], None], Callable[[ValkeyServer], None]]] = {
    "killed": (ValkeyServer.kill, ValkeyServer.start),
    "restarted empty": (ValkeyServer.restart, lambda server: None),
    "flushed": (ValkeyServer.flushall, lambda server: None),
    "paused": (ValkeyServer.pause, ValkeyServer.resume),
}


@only_redis_breaks
@pytest.mark.parametrize(
    ("fault", "worker_type"),
    [
        *(pytest.param(fault, "process", marks=pytest.mark.promise if fault == "killed" else ()) for fault in FAULTS),
        pytest.param("paused", "thread", marks=pytest.mark.long),
    ],
)
def test_failing_redis_loses_no_job_and_delays_no_submit(
    huey: DurableHuey,
    start: StartConsumer,
    tasks: SimpleNamespace,
    valkey: ValkeyServer,
    tmp_path: Path,
    fault: str,
    worker_type: str,
) -> None:
    break_it, mend_it = FAULTS[fault]
    consumer = start(workers=2, worker_type=worker_type)
    paths = [tmp_path / f"{number}.txt" for number in range(3 * JOBS)]
    handles = [tasks.crashing("nowhere", False, str(path)) for path in paths[:JOBS]]
    break_it(valkey)
    for path in paths[JOBS : 2 * JOBS]:
        begun = time.monotonic()
        handles.append(tasks.crashing("nowhere", False, str(path)))
        assert time.monotonic() - begun < NOTIFY + MARGIN
    for handle in handles:
        assert handle.get(blocking=True, timeout=10) == "done"
    mend_it(valkey)
    for path in paths[2 * JOBS :]:
        handles.append(tasks.crashing("nowhere", False, str(path)))
    for handle in handles:
        assert handle.get(blocking=True, timeout=10) == "done"
    assert [len(notes(path)) for path in paths] == [1] * len(paths)
    assert {(job.attempt, job.losses, job.returns) for job in huey.jobs(limit=len(paths))} == {(1, 0, 0)}
    assert_heard_again(tasks)
    consumer.send(signal.SIGTERM)
    assert consumer.wait() == 0


def assert_heard_again(tasks: SimpleNamespace) -> None:
    """Wait until notifications arrive again, so that an idle worker starts jobs at once."""

    def quick() -> bool:
        begun = time.monotonic()
        for _ in range(5):
            tasks.quick(1).get(blocking=True, timeout=5)
        return time.monotonic() - begun < 5 * 0.25  # without notifications, a job waits half a second on average

    wait_until(quick)


@only_redis_breaks
def test_consumer_stops_without_waiting_for_redis(
    start: StartConsumer, tasks: SimpleNamespace, valkey: ValkeyServer
) -> None:
    consumer = start(workers=2)
    assert tasks.quick(1).get(blocking=True, timeout=5) == 1
    valkey.pause()
    begun = time.monotonic()
    consumer.send(signal.SIGTERM)
    assert consumer.wait() == 0
    assert time.monotonic() - begun < 1.5 + MARGIN
    valkey.resume()


@only_redis_breaks
def test_forged_notification_only_wakes_a_worker(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, valkey: ValkeyServer
) -> None:
    start(workers=1)
    assert tasks.quick(1).get(blocking=True, timeout=5) == 1
    with redis_client(valkey.url) as client:
        client.rpush("jobqueue:faults:bell", *[b"\x80\x04cposix\nsystem\n", b"", b"{}", b"x" * 1000] * 10)
        wait_until(lambda: client.llen("jobqueue:faults:bell") == 0)
    assert tasks.quick(2).get(blocking=True, timeout=5) == 2
    assert len(huey.jobs()) == 2


@both_break
def test_failure_of_database_and_redis_together_loses_no_job(
    huey: DurableHuey,
    start: StartConsumer,
    tasks: SimpleNamespace,
    postgres: PostgresServer,
    valkey: ValkeyServer,
    tmp_path: Path,
    path: str,
    go: Path,
) -> None:
    consumers = [start(workers=2) for _ in range(2)]
    running = [tasks.waits(path, str(go)) for _ in range(4)]
    wait_until(lambda: len(notes(Path(path))) == len(running))
    waiting = [huey.enqueue(tasks.crashing.s("nowhere", False, str(tmp_path / f"{i}.txt"))) for i in range(JOBS)]
    postgres.stop("immediate")
    valkey.kill()
    with pytest.raises(DatabaseUnavailable):
        tasks.quick(1)
    go.touch()  # the jobs end while the database is down
    for consumer in consumers:
        wait_until(lambda consumer=consumer: "waits for its database" in consumer.log.read_text())  # type: ignore[misc]
    down = time.monotonic()
    wait_until(lambda: time.monotonic() > down + LEASE)
    postgres.start()
    valkey.start()
    for handle in running:
        assert handle.get(blocking=True, timeout=10) == 1
    for handle in waiting:
        assert handle.get(blocking=True, timeout=10) == "done"
    assert {(job.state, job.losses) for job in huey.jobs()} == {(State.SUCCEEDED, 0)}
    assert len(notes(Path(path))) == len(running)
    assert [len(notes(tmp_path / f"{i}.txt")) for i in range(JOBS)] == [1] * JOBS
    assert_heard_again(tasks)
