"""Postgres as the ledger's database: many writers, on many machines, and a network in between.

A network can fall silent, and a process can be stopped in the middle of a transaction. So nobody waits for ever: not a
client for the server's answer, not the server for a client that holds rows.
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

SILENCE = 10.0  # seconds without an answer, after which a connection counts as broken
CONNECT = 5  # seconds
HELD = 5  # seconds that a client may do nothing amid a transaction, and that another waits for the rows which it holds
STARVED = 60  # seconds that a migration may do nothing: on a busy machine it may have to wait for a processor
CONNECTIONS = 2  # of a process at most: the smallest hosted plans have 20 in all
MIGRATION_LOCK = 0x6A6F6271  # "jobq": whoever holds this advisory lock migrates
_NOW = "CAST(EXTRACT(EPOCH FROM statement_timestamp()) AS double precision)"

# For each session. An accepted job is kept, so a commit is on disk when it returns. A client that was stopped amid a
# transaction loses it, and with it the rows that it locked.
_SESSION = """
SELECT set_config('synchronous_commit', CASE setting WHEN 'off' THEN 'on' ELSE setting END, false),
       set_config('idle_in_transaction_session_timeout', %(held)s, false),
       set_config('lock_timeout', %(held)s, false)
FROM pg_settings WHERE name = 'synchronous_commit'
"""

# A connection on which nothing is said is known to be dead in half a minute.
_CONNECT: dict[str, Any] = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}

# How many there are to this server, and how many there may be.
_USED = """
SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS used,
       LEAST(CAST(current_setting('max_connections') AS integer)
             - CAST(current_setting('superuser_reserved_connections') AS integer),
             CASE WHEN rolconnlimit >= 0 THEN rolconnlimit END) AS most
FROM pg_roles WHERE rolname = current_user
"""

# The last three are "internal errors" to the driver: a standby, and a transaction that the server took back.
_AT_FAULT = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,
    psycopg.errors.IdleInTransactionSessionTimeout,
    psycopg.errors.TransactionTimeout,
)


class Connection(psycopg.Connection[Any]):
    """Waits for an answer only so long; whoever waited then closes it."""

    patient = False

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        return super().wait(gen, interval, SILENCE if timeout is None and not self.patient else timeout)


class Postgres:
    """How the ledger's statements are put to Postgres, and what its errors mean."""

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
        self.pool_timeout = (
            SILENCE  # a thread that waits for another's connection waits no longer than it would with one
        )

    @staticmethod
    @functools.cache
    def compile(sql: str) -> str:
        sql = re.sub(r"\bNOW\b", _NOW, sql.replace("%", "%%"))
        # In a sub-select, as the planner would otherwise think that each length of the list deserves a plan of its own.
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
        return params

    def connect(self) -> Connection:
        """One connection, outside of any pool."""
        told = self.url.translate_connect_args(username="user", database="dbname")
        arguments: dict[str, Any] = {"connect_timeout": CONNECT, **_CONNECT, **told, **self.url.query}
        try:
            connection = Connection.connect(autocommit=True, **arguments)
        except psycopg.ProgrammingError as error:  # an option in the URL that Postgres does not know
            raise psycopg.OperationalError(str(error)) from error
        try:
            connection.prepare_threshold = 0  # a process has few statements, and is asked for them again and again
            connection.execute(_SESSION, {"held": f"{HELD}s"})
        except BaseException:
            connection.close()
            raise
        return connection

    @staticmethod
    def cursor(connection: Any) -> Any:
        return connection.cursor(row_factory=dict_row)

    @staticmethod
    def usable(connection: Connection) -> bool:
        """One that has something to read says that the server closed it."""
        if connection.closed:
            return False
        looks = select.poll()
        looks.register(connection.fileno(), select.POLLIN)
        return not looks.poll(0)

    def has_database(self) -> bool:
        return True

    @contextmanager
    def migrating(self) -> Iterator[sa.Connection]:
        """A transaction in which nobody else migrates, begun and committed in words."""
        engine = sa.create_engine(
            self.url,
            creator=self.connect,
            isolation_level="AUTOCOMMIT",
            poolclass=sa.NullPool,
            use_native_hstore=False,  # else each process asks for it once
        )
        with engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            driver.patient = True  # others may be at it, and a large table takes its time
            connection.exec_driver_sql("BEGIN")
            connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
            connection.exec_driver_sql(f"SET LOCAL idle_in_transaction_session_timeout = '{STARVED}s'")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
            yield connection
            connection.exec_driver_sql("COMMIT")

    @staticmethod
    def at_fault(error: BaseException) -> bool:
        """Whether the database is at fault, not a statement or a value."""
        return isinstance(error, _AT_FAULT) and not isinstance(error, psycopg.errors.ProgramLimitExceeded)
