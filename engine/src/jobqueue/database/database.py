"""Connections to the ledger's database: one pool per process, opened at first use and never carried over a fork.

Statements on a job's path go straight through the driver. They are written once, with `:name` parameters, `NOW` for
the database's own clock (seconds since the epoch, the only clock that the ledger knows), and `IN EACH(:name)` or
`FROM EACH(:name) AS known` for a list, and a few words more; `sqlite.py` and `postgres.py` say how each database has them.
"""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa

from jobqueue import interrupts
from jobqueue.database.pool import AllInUse, Pool

logger = logging.getLogger("jobqueue.database")

MEMORY = "sqlite://"
Row = Mapping[str, Any]


class DatabaseUnavailable(Exception):
    """The database did not answer, or broke off: trying again later may help."""


class Dialect(Protocol):
    """What differs between databases."""

    url: sa.URL
    path: Path | None  # the SQLite file, where there is one
    begin: str
    connections: str  # a statement that counts them, where they are limited: `used`, and the `most` there may be
    pool_size: int  # connections of a process
    pool_timeout: float  # seconds that a thread waits for another's connection
    one_writer: bool  # a statement that might write waits for all that do
    errors: tuple[type[Exception], ...]
    taken: type[Exception]  # what a unique index refused
    no_table: type[Exception]  # among others: what is asked for is not there

    def compile(self, sql: str) -> str: ...
    def bind(self, params: dict[str, Any]) -> dict[str, Any]: ...
    def connect(self) -> Any: ...
    def usable(self, connection: Any) -> bool: ...
    def cursor(self, connection: Any) -> Any: ...
    def has_database(self) -> bool: ...
    def migrating(self) -> contextlib.AbstractContextManager[sa.Connection]: ...
    def at_fault(self, error: BaseException) -> bool: ...


class Transaction:
    """Statements that are committed together, or one that commits by itself."""

    def __init__(self, dialect: Dialect, cursor: Any) -> None:
        self._dialect = dialect
        self._cursor = cursor

    def one(self, sql: str, **params: Any) -> Row | None:
        rows = self.all(sql, **params)  # a statement with RETURNING is only done when it has been read to its end
        return rows[0] if rows else None

    def all(self, sql: str, **params: Any) -> list[Row]:
        self._execute(sql, params)
        rows: list[Row] = self._cursor.fetchall()
        return rows

    def run(self, sql: str, **params: Any) -> int:
        """Returns the number of rows that the statement changed."""
        self._execute(sql, params)
        return int(self._cursor.rowcount)

    def run_each(self, sql: str, rows: Sequence[dict[str, Any]]) -> None:
        """Execute the statement for each of these parameters, if there are any, in one go to the server and back."""
        if not rows:
            return
        self._cursor.executemany(self._dialect.compile(sql), [self._dialect.bind(params) for params in rows])

    def _execute(self, sql: str, params: dict[str, Any]) -> None:
        self._cursor.execute(self._dialect.compile(sql), self._dialect.bind(params))


class Database:
    """The ledger's database by its URL; `sqlite://` is one in memory, for immediate mode. Raises ValueError for others."""

    def __init__(self, url: str) -> None:
        self._dialect = dialect_of(url)
        self._pool: Pool | None = None
        self._pid = os.getpid()
        self._opening = threading.Lock()
        self._failed: tuple[float, Exception] | None = None  # when it last could not be opened, by time.monotonic()
        self._memory_lock = threading.RLock() if self.in_memory else contextlib.nullcontext()

    @property
    def url(self) -> sa.URL:
        return self._dialect.url

    @property
    def dialect(self) -> Dialect:
        return self._dialect

    @property
    def _errors(self) -> tuple[type[Exception], ...]:
        return (*self._dialect.errors, sa.exc.SQLAlchemyError, OSError, AllInUse)

    @property
    def in_memory(self) -> bool:
        return self.url.get_backend_name() == "sqlite" and self.path is None

    @property
    def path(self) -> Path | None:
        """The SQLite file, where there is one."""
        return self._dialect.path

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Commit all or nothing.

        Raises DatabaseUnavailable; interrupts wait until it is over.
        """
        with self._cursor() as cursor:
            try:
                cursor.execute(self._dialect.begin)
                yield Transaction(self._dialect, cursor)
            except BaseException:
                with contextlib.suppress(*self._dialect.errors):
                    cursor.execute("ROLLBACK")
                raise
            cursor.execute("COMMIT")

    @contextlib.contextmanager
    def statement(self) -> Iterator[Transaction]:
        """For a single statement, which commits by itself."""
        with self._cursor() as cursor:
            yield Transaction(self._dialect, cursor)

    @contextlib.contextmanager
    def _cursor(self) -> Iterator[Any]:
        with interrupts.deferred(), self._memory_lock:
            connection = None
            try:
                pool = self._open()
                connection = pool.take()
                cursor = self._dialect.cursor(connection)
                try:
                    yield cursor
                finally:
                    cursor.close()
            except self._errors as error:
                if connection is not None and not self.in_memory:
                    pool.drop(connection)
                    connection = None
                self._tell(error)
                raise
            except BaseException as error:
                if connection is not None and not isinstance(error, Exception):  # Ctrl-C: it may be amid a transaction
                    if self.in_memory:
                        connection.rollback()
                    else:
                        pool.drop(connection)
                        connection = None
                raise
            finally:
                if connection is not None:
                    pool.give_back(connection)

    def connect(self, *statements: str) -> Any:
        """A driver's connection outside of the pool, on which these were executed; the caller closes it.

        It commits each statement. Raises DatabaseUnavailable.
        """
        try:
            connection = self._dialect.connect()
            try:
                for statement in statements:
                    connection.execute(statement)
            except BaseException:
                connection.close()
                raise
            return connection
        except self._errors as error:
            self._tell(error)
            raise

    def _open(self) -> Pool:
        pool = self._pool
        if pool is not None and self._pid == os.getpid():
            return pool
        asked = time.monotonic()
        with self._opening:
            if self._failed is not None and self._failed[0] > asked:  # to others, while this one waited for them
                raise self._failed[1]
            if self._pid != os.getpid():
                self._pool = None  # its connections are the parent's
            if self._pool is None:
                self._pid = os.getpid()
                dialect = self._dialect
                pool = Pool(dialect.connect, dialect.usable, dialect.pool_size, dialect.pool_timeout)
                try:
                    self._migrate(pool)
                except BaseException as error:
                    pool.close()
                    if isinstance(error, Exception):
                        self._failed = time.monotonic(), error
                    raise
                self._failed = None
                self._pool = pool
            return self._pool

    def _migrate(self, pool: Pool) -> None:
        """Bring the schema to head, if it is not: once, whoever else starts at the same moment."""
        from jobqueue.database import migrations

        if self._dialect.has_database() and self._version(pool) == migrations.HEAD:
            return
        with self._dialect.migrating() as connection:
            if migrations.version(connection) != migrations.HEAD:
                migrations.upgrade(connection)

    def _version(self, pool: Pool) -> str | None:
        """The schema's revision, asked without Alembic; None where there is none."""
        connection = pool.take()
        try:
            cursor = self._dialect.cursor(connection)
            cursor.execute("SELECT version_num FROM alembic_version")
            rows = cursor.fetchall()
        except BaseException as error:
            pool.drop(connection)
            if isinstance(error, self._dialect.no_table):
                return None
            raise
        pool.give_back(connection)
        return rows[0]["version_num"] if rows else None

    def migrate(self) -> None:
        """Make the database ready now, rather than at its first use. Raises DatabaseUnavailable."""
        with interrupts.deferred():
            try:
                self._open()
            except self._errors as error:
                self._tell(error)
                raise

    def _tell(self, error: Exception) -> None:
        """Raises DatabaseUnavailable where the database is at fault, not a statement or a value."""
        cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        if cause is not None and (isinstance(cause, OSError | AllInUse) or self._dialect.at_fault(cause)):
            raise DatabaseUnavailable(f"{self.url.render_as_string(hide_password=True)}: {cause}") from error

    def close(self) -> None:
        """Close every connection of this process; the next statement opens one again. Due before every fork."""
        with self._opening:
            if self._pool is not None and not self.in_memory:
                if self._pid == os.getpid():
                    self._pool.close()
                self._pool = None


def dialect_of(url: str) -> Dialect:
    """The dialect of a database's URL, in any form that hosts hand out. Raises ValueError, without the password."""
    try:
        parsed = sa.make_url(_with_plain_at_signs(url))
    except (sa.exc.ArgumentError, ValueError):
        raise ValueError(f"database_url cannot be read as a URL. {_FORMS}") from None
    if parsed.get_backend_name() == "sqlite":
        from jobqueue.database.sqlite import SQLite

        return SQLite(parsed)
    if parsed.drivername in ("postgres", "postgresql", "postgresql+psycopg"):
        from jobqueue.database.postgres import Postgres

        return Postgres(parsed)
    raise ValueError(f"database_url is {parsed.render_as_string(hide_password=True)!r}. {_FORMS}")


_FORMS = "SQLite and Postgres are supported: sqlite:////abs/path.sqlite or postgresql://user:password@host/name"


def _with_plain_at_signs(url: str) -> str:
    """A password may hold an @ as it is: the last one before the path ends it."""
    scheme, separator, rest = url.partition("://")
    address, question, query = rest.partition("?")
    user, at, host = address.rpartition("@")
    return f"{scheme}{separator}{user.replace('@', '%40')}{at}{host}{question}{query}"


def storable(text: str) -> str:
    """Text that any database takes: file names may carry bytes that are no characters, and Postgres has no NUL."""
    return str(text).encode("utf-8", "replace").decode().replace("\0", "?")
