"""The pool limits a process's connections, serves threads in turn, and hands out only working connections."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from jobqueue import DurableHuey
from jobqueue.database.pool import AllInUse, Pool
from tests.engine.conftest import HueyFactory
from tests.waiting import wait_until


class Connection:
    """A stand-in for a connection that can break."""

    def __init__(self) -> None:
        self.is_open = True

    def close(self) -> None:
        self.is_open = False


def make(size: int = 1, timeout: float = 5.0) -> Pool:
    return Pool(Connection, lambda connection: connection.is_open, size, timeout)


def test_a_working_connection_is_used_again_and_a_broken_one_is_not() -> None:
    pool = make()
    first = pool.take()
    pool.give_back(first)
    assert pool.take() is first
    first.close()
    pool.give_back(first)
    second = pool.take()
    assert second is not first and second.is_open
    pool.drop(second)
    assert not second.is_open and pool.take().is_open


def test_a_thread_that_waits_too_long_gets_an_error_and_takes_no_later_connection() -> None:
    pool = make(size=2, timeout=0.05)
    taken = [pool.take(), pool.take()]
    with pytest.raises(AllInUse, match=r"All 2 connections of this process have been in use for 0\.05 s"):
        pool.take()
    pool.give_back(taken.pop())
    assert pool.take().is_open


def test_a_waiting_thread_comes_before_one_that_just_had_a_connection() -> None:
    pool = make()
    mine = pool.take()
    with ThreadPoolExecutor(1) as thread:
        other = thread.submit(pool.take)
        wait_until(lambda: len(pool._waiting) == 1)
        pool.give_back(mine)
        with ThreadPoolExecutor(1) as another:
            again = another.submit(pool.take)
            assert other.result(5) is mine
            wait_until(lambda: len(pool._waiting) == 1)
            pool.give_back(mine)
            assert again.result(5) is mine


def test_a_failed_connect_does_not_use_up_a_place_in_the_pool() -> None:
    pool = Pool(lambda: next(connections), lambda connection: True, 1, 0.05)
    connections: Any = iter([])
    with pytest.raises(StopIteration):
        pool.take()
    connections = iter([Connection()])
    assert pool.take().is_open


def test_a_closed_pool_closes_connections_that_are_given_back() -> None:
    pool = make(size=2)
    free, taken = pool.take(), pool.take()
    pool.give_back(free)
    pool.close()
    assert (free.is_open, taken.is_open) == (False, True)
    pool.give_back(taken)
    assert not taken.is_open


def test_a_connection_that_is_busy_for_long_gives_its_place_to_another_thread() -> None:
    long: dict[Connection, Any] = {}
    pool = Pool(Connection, lambda connection: connection.is_open, 1, 5.0, long.__setitem__)
    busy = pool.take()
    with ThreadPoolExecutor(1) as thread:
        other = thread.submit(pool.take)
        wait_until(lambda: len(pool._waiting) == 1)
        long[busy]()
        second = other.result(5)
    long[busy]()  # in its next statement too
    pool.give_back(busy)
    assert (busy.is_open, second.is_open, pool._places) == (False, True, 0)
    pool.give_back(second)
    assert pool.take() is second


def test_many_threads_share_few_connections_and_all_finish() -> None:
    pool = make(size=2)
    at_once, most = 0, 0
    lock = threading.Lock()

    def visit(_: int) -> None:
        nonlocal at_once, most
        connection = pool.take()
        with lock:
            at_once += 1
            most = max(most, at_once)
        with lock:
            at_once -= 1
        pool.give_back(connection)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(visit, range(2000)))
    assert most <= 2 and pool._places == 2 and not pool._waiting


@pytest.mark.parametrize("at", ["BEGIN", "UPDATE", "COMMIT"])
def test_ctrl_c_inside_a_transaction_leaves_no_transaction_open_for_the_next_submit(
    huey: DurableHuey, make_huey: HueyFactory, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    dialect = type(huey.ledger.database.dialect)
    cursor_of: Any = dialect.cursor
    interrupts = [KeyboardInterrupt]

    class Interrupted:
        """A cursor that raises KeyboardInterrupt once, after the statement that `at` names."""

        def __init__(self, cursor: Any) -> None:
            self._cursor = cursor

        def execute(self, statement: str, *params: Any) -> None:
            self._cursor.execute(statement, *params)
            if statement.strip().startswith(at) and interrupts:
                raise interrupts.pop()

        def __getattr__(self, name: str) -> Any:
            return getattr(self._cursor, name)

    nothing = huey.task(name="nothing")(lambda: None)
    first = nothing()
    monkeypatch.setattr(dialect, "cursor", lambda _, connection: Interrupted(cursor_of(connection)))
    with pytest.raises(KeyboardInterrupt):
        first.cancel()
    second = nothing()
    assert make_huey().job(second.id).state == "queued"  # read through another connection
    assert not interrupts
