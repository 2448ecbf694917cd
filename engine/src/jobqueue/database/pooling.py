"""The way to Postgres: a direct connection, or a pooler such as PgBouncer in one of its modes.

A pooler in transaction mode gives each transaction any of its connections to the server. What a session sets would reach other
clients, LISTEN would hear nothing, and a prepared statement is known only if the pooler prepares it again where it is missing.
"""

import contextlib
from collections.abc import Callable
from enum import StrEnum
from typing import Any

import psycopg

ROUNDS = 3  # of questions; a pooler that deals its connections in turn shows itself in the second


class Pooling(StrEnum):
    """What a client may expect of its connection."""

    DIRECT = "direct"  # there is no pooler, or it hides well
    SESSION = "session"  # the connection to the server stays the same
    TRANSACTION = "transaction"  # it changes, and prepared statements are known on each
    UNPREPARED = "transaction-unprepared"  # it changes, and prepared statements are not known on the next

    @property
    def keeps_session(self) -> bool:
        """Return whether settings and LISTEN last until the connection is closed."""
        return self in (Pooling.DIRECT, Pooling.SESSION)


def find_pooling(one: psycopg.Connection[Any], connect: Callable[[], psycopg.Connection[Any]]) -> Pooling:
    """Find out what a new connection leads to. In an app's transactions behind a pooler, expect any of the server's processes.

    A direct connection is told the id of its server process at its start. A pooler tells an id of its own.

    :param one: a connection that has executed nothing yet, in autocommit.
    :param connect: opens another one.
    :raises psycopg.ProtocolViolation: for a pooler in statement mode, which allows no transactions.
    """
    if _server_process(one, prepare=False) == one.info.backend_pid:
        return Pooling.DIRECT
    one.execute("BEGIN")
    one.execute("ROLLBACK")
    with contextlib.closing(connect()) as other:
        try:
            seen = [(asked, _server_process(asked, prepare=True)) for asked in (one, one, other) * ROUNDS]
        except (psycopg.errors.DuplicatePreparedStatement, psycopg.errors.InvalidSqlStatementName):
            for connection in (one, other):  # they were prepared on connections of others
                connection.execute("DEALLOCATE ALL")
            return Pooling.UNPREPARED
    of_one = {process for connection, process in seen if connection is one}
    shared = of_one & {process for connection, process in seen if connection is other}
    return Pooling.TRANSACTION if shared or len(of_one) > 1 else Pooling.SESSION


def refuse_early_commits(connection: psycopg.Connection[Any]) -> None:
    """Raise OperationalError if a commit returns before it is on disk.

    Only a session can turn that off for its statements that commit by themselves, and behind a pooler it may not.
    """
    if connection.execute("SHOW synchronous_commit").fetchone() == ("off",):
        raise psycopg.OperationalError("synchronous_commit is off")


def _server_process(connection: psycopg.Connection[Any], *, prepare: bool) -> int:
    row = connection.execute("SELECT pg_backend_pid()", prepare=prepare).fetchone()
    assert row is not None
    return int(row[0])
