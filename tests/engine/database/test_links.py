"""A wait for the database has no limit while data moves. It ends soon after nothing moves any more."""

import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import pytest

import jobqueue.database.postgres
from jobqueue.database.database import Database, DatabaseUnavailable
from jobqueue.database.postgres import CONNECTIONS
from tests.proxy import Proxy
from tests.storages import Storage
from tests.waiting import wait_until

pytestmark = pytest.mark.parametrize("storage", ["postgres"], indirect=True)

SILENCE = 0.5  # seconds
SPEED = 1_000_000  # bytes a second
SIZE = 2_500_000  # bytes: five times as long as the silence that is allowed
TABLE = "CREATE TABLE large (body bytea, seen boolean)"
SAVE = "INSERT INTO large (body) VALUES (:body)"
READ = "SELECT body FROM large WHERE length(body) = :size"


@pytest.fixture
def link(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """Yield a slow link to the database."""
    monkeypatch.setattr(jobqueue.database.postgres, "SILENCE", SILENCE)
    monkeypatch.setattr(jobqueue.database.postgres, "HELD", 1)
    monkeypatch.setattr(jobqueue.database.postgres, "TRANSFER", SILENCE / 2)
    with Proxy(int(urlsplit(storage.database_url).port or 0), bytes_per_s=SPEED) as link:
        yield link


@pytest.fixture
def database(storage: Storage, link: Proxy) -> Iterator[Database]:
    address = urlsplit(storage.database_url)
    url = address._replace(netloc=f"{address.netloc.rpartition(':')[0]}:{link.port}").geturl()
    with closing(Database(url)) as database:
        with database.statement() as tx:
            tx.run(TABLE)
        yield database


@pytest.fixture
def body() -> bytes:
    return os.urandom(SIZE)


def test_a_large_value_is_sent_and_read_however_long_it_takes(database: Database, link: Proxy, body: bytes) -> None:
    began = time.monotonic()
    with database.statement() as tx:
        assert tx.run(SAVE, body=body) == 1
    assert time.monotonic() - began > 3 * SILENCE
    assert link.passed["up"] < SIZE * 1.1  # it was sent once
    with database.statement() as tx:
        assert tx.all(READ, size=SIZE) == [{"body": body}]
    assert link.passed["down"] < SIZE * 1.1


def test_a_large_value_in_the_middle_of_a_transaction_is_no_idleness(
    database: Database, link: Proxy, body: bytes
) -> None:
    half = body[: SIZE // 2]
    with database.transaction() as tx:
        tx.run(SAVE, body=b"small")
        assert tx.one(f"{SAVE} RETURNING length(body) AS size", body=half) == {"size": len(half)}
        tx.run_each(SAVE, [{"body": half[: SIZE // 4]}, {"body": half[SIZE // 4 :]}])
        (limit,) = [row["setting"] for row in tx.all("SELECT setting FROM pg_settings WHERE name LIKE 'idle_in_t%'")]
    assert limit == "1000"  # for small statements it is as before
    with database.statement() as tx:
        assert tx.one("SELECT count(*) AS n FROM large") == {"n": 4}


def test_large_values_hold_up_no_other_thread(database: Database, body: bytes) -> None:
    """There are as many on their way as a process has connections."""
    part = body[: SIZE // 2]

    def save() -> None:
        with database.statement() as tx:
            tx.run(SAVE, body=part)

    with ThreadPoolExecutor(CONNECTIONS) as threads:
        sent = [threads.submit(save) for _ in range(CONNECTIONS)]
        answers = 0
        while not any(moving.done() for moving in sent):
            began = time.monotonic()
            with database.statement() as tx:
                tx.one("SELECT 1")
            assert time.monotonic() - began < SIZE / SPEED / 2
            answers += 1
        for moving in sent:
            moving.result()
    assert answers > 5


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_link_that_is_cut_in_the_middle_of_a_large_value_is_noticed(
    database: Database, link: Proxy, body: bytes, way: str
) -> None:
    def move() -> None:
        with database.statement() as tx:
            if way == "up":
                tx.run(SAVE, body=body)
            else:
                tx.all("SELECT repeat('x', :size)", size=SIZE)

    with ThreadPoolExecutor(1) as thread:
        before = link.passed[way]
        moving = thread.submit(move)
        wait_until(lambda: link.passed[way] > before + SIZE / 4)
        link.cut()
        began = time.monotonic()
        with pytest.raises(DatabaseUnavailable, match=r"the server has been silent for 0\.5 s"):
            moving.result(10)
        assert time.monotonic() - began < SILENCE + 1
    link.join()
    with database.statement() as tx:
        assert tx.all(READ, size=SIZE) == []


def test_a_statement_without_an_answer_is_noticed_though_its_server_is_there(database: Database) -> None:
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable, match="silent"), database.statement() as tx:
        tx.one("SELECT pg_sleep(5)")
    assert time.monotonic() - began < SILENCE + 1


def test_the_system_gives_up_a_peer_that_is_gone_within_twenty_seconds(storage: Storage) -> None:
    connection: Any = Database(storage.database_url).connect()
    with closing(connection), socket.socket(fileno=os.dup(connection.fileno())) as own:

        def option(name: int) -> int:
            return own.getsockopt(socket.IPPROTO_TCP, name)

        assert option(socket.TCP_USER_TIMEOUT) <= 20_000
        assert option(socket.TCP_KEEPIDLE) + option(socket.TCP_KEEPCNT) * option(socket.TCP_KEEPINTVL) <= 20
        (timeout,) = connection.execute("SHOW tcp_user_timeout").fetchone()
        assert timeout == "15000"  # the server, with a client that is gone
