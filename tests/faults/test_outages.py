"""Tests of databases that are down or silent, briefly or for long. Live workers keep their jobs and recover."""

import select
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any, LiteralString
from urllib.parse import urlsplit

import psycopg
import pytest
from huey import chord
from huey.exceptions import TaskException

import jobqueue.database.postgres
from jobqueue import DurableHuey, QueueUnavailable, State
from jobqueue.database.database import DatabaseUnavailable
from jobqueue.database.postgres import Connection, Postgres
from jobqueue.jobs.handle import JobHandle
from jobqueue.ledger.records import FenceRefused
from tests import statements
from tests.engine.consumers import kill, wait_until
from tests.faults.conftest import LEASE, StartConsumer
from tests.faults.fault_jobs import notes, tasks_on
from tests.proxy import Proxy
from tests.servers import PostgresServer, fresh_database
from tests.storages import Storage

pytestmark = pytest.mark.parametrize("storage", ["postgres"], indirect=True)

SHORT = {"SILENCE": 1.0, "CONNECT": 2}  # seconds; psycopg's shortest connect timeout is two


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture
def storage(server: PostgresServer) -> Iterator[Storage]:
    """Yield a database on a server that only these tests use."""
    if not server.running():  # a test failed while it was down
        server.start()
    server.resume()
    with fresh_database(server.url) as url:
        yield Storage(url)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Shorten the timeouts of this process. Return them for consumers."""
    for name, value in SHORT.items():
        monkeypatch.setattr(jobqueue.database.postgres, name, value)
    return SHORT


def wait_for_sweeps(huey: DurableHuey) -> None:
    """Wait until every consumer has renewed and swept for longer than a lease, so that a rescue would have happened."""
    back = now(huey)
    wait_until(lambda: all(consumer["seen_at"] > back + LEASE * 1.5 for consumer in huey.ledger.consumers.all()))


def now(huey: DurableHuey) -> float:
    with huey.ledger.database.statement() as tx:
        row = tx.one("SELECT NOW AS now")
    assert row is not None
    return float(row["now"])


def sessions(huey: DurableHuey, query: str) -> int:
    """Return the number of sessions whose last statement was this one."""
    with huey.ledger.database.statement() as tx:
        row = tx.one(
            "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND query = :query",
            query=query,
        )
    assert row is not None
    return int(row["n"])


def began(path: str) -> list[list[str]]:
    return [words for words in notes(Path(path)) if words[0] == "began"]


def error_of(function: Callable[[], Any]) -> BaseException | None:
    try:
        function()
    except Exception as error:
        return error
    return None


def assert_undisturbed(*handles: JobHandle) -> None:
    for handle in handles:
        job = handle.get_job()
        assert (job.state, job.attempt, job.losses, job.returns) == (State.SUCCEEDED, 1, 0, 0), job


@pytest.mark.parametrize("worker_type", ["process", "thread"])
def test_database_crash_takes_no_job_from_living_workers(
    server: PostgresServer,
    huey: DurableHuey,
    start: StartConsumer,
    tasks: SimpleNamespace,
    path: str,
    go: Path,
    worker_type: str,
) -> None:
    consumers = [start(workers=3, worker_type=worker_type) for _ in range(2)]
    workers = [consumer.worker_pids() for consumer in consumers]
    busy = [huey.enqueue(tasks.waits.s(path, str(go)).then(tasks.says, path)) for _ in range(4)]
    reporting = tasks.reports(path, str(go))
    wait_until(lambda: len(began(path)) == 5)
    server.restart("immediate")
    assert tasks.says(path, "after").get(blocking=True, timeout=5) == "after"  # by the idle worker
    wait_for_sweeps(huey)
    go.touch()
    assert {handle.get(blocking=True, timeout=5) for _, handle in busy} == {1}
    assert reporting.get(blocking=True, timeout=5) == "all kept"
    assert_undisturbed(*(handle for pipeline in busy for handle in pipeline), reporting)
    assert len(began(path)) == 5
    assert [consumer.worker_pids() for consumer in consumers] == workers


def test_revoked_job_does_not_run_after_a_database_crash(
    server: PostgresServer, start: StartConsumer, tasks: SimpleNamespace, path: str, tmp_path: Path
) -> None:
    here, go = tmp_path / "here", tmp_path / "here.go"
    start(at={"claimed": ("waits", str(here))})
    tasks.says.revoke()
    handle = tasks.says(path, "ran")
    wait_until(here.exists)
    server.restart("immediate")
    go.touch()
    wait_until(lambda: handle.state.ended)
    job = handle.get_job()
    assert (job.state, job.attempt, job.losses) == (State.CANCELLED, 1, 0)
    assert notes(Path(path)) == []


@pytest.mark.parametrize("moment", ["claimed", "ending"])
def test_database_crash_around_a_claim_or_an_end_changes_nothing(
    server: PostgresServer,
    huey: DurableHuey,
    start: StartConsumer,
    tasks: SimpleNamespace,
    path: str,
    tmp_path: Path,
    moment: str,
) -> None:
    here, go = tmp_path / "here", tmp_path / "here.go"
    for _ in range(2):
        start(at={moment: ("waits", str(here))})
    first, follower = huey.enqueue(tasks.says.s(path, "ran").then(tasks.quick))
    wait_until(here.exists)
    assert first.state is State.RUNNING
    server.restart("immediate")
    wait_for_sweeps(huey)
    go.touch()
    assert follower.get(blocking=True, timeout=2 * LEASE) == "ran"
    assert_undisturbed(first, follower)
    assert len(notes(Path(path))) == 1


def test_end_during_a_long_outage_is_written_when_the_database_is_back(
    server: PostgresServer, huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, path: str, go: Path
) -> None:
    leases = {"lease_s": 1.0, "renew_s": 0.25}
    for _ in range(2):
        start(workers=2, **leases)
    ending = [huey.enqueue(tasks.waits.s(path, str(go)).then(tasks.quick)) for _ in range(2)]
    running = tasks.waits(path, f"{go} later")
    chord_result = huey.enqueue(chord([tasks.waits.s(path, str(go)), tasks.quick.s(2)], tasks.collect.s(path)))
    wait_until(lambda: len(began(path)) == 4)
    queued = [tasks.quick(i) for i in range(3)]
    down = time.monotonic()
    server.stop("immediate")
    go.touch()
    with pytest.raises(QueueUnavailable):
        tasks.quick("never accepted")
    wait_until(lambda: time.monotonic() > down + 4.5 * leases["lease_s"])
    server.start()
    back = time.monotonic()
    for first, follower in ending:
        assert (first.get(blocking=True, timeout=5), follower.get(blocking=True, timeout=5)) == (1, 1)
    assert chord_result.get(blocking=True, timeout=5) == [1, 2]
    assert [handle.get(blocking=True, timeout=5) for handle in queued] == [0, 1, 2]
    assert time.monotonic() - back < 2 * leases["lease_s"]
    wait_for_sweeps(huey)
    Path(f"{go} later").touch()
    assert running.get(blocking=True, timeout=5) == 1
    jobs = huey.jobs()
    assert {(job.state, job.losses, job.returns, job.attempt) for job in jobs} == {(State.SUCCEEDED, 0, 0, 1)}
    assert len(jobs) == 2 * 2 + 1 + 3 + 3  # no refused job is among them
    assert len(began(path)) == 4


def test_submit_in_an_outage_is_accepted_or_refused_as_a_whole(
    server: PostgresServer, huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, path: str
) -> None:
    start(workers=2)
    over = Event()
    accepted: list[JobHandle] = []
    refused = 0

    def submit() -> None:
        nonlocal refused
        while not over.is_set():
            members = [tasks.quick.s(i) for i in range(5)]
            try:
                accepted.append(huey.enqueue(chord(members, tasks.collect.s(path))).callback)
            except QueueUnavailable:
                refused += 1
            over.wait(0.01)

    clients = [Thread(target=submit) for _ in range(3)]
    for client in clients:
        client.start()
    try:
        for _ in range(2):
            enough = len(accepted) + 5
            wait_until(lambda enough=enough: len(accepted) >= enough)  # type: ignore[misc]
            server.restart("immediate")
    finally:
        over.set()
        for client in clients:
            client.join()
    assert refused
    for handle in accepted:
        assert handle.get(blocking=True, timeout=10) == [0, 1, 2, 3, 4]
    wait_until(lambda: all(job.state.ended for job in huey.jobs(limit=10_000)))
    callbacks = huey.jobs(task=tasks.collect, limit=10_000)
    assert {handle.id for handle in accepted} <= {job.id for job in callbacks}
    assert len(callbacks) <= len(accepted) + refused  # a submit whose answer was lost may be there as a whole
    assert len(huey.jobs(task=tasks.quick, limit=10_000)) == 5 * len(callbacks)
    assert {job.state for job in callbacks} == {State.SUCCEEDED}


def test_claim_without_an_answer_is_released_at_once(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, path: str, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    start(at={"CLAIM": ("hears nothing", str(here))})
    handle = tasks.says(path, "ran")
    assert handle.get(blocking=True, timeout=5) == "ran"
    assert here.exists()
    job = handle.get_job()
    assert (job.attempt, job.losses, job.returns) == (2, 0, 1)
    assert (job.claimed_at - job.created_at).total_seconds() < LEASE / 2
    assert len(notes(Path(path))) == 1


def test_claim_without_an_answer_is_released_after_a_database_crash(
    server: PostgresServer, huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, path: str, tmp_path: Path
) -> None:
    here, go = tmp_path / "here", tmp_path / "here.go"
    for _ in range(2):
        start(at={"CLAIM": ("waits and hears nothing", str(here))})
    handle = tasks.says(path, "ran")
    wait_until(here.exists)
    server.stop("immediate")
    go.touch()
    server.start()
    assert handle.get(blocking=True, timeout=LEASE) == "ran"
    wait_for_sweeps(huey)
    job = handle.get_job()
    assert (job.attempt, job.losses, job.returns) == (2, 0, 1)
    assert len(notes(Path(path))) == 1


@pytest.mark.parametrize("crash", [False, True], ids=["database:up", "database:crashes"])
def test_worker_that_dies_after_a_claim_without_an_answer_loses_no_job(
    server: PostgresServer,
    huey: DurableHuey,
    start: StartConsumer,
    tasks: SimpleNamespace,
    path: str,
    tmp_path: Path,
    crash: bool,
) -> None:
    here, go = tmp_path / "here", tmp_path / "here.go"
    consumer = start(at={"CLAIM": ("waits and dies", str(here))})
    (worker,) = consumer.worker_pids()
    handle = tasks.says(path, "ran")
    wait_until(here.exists)
    if crash:
        server.stop("immediate")
    go.touch()
    wait_until(lambda: consumer.worker_pids() not in ([], [worker]))
    if crash:
        server.start()
    assert handle.get(blocking=True, timeout=10) == "ran"
    job = handle.get_job()
    assert (job.attempt, job.losses, job.returns) == (2, 1, 0)  # a loss: no message may kill workers forever
    assert len(notes(Path(path))) == 1


def test_end_without_an_answer_is_written_once(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, path: str, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    consumer = start(at={"ended": ("hears nothing", str(here))})
    workers = consumer.worker_pids()
    result = huey.enqueue(chord([tasks.says.s(path, "1"), tasks.says.s(path, "2")], tasks.collect.s(path)))
    assert result.get(blocking=True, timeout=5) == ["str", "str"]
    assert here.exists()
    assert {(job.state, job.attempt, job.losses) for job in huey.jobs()} == {(State.SUCCEEDED, 1, 0)}
    assert sorted(words[0] for words in notes(Path(path))) == ["1", "2", "collected"]
    assert consumer.worker_pids() == workers


def test_consumer_whose_notifier_connection_is_cut_keeps_working(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    consumer = start(at={"listened": ("hears nothing", str(here))})
    wait_until(here.exists)
    wait_until(lambda: sessions(huey, "LISTEN jobqueue"))  # it listens again
    assert tasks.quick(1).get(blocking=True, timeout=5) == 1
    assert consumer.process.poll() is None


def test_connection_that_broke_in_a_transaction_is_not_reused(huey: DurableHuey) -> None:
    """Test a connection whose ROLLBACK fails silently."""
    with pytest.raises(FenceRefused), huey.ledger.database.transaction() as tx:
        with pytest.raises(psycopg.OperationalError):
            tx.run("SELECT pg_terminate_backend(pg_backend_pid())")
        raise FenceRefused
    assert huey.ledger.reading.count(State.QUEUED) == 0


@pytest.mark.parametrize("what", ["step", "lock"])
def test_value_that_postgres_refuses_is_not_taken_for_an_outage(
    start: StartConsumer, tasks: SimpleNamespace, what: str
) -> None:
    start()
    handle = tasks.names_at_length(what)
    with pytest.raises(TaskException, match="ProgramLimitExceeded"):
        handle.get(blocking=True, timeout=5)
    assert handle.get_job().attempt == 1


def test_server_that_ends_every_connection_counts_as_unavailable(
    huey: DurableHuey, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Test a server that behaves like a pooler without its server."""
    connect = Postgres.connect
    broken = False

    def connect_and_end(self: Postgres) -> Connection:
        connection = connect(self)
        if broken:
            terminate(server, "pid = %s", connection.info.backend_pid)
            wait_until(lambda: select.select([connection], [], [], 0)[0])
        return connection

    monkeypatch.setattr(Postgres, "connect", connect_and_end)
    huey.storage.close()
    huey.migrate()
    broken = True
    terminate(server, "datname = %s", huey.ledger.database.url.database)
    with pytest.raises(DatabaseUnavailable):
        huey.ledger.reading.count(State.QUEUED)
    broken = False
    assert huey.ledger.reading.count(State.QUEUED) == 0


def terminate(server: PostgresServer, which: LiteralString, value: object) -> None:
    with psycopg.connect(server.url) as admin:
        admin.execute(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {which}", [value])


# --- a server that accepts connections and does not answer ---


class Silence:
    """URLs of a database that a test can silence."""

    def __init__(self, storage: Storage, begin: Callable[[], None], end: Callable[[], None]) -> None:
        self.storage = storage
        self.begin = begin
        self.end = end


@pytest.fixture(params=[pytest.param("paused", marks=pytest.mark.long), "cut"])
def silence(request: pytest.FixtureRequest, server: PostgresServer, storage: Storage) -> Iterator[Silence]:
    """Yield a database that a test can silence, by pausing the server or by cutting the network."""
    if request.param == "paused":
        yield Silence(storage, server.pause, server.resume)
        server.resume()
        return
    with Proxy(server.port) as proxy:
        yield Silence(through(proxy, storage), proxy.cut, proxy.join)


def through(proxy: Proxy, storage: Storage) -> Storage:
    address = urlsplit(storage.database_url)
    return storage._replace(
        database_url=address._replace(netloc=f"{address.netloc.rpartition(':')[0]}:{proxy.port}").geturl()
    )


def test_silent_database_delays_a_submit_no_longer_than_documented(
    short: dict[str, float], silence: Silence, huey: DurableHuey, start: StartConsumer
) -> None:
    start(postgres=short)
    web, new = (DurableHuey("faults", silence.storage.database_url, secret_key="a key for tests") for _ in range(2))
    tasks, tasks_of_new = tasks_on(web), tasks_on(new)
    assert tasks.quick("before").get(blocking=True, timeout=5) == "before"
    silence.begin()
    for _ in range(3):  # on an open connection, and on new ones
        asked = time.monotonic()
        with pytest.raises(QueueUnavailable):
            tasks.quick("in the silence")
        assert time.monotonic() - asked < max(short.values()) + 0.5
    for quick in (tasks.quick, tasks_of_new.quick):  # the first has had connections, the second has not
        with ThreadPoolExecutor(8) as threads:
            asked = time.monotonic()
            errors = list(threads.map(lambda quick: error_of(quick), [quick] * 8))
            assert time.monotonic() - asked < sum(short.values()) + 0.5
        assert {type(error) for error in errors} == {QueueUnavailable}
    silence.end()
    for quick in (tasks.quick, tasks_of_new.quick):
        assert quick("after").get(blocking=True, timeout=5) == "after"
    web.storage.close()
    new.storage.close()


def test_consumer_supervises_its_workers_while_the_database_is_silent(
    short: dict[str, float],
    silence: Silence,
    huey: DurableHuey,
    start: StartConsumer,
    tasks: SimpleNamespace,
    path: str,
    go: Path,
) -> None:
    consumers = [start(workers=2, through=silence.storage, postgres=short) for _ in range(2)]
    handles = [tasks.waits(path, str(go)) for _ in range(4)]
    wait_until(lambda: len(began(path)) == 4)
    silence.begin()
    wait_until(lambda: all("cannot reach its database" in consumer.log.read_text() for consumer in consumers))
    workers = [consumer.worker_pids() for consumer in consumers]
    for victim, _ in workers:
        kill(victim)
    for consumer, (victim, other) in zip(consumers, workers, strict=True):
        wait_until(lambda: victim not in (pids := consumer.worker_pids()) and len(pids) == 2)  # noqa: B023
        assert other in consumer.worker_pids()
    go.touch()
    silence.end()
    results = [handle.get(blocking=True, timeout=10) for handle in handles]
    wait_for_sweeps(huey)
    assert sorted(results) == [1, 1, 2, 2]
    for handle, attempt in zip(handles, results, strict=True):
        job = handle.get_job()
        assert (job.state, job.attempt, job.losses, job.returns) == (State.SUCCEEDED, attempt, attempt - 1, 0)
    assert len(began(path)) == 6


def test_consumer_stops_while_the_database_is_silent(
    short: dict[str, float],
    silence: Silence,
    huey: DurableHuey,
    start: StartConsumer,
    tasks: SimpleNamespace,
    path: str,
    go: Path,
) -> None:
    consumer = start(workers=2, through=silence.storage, postgres=short, grace_s=1)
    handle = tasks.waits(path, str(go))
    wait_until(lambda: began(path))
    silence.begin()
    asked = time.monotonic()
    consumer.send(signal.SIGTERM)
    assert consumer.wait() == 0
    assert time.monotonic() - asked < 1 + 3 * sum(short.values())
    silence.end()
    go.touch()
    start()
    assert handle.get(blocking=True, timeout=10) == 2
    assert handle.get_job().losses == 1  # the consumer could not release it


def test_claim_made_after_its_worker_gave_up_is_released(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, path: str
) -> None:
    """Test a claim that the network delivers late, or that the server reads late when it resumes."""
    start()
    (consumer,) = huey.ledger.consumers.all()
    names = huey.messages.task_names()
    handle = tasks.says.schedule((path, "ran"), delay=60)
    with huey.ledger.database.transaction() as tx:  # so that no worker claims the job first
        tx.run("UPDATE jobs SET state = 'queued' WHERE id = :id", id=handle.id)
        claim = {"token": "late", "consumer": consumer["id"], "worker": "worker-1", "host": "host", "lease": LEASE}
        late = tx.one(statements.CLAIM, tasks=names, queues=None, lately=[], **claim)
    assert late is not None
    assert handle.get(blocking=True, timeout=2 * LEASE) == "ran"
    job = handle.get_job()
    assert (job.attempt, job.losses, job.returns) == (2, 0, 1)
