"""/readyz of a real web process, while everything behind it breaks and comes back. It shows within two seconds."""

import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.baking import Bake
from tests.deploy.web_process import PRODUCTION, WebProcess
from tests.servers import FAST, PostgresServer, ValkeyServer
from tests.waiting import wait_until

pytestmark = [pytest.mark.long, pytest.mark.alone]

LATEST = 2.0  # seconds until a change shows
LOOK = "UPDATE jobs SET state = state WHERE 1 = 0"
PASSWORD = secrets.token_hex(8)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer(FAST | {"log_statement": "all"}) as server:
        with psycopg.connect(server.url, autocommit=True) as admin:
            admin.execute(f"CREATE ROLE desk LOGIN PASSWORD '{PASSWORD}'")
            admin.execute("GRANT CREATE ON SCHEMA public TO desk")
        yield server


@pytest.fixture(scope="module")
def web(
    bake: Bake, server: PostgresServer, valkey: ValkeyServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WebProcess]:
    """In production, with accounts, behind a proxy, and with a role of its own."""
    url = urlsplit(server.url)._replace(netloc=f"desk:{PASSWORD}@127.0.0.1:{server.port}").geturl()
    log = tmp_path_factory.mktemp("readiness") / "log"
    settings = PRODUCTION | {"DATABASE_URL": url, "REDIS_URL": valkey.url, "GIT_REV": "r7"}
    with WebProcess(bake("blank"), log, **settings) as web:
        wait_until(lambda: web.ready()[0] == 200, 20)
        yield web


@contextmanager
def run(server: PostgresServer, before: str, after: str) -> Iterator[None]:
    """Run SQL as the database's owner, and other SQL afterwards."""
    with psycopg.connect(server.url, autocommit=True) as admin:
        admin.execute(before)
        try:
            yield
        finally:
            admin.execute("SET default_transaction_read_only = off")
            admin.execute(after)


@contextmanager
def paused(server: PostgresServer) -> Iterator[None]:
    server.pause()
    try:
        yield
    finally:
        server.resume()


@contextmanager
def stopped(server: PostgresServer) -> Iterator[None]:
    server.stop("fast")
    try:
        yield
    finally:
        server.start()


END_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'desk'"


@contextmanager
def read_only(server: PostgresServer) -> Iterator[None]:
    """As a host makes a database read-only: for new sessions, and the old ones are ended."""
    with run(server, "ALTER ROLE desk SET default_transaction_read_only = on", "ALTER ROLE desk RESET ALL"):
        with psycopg.connect(server.url, autocommit=True) as admin:
            admin.execute(END_SESSIONS)
        yield
    with psycopg.connect(server.url, autocommit=True) as admin:
        admin.execute(END_SESSIONS)


@contextmanager
def old_schema(server: PostgresServer) -> Iterator[None]:
    with psycopg.connect(server.url, autocommit=True) as admin:
        newest = admin.execute("SELECT version_num FROM alembic_version").fetchone()
        admin.execute("UPDATE alembic_version SET version_num = '0010'")
        try:
            yield
        finally:
            admin.execute("UPDATE alembic_version SET version_num = %s", newest)


FAULTS: dict[str, tuple[Callable[[PostgresServer], object], dict[str, str]]] = {
    "paused": (paused, {"database": "does not answer"}),
    "stopped": (stopped, {"database": "unreachable"}),
    "read-only": (read_only, {"database": "read-only"}),
    "without rights": (
        lambda server: run(server, "REVOKE ALL ON jobs FROM desk", "GRANT ALL ON jobs TO desk"),
        {"database": "no rights"},
    ),
    "old schema": (old_schema, {"schema": "older than this release"}),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_process_that_cannot_use_its_database_is_not_ready_until_it_can(
    web: WebProcess, server: PostgresServer, name: str
) -> None:
    break_it, told = FAULTS[name]
    assert web.ready()[0] == 200
    with break_it(server):  # type: ignore[attr-defined]
        broken = time.monotonic()
        wait_until(lambda: web.ready()[0] == 503, LATEST)
        assert time.monotonic() - broken < LATEST
        wait_until(lambda: told.items() <= web.ready()[1]["checks"].items(), LATEST)
        assert web.get("/healthz") == web.get("/health") == (200, "OK")
        assert_names_nothing(web, server)
    wait_until(lambda: web.ready()[0] == 200, LATEST)


def test_a_process_without_redis_and_without_workers_is_ready(web: WebProcess, valkey: ValkeyServer) -> None:
    status, told = web.ready()
    assert (status, told["informative"]) == (200, {"workers": 0, "redis": "ok"})
    assert told["release"] == "r7" and set(told["checks"]) == {"process", "database", "schema", "key"}
    valkey.pause()
    try:
        assert watch(web, until=lambda told: told["informative"]["redis"] == "does not answer") == {200}
    finally:
        valkey.resume()
    valkey.kill()
    assert watch(web, until=lambda told: told["informative"]["redis"] == "does not answer") == {200}
    valkey.start()
    assert watch(web, until=lambda told: told["informative"]["redis"] == "ok") == {200}


def watch(web: WebProcess, until: Callable[[dict[str, dict[str, object]]], bool]) -> set[int]:
    """Ask until the answer of /readyz is so, and for a second more. Return the statuses, also those of /healthz."""
    statuses = set()
    end = None
    start = time.monotonic()
    while end is None or time.monotonic() < end:
        status, told = web.ready()
        statuses |= {status, web.get("/healthz")[0]}
        if end is None and until(told):
            end = time.monotonic() + 1.0
        assert time.monotonic() < start + 10, told
    return statuses


def test_a_thousand_probes_in_ten_seconds_cost_twelve_looks_at_most(web: WebProcess, server: PostgresServer) -> None:
    wait_until(lambda: web.ready()[0] == 200, LATEST)
    before = len(re.findall(re.escape(LOOK), server.log.read_text()))
    statuses: list[int] = []
    began = time.monotonic()

    def ask() -> None:
        for turn in range(100):
            statuses.append(web.ready()[0])
            time.sleep(max(0.0, began + (turn + 1) / 10 - time.monotonic()))

    clients = [threading.Thread(target=ask) for _ in range(10)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert statuses == [200] * 1000
    looks = len(re.findall(re.escape(LOOK), server.log.read_text())) - before
    assert 9 <= looks <= 12


def assert_names_nothing(web: WebProcess, server: PostgresServer) -> None:
    body = web.get("/readyz")[1]
    for name in ("127.0.0.1", str(server.port), "desk", PASSWORD, "postgres", "Traceback"):
        assert name not in body
