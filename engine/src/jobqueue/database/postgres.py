"""Postgres as the ledger's database: many writers on many machines, over a network.

A network connection can go silent, and a process can stop in the middle of a transaction. So every wait has a limit: a client
waits SILENCE seconds for an answer, and the server waits HELD seconds for a client that holds locks.
"""

import functools
import re
import select
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.rows import dict_row

from jobqueue.database import patience

SILENCE = 10.0  # seconds without an answer after which a connection counts as broken
CONNECT = 5  # seconds to open a connection
HELD = 5  # seconds that a client may be idle inside a transaction, and that another waits for its row locks
STARVED = 60  # seconds that a migration may be idle: on a busy machine it may wait that long for a processor
CONNECTIONS = 2  # most connections of a process; the smallest hosted plans allow 20 in all
MIGRATION_LOCK = 0x6A6F6271  # "jobq": the advisory lock of the process that migrates
_NOW = "CAST(EXTRACT(EPOCH FROM statement_timestamp()) AS double precision)"

# Settings of each session. An accepted job is never lost, so a commit returns only when it is on disk. The server rolls back the
# transaction of a stopped client and so frees the rows that it locked.
_SESSION = """
SELECT set_config('synchronous_commit', CASE setting WHEN 'off' THEN 'on' ELSE setting END, false),
       set_config('idle_in_transaction_session_timeout', %(held)s, false),
       set_config('lock_timeout', %(held)s, false)
FROM pg_settings WHERE name = 'synchronous_commit'
"""

# Detect a dead idle connection within half a minute.
_CONNECT: dict[str, Any] = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}

# Count the connections to this server, and the most that this role may open.
_USED = """
SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS used,
       LEAST(CAST(current_setting('max_connections') AS integer)
             - CAST(current_setting('superuser_reserved_connections') AS integer),
             CASE WHEN rolconnlimit >= 0 THEN rolconnlimit END) AS most
FROM pg_roles WHERE rolname = current_user
"""

# The driver calls the last three internal errors: a read-only standby, and a transaction that the server rolled back.
_AT_FAULT = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,
    psycopg.errors.IdleInTransactionSessionTimeout,
    psycopg.errors.TransactionTimeout,
)


class Connection(psycopg.Connection[Any]):
    """A connection that raises if the server is silent for SILENCE seconds, or fewer in a request. The caller then closes it."""

    patient = False  # whether to wait without a limit

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """Wait for the server's answer, at most SILENCE seconds."""
        silence = patience.at_most(SILENCE)
        return super().wait(gen, interval, silence if timeout is None and not self.patient else timeout)


class Postgres:
    """The Postgres dialect: SQL translation, connections, and the meaning of errors."""

    begin = "BEGIN"
    connections = _USED
    pool_size = CONNECTIONS
    one_writer = False
    errors: tuple[type[Exception], ...] = (psycopg.Error,)
    taken: type[Exception] = psycopg.errors.UniqueViolation
    no_table: type[Exception] = psycopg.errors.UndefinedTable
    path: Path | None = None

    def __init__(self, url: sa.URL) -> None:
        self.url = url.set(drivername="postgresql+psycopg")
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

    def connect(self) -> Connection:
        """Open a connection outside any pool."""
        from_url = self.url.translate_connect_args(username="user", database="dbname")
        timeout = max(2, int(patience.at_most(CONNECT)))  # the driver takes whole seconds, and no fewer than two
        arguments: dict[str, Any] = {"connect_timeout": timeout, **_CONNECT, **from_url, **self.url.query}
        try:
            connection = Connection.connect(autocommit=True, **arguments)
        except psycopg.ProgrammingError as error:  # an unknown option in the URL
            raise psycopg.OperationalError(str(error)) from error
        try:
            connection.prepare_threshold = 0  # prepare at once: a process repeats a small set of statements
            connection.execute(_SESSION, {"held": f"{HELD}s"})
        except BaseException:
            connection.close()
            raise
        return connection

    @staticmethod
    def cursor(connection: Any) -> Any:
        """Return a cursor whose rows are dicts."""
        return connection.cursor(row_factory=dict_row)

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
            self.url,
            creator=self.connect,
            isolation_level="AUTOCOMMIT",
            poolclass=sa.NullPool,
            use_native_hstore=False,  # saves a query in each process
        )
        with engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            driver.patient = True  # another process may hold the lock, and migrating a large table takes long
            connection.exec_driver_sql("BEGIN")
            connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
            connection.exec_driver_sql(f"SET LOCAL idle_in_transaction_session_timeout = '{STARVED}s'")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
            yield connection
            connection.exec_driver_sql("COMMIT")

    @staticmethod
    def at_fault(error: BaseException) -> bool:
        """Return whether the database caused the error, rather than a wrong statement or value."""
        return isinstance(error, _AT_FAULT) and not isinstance(error, psycopg.errors.ProgramLimitExceeded)
