"""A database that hangs: a request of the web process gives up within the time that a person waits, and once for all its calls."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from jobqueue.database import Database, DatabaseUnavailable, patience
from tests.proxy import Proxy
from tests.waiting import wait_until

MOST = 5  # seconds until a page says that the database does not answer

pytestmark = pytest.mark.alone


@pytest.fixture
def proxy(fresh_postgres: str) -> Iterator[Proxy]:
    with Proxy(urlsplit(fresh_postgres).port or 0) as proxy:
        yield proxy


@pytest.fixture
def database(fresh_postgres: str, proxy: Proxy) -> Iterator[Database]:
    """Yield a database behind the proxy, with an open connection."""
    address = urlsplit(fresh_postgres)
    database = Database(address._replace(netloc=f"{address.netloc.rpartition(':')[0]}:{proxy.port}").geturl())
    assert answers(database)
    yield database
    database.close()


def test_a_request_waits_once_for_a_database_that_hangs(database: Database, proxy: Proxy) -> None:
    proxy.cut()
    assert timed(request, database) < MOST  # on a connection that was open
    assert timed(request, database) < 0.5  # the page's next request, in the moment after
    wait_until(lambda: timed(request, database) > patience.HANGS)  # on a new connection
    proxy.join()
    wait_until(lambda: request(database) == [True, True, True])


def test_requests_that_share_few_connections_wait_together(database: Database, proxy: Proxy) -> None:
    proxy.cut()
    with ThreadPoolExecutor(8) as threads:
        assert max(threads.map(lambda _: timed(request, database), range(8))) < MOST


def test_a_job_waits_longer_than_a_request(database: Database, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "READ", 0.1)
    proxy.cut()
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(answers, database)
        assert request(database) == [False, False, False]  # meanwhile
        assert not waiting.done()
        proxy.join()
        assert waiting.result()


def request(database: Database) -> list[bool]:
    """Ask the database three times, as a page does. Return whether it answered."""
    patience.begin_request()
    try:
        return [answers(database) for _ in range(3)]
    finally:
        patience.end_request()


def answers(database: Database) -> bool:
    try:
        with database.statement() as tx:
            return tx.one("SELECT 1 AS one") is not None
    except DatabaseUnavailable:
        return False


def timed(act: Callable[[Database], list[bool]], database: Database) -> float:
    began = time.monotonic()
    assert act(database) == [False, False, False]
    return time.monotonic() - began
