"""Poolers between the app and Postgres: which one is found, and that nothing of an app stays on its connections."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from jobqueue import DatabaseUnavailable, DurableHuey
from jobqueue.database.database import Database
from jobqueue.settings import Settings
from tests.engine.consumers import work
from tests.pgbouncer import CLIENT_MODES, Mode, PgBouncerServer, on_server, shared_pgbouncer
from tests.servers import shared_postgres

FAR = 8  # connections of a pooler to one database


@pytest.mark.parametrize("mode", CLIENT_MODES)
@pytest.mark.parametrize("deals", ["the last used", "in turn"])
def test_each_pooler_is_found(shared: Path, fresh_postgres: str, mode: Mode, deals: str) -> None:
    with PgBouncerServer(shared_postgres(shared), mode, server_round_robin=int(deals == "in turn")) as pooler:
        for _ in range(3):  # each process finds out, while others use the pooler
            with closing(Database(on_server(pooler.url, fresh_postgres))) as database:
                database.check()
                assert database.pooling == mode


def test_a_busy_pooler_is_found(shared: Path, fresh_postgres: str) -> None:
    stop = threading.Event()

    def use(url: str) -> None:
        with psycopg.connect(url, autocommit=True, prepare_threshold=None) as connection:
            while not stop.is_set():
                connection.execute("SELECT 1")

    with PgBouncerServer(shared_postgres(shared), "transaction-unprepared", default_pool_size=FAR) as pooler:
        url = on_server(pooler.url, fresh_postgres)
        others = [threading.Thread(target=use, args=(url,)) for _ in range(FAR)]
        for other in others:
            other.start()
        try:
            for _ in range(5):
                with closing(Database(url)) as database:
                    database.check()
                    assert database.pooling == "transaction-unprepared"
        finally:
            stop.set()
            for other in others:
                other.join()


def test_a_pooler_that_was_mistaken_for_another_is_found_at_its_first_error(shared: Path, fresh_postgres: str) -> None:
    with PgBouncerServer(shared_postgres(shared), "transaction-unprepared", default_pool_size=1) as pooler:
        url = on_server(pooler.url, fresh_postgres)
        with closing(Database(url, pooling="session")) as database:
            with pytest.raises(DatabaseUnavailable, match="Set DATABASE_POOLING to transaction-unprepared"):
                database.check()
            database.check()
            assert database.pooling == "transaction-unprepared"


def test_a_pooler_with_a_single_connection_is_found(shared: Path, fresh_postgres: str) -> None:
    with (
        PgBouncerServer(shared_postgres(shared), "transaction", default_pool_size=1) as pooler,
        closing(Database(on_server(pooler.url, fresh_postgres))) as database,
    ):
        database.check()
        assert database.pooling == "transaction"


def test_a_named_pooling_is_taken_without_asking(fresh_postgres: str) -> None:
    with closing(Database(fresh_postgres, pooling="transaction")) as database:
        database.check()
        assert database.pooling == "transaction"


def test_a_direct_connection_has_no_pooler(fresh_postgres: str) -> None:
    with closing(Database(fresh_postgres)) as database:
        database.check()
        assert database.pooling == "direct" and database.can_listen


def test_a_pooler_in_statement_mode_is_refused_in_a_sentence(shared: Path, fresh_postgres: str) -> None:
    with PgBouncerServer(shared_postgres(shared), "statement") as pooler:
        database = Database(on_server(pooler.url, fresh_postgres))
        with pytest.raises(
            DatabaseUnavailable, match=r"statement mode.* Set its pool_mode to transaction or session\."
        ) as refused:
            database.check()
    assert refused.value.problem is not None and refused.value.problem.lasts


@pytest.mark.parametrize("mode", CLIENT_MODES)
def test_a_server_that_commits_early_is_turned_on_or_refused(shared: Path, fresh_postgres: str, mode: Mode) -> None:
    name = urlsplit(fresh_postgres).path[1:]
    with psycopg.connect(fresh_postgres, autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{name}" SET synchronous_commit = off')
    with closing(
        Database(on_server(shared_pgbouncer(shared, shared_postgres(shared), mode), fresh_postgres))
    ) as database:
        if mode == "session":
            with database.statement() as tx:
                assert tx.one("SHOW synchronous_commit") == {"synchronous_commit": "on"}
        else:
            with pytest.raises(DatabaseUnavailable, match="ALTER ROLE CURRENT_USER SET synchronous_commit = on;"):
                database.check()


@pytest.mark.parametrize("mode", ["transaction", "transaction-unprepared"])
def test_nothing_of_an_app_stays_on_a_shared_connection(shared: Path, fresh_postgres: str, mode: Mode) -> None:
    """Two apps use one database through one pooler. Then another client looks at each of its connections."""
    with PgBouncerServer(shared_postgres(shared), mode, default_pool_size=FAR) as pooler, ExitStack() as stack:
        url = on_server(pooler.url, fresh_postgres)
        hueys = [stack.enter_context(open_huey(name, url)) for name in ("one", "two")]
        for huey in hueys:
            handles = [task(b"x" * 200_000) for task in [huey.task(name="size")(len)] * 5]
            huey.storage.notifier.expect([None])
            huey.storage.notifier.listen()  # opens no connection here
            work(huey)
            assert {handle.get() for handle in handles} == {200_000}
        assert not any(huey.storage.notifier.sockets for huey in hueys)
        clients = [stack.enter_context(psycopg.connect(url, prepare_threshold=None)) for _ in range(FAR)]
        seen = {look(client) for client in clients}  # each is in a transaction, so they have different connections
        assert len({process for process, *_ in seen}) == FAR
        assert {left for _, *left_over in seen for left in left_over} == {""}


def look(client: psycopg.Connection) -> tuple[int, str, str, str]:
    """Return the server's process, and what clients before this one left there: settings, statements and channels."""
    row = client.execute(
        """
        SELECT pg_backend_pid(),
               (SELECT coalesce(string_agg(name, ','), '') FROM pg_settings WHERE source = 'session'),
               (SELECT coalesce(string_agg(name, ','), '') FROM pg_prepared_statements WHERE name NOT LIKE 'PGBOUNCER_%'),
               (SELECT coalesce(string_agg(channel, ','), '') FROM pg_listening_channels() AS channel)
        """
    ).fetchone()
    assert row is not None
    return row


@contextmanager
def open_huey(name: str, url: str, direct_url: str | None = None) -> Iterator[DurableHuey]:
    huey = DurableHuey(name, url, database_direct_url=direct_url, secret_key="a key for tests")
    yield huey
    huey.storage.close()


@pytest.fixture
def through(shared: Path, fresh_postgres: str) -> Iterator[str]:
    """Yield the URL of a fresh database through a pooler in transaction mode."""
    yield on_server(shared_pgbouncer(shared, shared_postgres(shared), "transaction"), fresh_postgres)


def test_doctor_names_the_pooler_and_what_would_improve_it(through: str, fresh_postgres: str) -> None:
    with open_huey("tests", through) as huey:
        found = {check.name: check for check in huey.check()}
        assert found["pooler"].ok and "which knows prepared statements" in found["pooler"].detail
        assert "set REDIS_URL, or DATABASE_DIRECT_URL" in found["pooler"].detail
        assert "connections" not in found and "direct database" not in found
    with open_huey("tests", through, direct_url=fresh_postgres) as huey:
        found = {check.name: check for check in huey.check()}
        assert found["direct database"].ok and "REDIS_URL" not in found["pooler"].detail
        assert "tests:" not in found["direct database"].detail  # no password
    with open_huey("tests", through, direct_url=through) as huey:
        found = {check.name: check for check in huey.check()}
        assert not found["direct database"].ok and "pooler" in found["direct database"].detail
    with open_huey("tests", through, direct_url="postgresql://tests@127.0.0.1:1/gone") as huey:
        assert not {check.name: check for check in huey.check()}["direct database"].ok


def test_a_direct_url_of_sqlite_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_DIRECT_URL", "sqlite:////tmp/jobs.sqlite")
    with pytest.raises(ValueError, match="it is a SQLite file, which has no pooler"):
        Settings()
