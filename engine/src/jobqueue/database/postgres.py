"""Postgres as the ledger's database: many writers on many machines, over a network.

A network connection can go silent, and a process can stop in the middle of a transaction. So every wait has a limit. A client
waits for as long as data moves in either direction, however large a value is and however slow the link, but no longer than
SILENCE seconds without. The server waits HELD seconds for a client that holds locks.
"""

import fcntl
import functools
import logging
import math
import re
import select
import struct
import termios
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row

from jobqueue.database import patience
from jobqueue.database.pooling import UNKNOWN, Pooling, find_pooling, refuse_early_commits

logger = logging.getLogger("jobqueue.database")

SILENCE = 10.0  # seconds in which no data moves after which a connection counts as broken
GONE = 15  # seconds after which the system gives up a connection whose peer does not even acknowledge
TRANSFER = 1.0  # seconds of moving data after which other threads may open one connection more
CONNECT = 5  # seconds to open a connection
HELD = 5  # seconds that a client may be idle inside a transaction, and that another waits for its row locks
LARGE = 50_000  # bytes of a statement that may take longer than HELD seconds to arrive
SLOWEST = 10_000  # bytes a second: a large statement gets the time that it takes at this speed
STARVED = 60  # seconds that a migration may be idle: on a busy machine it may wait that long for a processor
CONNECTIONS = 2  # most connections of a process, but for long transfers; the smallest hosted plans allow 20 in all
MIGRATION_LOCK = 0x6A6F6271  # "jobq": the advisory lock of the process that migrates
_NOW = "CAST(EXTRACT(EPOCH FROM statement_timestamp()) AS double precision)"

# Settings of each session. An accepted job is never lost, so a commit returns only when it is on disk. The server rolls back the
# transaction of a stopped client, or of one that is gone while it is sent something, and so frees the rows that it locked.
_SESSION = """
SELECT set_config('synchronous_commit', CASE setting WHEN 'off' THEN 'on' ELSE setting END, false),
       set_config('idle_in_transaction_session_timeout', %(held)s, false),
       set_config('lock_timeout', %(held)s, false),
       set_config('tcp_user_timeout', %(gone)s, false)
FROM pg_settings WHERE name = 'synchronous_commit'
"""

# The same for a transaction behind a pooler that gives the connection to another client after it.
_LOCAL = "SET LOCAL idle_in_transaction_session_timeout = '{held}s'; SET LOCAL lock_timeout = '{held}s'"

# The server counts a client as idle until the whole of its next statement has arrived.
_IDLE = "SET LOCAL idle_in_transaction_session_timeout = '{seconds}s'"

# Count the connections to this server and the most that it accepts; or those of this role, if it may open fewer.
_USED = """
SELECT CASE WHEN rolconnlimit BETWEEN 0 AND server.most
            THEN (SELECT count(*) FROM pg_stat_activity WHERE usename = current_user AND backend_type = 'client backend')
            ELSE (SELECT sum(numbackends) FROM pg_stat_database) END AS used,
       LEAST(server.most, CASE WHEN rolconnlimit >= 0 THEN rolconnlimit END) AS most
FROM pg_roles, (SELECT CAST(current_setting('max_connections') AS integer)
                       - CAST(current_setting('superuser_reserved_connections') AS integer)
                       - CAST(COALESCE(current_setting('reserved_connections', true), '0') AS integer) AS most) AS server
WHERE rolname = current_user
"""

# The driver gives other classes to a read-only standby, a transaction that the server rolled back, a right that the role lacks,
# and a pooler that changes the server's session under the driver.
_AT_FAULT = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,
    psycopg.errors.IdleInTransactionSessionTimeout,
    psycopg.errors.TransactionTimeout,
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.InvalidSchemaName,
    *UNKNOWN,
)


class Connection(psycopg.Connection[Any]):
    """A connection that raises if no data moves for SILENCE seconds, or fewer in a request. The caller then closes it."""

    patient = False  # whether to wait without a limit
    on_transfer: Callable[[], object] | None = None  # called when a statement has moved data for TRANSFER seconds

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """Wait for the server's answer for as long as data moves, and SILENCE seconds more."""
        if timeout is None and not self.patient:
            gen = _unless_silent(gen, self.fileno(), self.on_transfer)
        return super().wait(gen, interval, timeout)


def _unless_silent(
    waits: Generator[Any, Any, Any], socket: int, on_transfer: Callable[[], object] | None
) -> Generator[Any, Any, Any]:
    """Pass on the driver's waits. Raise OperationalError if no data moves for SILENCE seconds.

    The socket is ready when data has arrived or when there is room to send more. In between, data moves as long as the number of
    bytes changes that the peer has not acknowledged.
    """
    silence = patience.at_most(SILENCE)
    moved_at, unsent, moves_since = time.monotonic(), 0, math.inf
    try:
        wait = next(waits)
        while True:
            ready = yield wait
            now, before, unsent = time.monotonic(), unsent, 0 if ready else _unacknowledged(socket)
            if ready or unsent != before:
                moved_at, moves_since = now, min(moves_since, now)
                if on_transfer is not None and now > moves_since + TRANSFER:
                    on_transfer()
                    on_transfer = None
            elif now >= moved_at + silence:
                raise psycopg.OperationalError(f"the server has been silent for {silence:g} s")
            wait = waits.send(ready)
    except StopIteration as end:
        return end.value


def _unacknowledged(socket: int) -> int:
    """Return the number of bytes that wait to be sent, or were sent without an acknowledgement."""
    try:
        (count,) = struct.unpack("i", fcntl.ioctl(socket, termios.TIOCOUTQ, bytes(4)))
    except OSError:  # not every system tells
        return 0
    return int(count)


def _limits() -> dict[str, int]:
    """Return the driver's options for a peer that is gone: it acknowledges no data, and no keepalive on an idle connection."""
    probes = max(1, GONE // 3)
    return {
        "keepalives_idle": probes,
        "keepalives_interval": probes,
        "keepalives_count": 2,
        "tcp_user_timeout": GONE * 1000,
    }


class Postgres:
    """The Postgres dialect: SQL translation, connections, and the meaning of errors."""

    pool_size = CONNECTIONS
    one_writer = False
    errors: tuple[type[Exception], ...] = (psycopg.Error,)
    taken: type[Exception] = psycopg.errors.UniqueViolation
    no_table: type[Exception] = psycopg.errors.UndefinedTable
    path: Path | None = None

    def __init__(self, url: sa.URL, pooling: Pooling | None = None, direct: sa.URL | None = None) -> None:
        self.url = url.set(drivername="postgresql+psycopg")
        self.pooling = pooling  # None until the first connection finds out
        self.direct = self if direct is None else Postgres(direct)
        self.pool_timeout = SILENCE  # waiting for a connection takes no longer than waiting for an answer

    @staticmethod
    @functools.cache
    def compile(sql: str) -> str:
        """Return the statement in Postgres' SQL, with the driver's parameters."""
        sql = re.sub(r"\bNOW\b", _NOW, sql.replace("%", "%%"))
        # The sub-select hides the list's length from the planner, which would otherwise plan anew for each length.
        sql = re.sub(
            r"(FROM|JOIN) EACH\(:(\w+)\) AS (\w+)", r"\1 unnest((SELECT CAST(:\2 AS text[]))) AS \3 (value)", sql
        )
        sql = re.sub(r"\bIN EACH\(:(\w+)\)", r"= ANY(CAST(:\1 AS text[]))", sql)
        sql = re.sub(r"LEFT OUT\(:(\w+)\)", r"CAST(:\1 AS text[]) IS NULL", sql)
        sql = re.sub(r"PLACE\((\w+), :(\w+)\)", r"COALESCE(array_position(CAST(:\2 AS text[]), \1), 0)", sql)
        sql = re.sub(r"QUOTED\((:\w+)\)", r"CAST(to_json(CAST(\1 AS text)) AS text)", sql)
        sql = re.sub(r"LAST\((\w+), (\d+)\)", r"right(\1, \2)", sql)
        return re.sub(r":(\w+)", r"%(\1)s", sql)

    @staticmethod
    def bind(params: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters in the types that the driver takes."""
        return params

    @property
    def connections(self) -> str:
        """Return a statement that counts connections. Behind a pooler its connections count, which it opens and limits itself."""
        return _USED if self.pooling in (None, Pooling.DIRECT) else ""

    @property
    def keeps_session(self) -> bool:
        """Return whether a connection keeps its settings and its LISTEN. True while nothing is known."""
        return self.pooling is None or self.pooling.keeps_session

    def begin(self, cursor: Any) -> None:
        """Begin a transaction."""
        cursor.execute("BEGIN")
        if not self.keeps_session:
            cursor.connection.execute(_LOCAL.format(held=HELD), prepare=False)

    def connect(self) -> Connection:
        """Open a connection outside the pool of this process."""
        connection = self._open()
        try:
            if self.pooling is None:
                self.pooling = find_pooling(connection, self._open)
            # If at all, prepare at once: a process repeats a small set of statements.
            connection.prepare_threshold = None if self.pooling is Pooling.UNPREPARED else 0
            if self.keeps_session:
                connection.execute(_SESSION, {"held": f"{HELD}s", "gone": f"{GONE}s"})
            else:
                refuse_early_commits(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _open(self) -> Connection:
        from_url = self.url.translate_connect_args(username="user", database="dbname")
        timeout = max(2, int(patience.at_most(CONNECT)))  # the driver takes whole seconds, and no fewer than two
        arguments: dict[str, Any] = {"connect_timeout": timeout, **_limits(), **from_url, **self.url.query}
        try:
            return Connection.connect(autocommit=True, **arguments)
        except psycopg.ProgrammingError:  # its message quotes the option, which may be a part of a password
            raise psycopg.OperationalError(
                "libpq does not know an option of the URL, or refuses its value. Check the part of the URL after the question mark."
            ) from None

    @staticmethod
    def watch(connection: Connection, on_transfer: Callable[[], object]) -> None:
        """Have `on_transfer` called when a statement moves data for more than TRANSFER seconds."""
        connection.on_transfer = on_transfer

    @staticmethod
    def cursor(connection: Any) -> Any:
        """Return a cursor whose rows are dicts. Binary, because a value of bytes takes twice as many as text."""
        return connection.cursor(binary=True, row_factory=dict_row)

    @staticmethod
    @contextmanager
    def sending(cursor: Any, size: int) -> Iterator[None]:
        """Execute a statement of this size in the block. In a transaction, the server waits for as long as a large one takes."""
        if size < LARGE or cursor.connection.info.transaction_status != TransactionStatus.INTRANS:
            yield
            return
        cursor.connection.execute(_IDLE.format(seconds=HELD + size // SLOWEST))
        yield
        cursor.connection.execute(_IDLE.format(seconds=HELD))

    @staticmethod
    def usable(connection: Connection) -> bool:
        """Return whether an idle connection works. An idle connection with data to read was closed by the server."""
        if connection.closed:
            return False
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN)
        return not poll.poll(0)

    def has_database(self) -> bool:
        """Return whether the database exists. A Postgres database does."""
        return True

    @contextmanager
    def migrating(self) -> Iterator[sa.Connection]:
        """Open a transaction that holds the migration lock. Commit it at the end of the block."""
        engine = sa.create_engine(
            "postgresql+psycopg://",  # the engine prints its URL
            creator=self.direct.connect,
            isolation_level="AUTOCOMMIT",
            poolclass=sa.NullPool,
            use_native_hstore=False,  # saves a query in each process
        )
        with engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            driver.patient = True  # another process may hold the lock, and migrating a large table takes long
            connection.exec_driver_sql("BEGIN")
            connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")  # hosts may set one
            connection.exec_driver_sql(_IDLE.format(seconds=STARVED))
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
            yield connection
            connection.exec_driver_sql("COMMIT")

    def at_fault(self, error: BaseException) -> bool:
        """Return whether the database caused the error, rather than a wrong statement or value.

        After an error about a prepared statement, connections prepare none: this pooler was mistaken for another, or replaced by one.
        """
        if isinstance(error, UNKNOWN) and self.pooling is not Pooling.UNPREPARED:
            logger.warning(
                "The pooler changes the connection between two statements, so from now on none is prepared: %s", error
            )
            self.pooling = Pooling.UNPREPARED
        return isinstance(error, _AT_FAULT) and not isinstance(error, psycopg.errors.ProgramLimitExceeded)
