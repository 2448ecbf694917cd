"""Fixtures that start real consumers on a real ledger, with short leases and grace periods."""

import json
import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest

from jobqueue import DurableHuey
from tests.engine.consumers import ConsumerProcess, consumer_process, environment, wait_until
from tests.faults.fault_jobs import tasks_on
from tests.storages import Storage, run_on_each

LEASE = 2.0  # seconds
GRACE = 2.0  # seconds
STARTS_IN = 60.0  # seconds: no test measures a start, and a busy machine imports slowly
SETTINGS: dict[str, Any] = {"lease_s": LEASE, "renew_s": 0.5, "grace_s": GRACE}
PATIENCE: dict[str, float] = {}  # replacements for constants of jobqueue.database.postgres
NEVER: dict[str, tuple[str, str]] = {}
KIT = Path(__file__).parents[2]

StartConsumer = Callable[..., ConsumerProcess]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    terminalreporter.write_line(f"seed {config.getoption('seed')}")


@pytest.fixture
def dice(request: pytest.FixtureRequest) -> random.Random:
    """Random numbers, seeded by `--seed`."""
    return random.Random(request.config.getoption("seed"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    run_on_each(metafunc, default=["sqlite"])


@pytest.fixture
def huey(storage: Storage) -> Iterator[DurableHuey]:
    """Yield the queue as a web process uses it: it submits and reads jobs."""
    huey = DurableHuey("faults", **storage._asdict(), secret_key="a key for tests", **SETTINGS)
    huey.migrate()
    yield huey
    huey.storage.close()


@pytest.fixture
def tasks(huey: DurableHuey) -> SimpleNamespace:
    return tasks_on(huey)


@pytest.fixture
def start(huey: DurableHuey, storage: Storage, tmp_path: Path) -> Iterator[StartConsumer]:
    """Yield a function that starts a consumer and waits until it has registered and its workers are alive.

    A consumer with crash points has only registered by then, because it starts again whenever it dies. All consumers
    are killed at the end.
    """
    with ExitStack() as stack:

        def start(
            workers: int = 1,
            worker_type: str = "process",
            busy_timeout: float = 10,
            through: Storage = storage,
            postgres: Mapping[str, float] = PATIENCE,
            at: Mapping[str, tuple[str, str]] = NEVER,
            lacks: Sequence[str] = (),
            schedules: Mapping[str, str] = MappingProxyType({}),
            table: bool = False,
            moved_clock: bool = False,
            environ: Mapping[str, str] = MappingProxyType({}),
            periodic: bool = True,
            queues: str | None = None,
            crash_points: Path | None = None,
            **settings: Any,
        ) -> ConsumerProcess:
            """Start a consumer.

            through: The URLs of its servers.
            at: Moments, and the faults that happen at them (see moments.py).
            lacks: Names of tasks that its code does not have.
            schedules: Phrases of periodic tasks, by task name.
            table: Add the dataset `table`.
            moved_clock: Use the clock of tests/moved_clock.py.
            environ: Environment variables.
            crash_points: A folder. The consumer dies at each place that is armed there, and starts again (see
                crash_points.py).
            """
            options = {
                "storage": through._asdict(),
                "postgres": dict(postgres),
                "at": dict(at),
                "workers": workers,
                "worker_type": worker_type,
                "busy_timeout": busy_timeout,
                "lacks": list(lacks),
                "schedules": dict(schedules),
                "table": table,
                "moved_clock": moved_clock,
                "periodic": periodic,
                "queues": queues,
                "crash_points": None if crash_points is None else str(crash_points),
                "settings": SETTINGS | settings,
            }
            consumer = stack.enter_context(
                consumer_process(
                    ["-m", "tests.faults.run_consumer", json.dumps(options)],
                    log=tmp_path / "consumer.log",
                    env=environment(KIT, **environ),
                    cwd=tmp_path,
                )
            )
            if crash_points is not None:  # the consumer is a grandchild of this process
                wait_until(huey.ledger.consumers.all, STARTS_IN)
                return consumer
            wait_until(lambda: consumer.pid in {row["pid"] for row in huey.ledger.consumers.all()}, STARTS_IN)
            if worker_type == "process":
                wait_until(lambda: len(consumer.worker_pids()) == workers, STARTS_IN)
            return consumer

        yield start
    for log in tmp_path.glob("consumer.log"):
        print(log.read_text()[-20_000:])  # pytest shows it when the test fails


def all_have_ended(huey: DurableHuey) -> bool:
    """Return whether all jobs have ended, by a single query."""
    with huey.ledger.database.statement() as tx:
        return tx.one("SELECT 1 FROM jobs WHERE state IN ('waiting', 'scheduled', 'queued', 'running')") is None


def wait_while_jobs_end(huey: DurableHuey) -> None:
    """Wait until all jobs have ended, however many. Raise TimeoutError if none ends for ten seconds."""
    ended = -1
    while not all_have_ended(huey):
        wait_until(lambda: number_ended(huey) > ended)  # noqa: B023
        ended = number_ended(huey)


def number_ended(huey: DurableHuey) -> int:
    with huey.ledger.database.statement() as tx:
        row = tx.one("SELECT count(*) AS n FROM jobs WHERE state IN ('succeeded', 'failed', 'cancelled')")
    assert row is not None
    return int(row["n"])


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Return the path of the file in which jobs note their actions."""
    return str(tmp_path / "notes.txt")


@pytest.fixture
def go(tmp_path: Path) -> Path:
    """Return a path. A job that waits for it continues when the test creates the file."""
    return tmp_path / "go"


def is_sound(huey: DurableHuey) -> bool:
    """Return whether the SQLite file passes its integrity check. A server checks its own files."""
    if huey.ledger.database.path is None:
        return True
    with huey.ledger.database.statement() as tx:
        return [row["integrity_check"] for row in tx.all("PRAGMA integrity_check")] == ["ok"]


def contents(huey: DurableHuey) -> list[tuple[object, ...]]:
    """Return the rows of all jobs with their results."""
    with huey.ledger.database.statement() as tx:
        rows = tx.all("SELECT jobs.*, results.* FROM jobs LEFT JOIN results ON job_id = id ORDER BY seq")
    return [tuple(row[column] for column in row.keys()) for row in rows]  # noqa: SIM118


@contextmanager
def steadily(visit: Callable[[], object], pace: float) -> Iterator[None]:
    """Call a function repeatedly in a thread during the block, with `pace` seconds between the calls."""
    over = threading.Event()

    def run() -> None:
        while not over.wait(pace):
            visit()

    with ThreadPoolExecutor(1) as pool:
        visits = pool.submit(run)
        try:
            yield
        finally:
            over.set()
            visits.result()  # raises the thread's error, which says more than a timeout in the block
