"""The way to Postgres: a direct connection, or a pooler such as PgBouncer in one of its modes.

A pooler in transaction mode gives each transaction any of its connections to the server. What a session sets would reach other
clients, LISTEN would hear nothing, and a prepared statement is known only if the pooler prepares it again where it is missing.
"""

import contextlib
import secrets
from collections.abc import Callable
from enum import StrEnum
from typing import Any

import psycopg

ROUNDS = 5  # of questions; a pooler that deals its connections in turn shows itself in the second
OF_DRIVER = "_pg3_"  # names of its prepared statements. A pooler that knows them gives them names of its own
PREPARED = "SELECT name FROM pg_prepared_statements WHERE statement LIKE %s"
UNKNOWN = (psycopg.errors.DuplicatePreparedStatement, psycopg.errors.InvalidSqlStatementName)  # of a prepared statement


class Pooling(StrEnum):
    """The kinds of connection that a client may have."""

    DIRECT = "direct"  # there is no pooler, or it hides well
    SESSION = "session"  # the connection to the server stays the same
    TRANSACTION = "transaction"  # it changes, and prepared statements are known on each
    UNPREPARED = "transaction-unprepared"  # it changes, and prepared statements are not known on the next

    @property
    def keeps_session(self) -> bool:
        """Return whether settings and LISTEN last until the connection is closed."""
        return self in (Pooling.DIRECT, Pooling.SESSION)


def find_pooling(connection: psycopg.Connection[Any], connect: Callable[[], psycopg.Connection[Any]]) -> Pooling:
    """Find out what a new connection leads to.

    A direct connection is told the id of its server process at its start. A pooler tells an id of its own.

    :param connection: one that has executed nothing yet, in autocommit.
    :param connect: opens another one.
    :raises psycopg.ProtocolViolation: for a pooler in statement mode, which allows no transactions.
    """
    if connection.execute("SELECT pg_backend_pid()").fetchone() == (connection.info.backend_pid,):
        return Pooling.DIRECT
    with connection.transaction():  # statement pooling refuses it
        pass
    with contextlib.closing(connect()) as other:
        try:
            return _find_pooler(_Client(connection), _Client(other))
        except UNKNOWN:
            for asked in (connection, other):  # they were prepared on connections that others use too
                asked.execute("DEALLOCATE ALL")
            return Pooling.UNPREPARED


class _Client:
    """A client of a pooler, which asks for its server process by a prepared statement."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        self.mark = secrets.token_hex(8)  # in the statement, because other clients prepare others under the same name
        self.met: list[int] = []  # server processes; the statement was prepared in the first

    def ask(self) -> None:
        row = self.connection.execute(f"SELECT pg_backend_pid(), '{self.mark}'", prepare=True).fetchone()
        if row is None or row[1] != self.mark:
            raise psycopg.errors.InvalidSqlStatementName("the prepared statement is another client's")
        self.met.append(row[0])

    @property
    def moves(self) -> bool:
        """Return whether its statement was known in a process other than that in which it was prepared."""
        return len(set(self.met)) > 1


def _find_pooler(one: _Client, other: _Client) -> Pooling:
    for client in (one, one, other) * ROUNDS:
        client.ask()
    if not one.moves and not other.moves:
        if one.met[0] != other.met[0]:
            return Pooling.SESSION
        found = other.connection.execute(PREPARED, [f"%{one.mark}%"], prepare=False).fetchall()
        renamed = [name for (name,) in found if not name.startswith(OF_DRIVER)]
        return Pooling.TRANSACTION if renamed else Pooling.UNPREPARED
    return Pooling.TRANSACTION


def refuse_early_commits(connection: psycopg.Connection[Any]) -> None:
    """Raise OperationalError if a commit returns before it is on disk.

    Only a session can turn that off for its statements that commit by themselves, and behind a pooler it may not.
    """
    if connection.execute("SHOW synchronous_commit").fetchone() == ("off",):
        raise psycopg.OperationalError("synchronous_commit is off")
