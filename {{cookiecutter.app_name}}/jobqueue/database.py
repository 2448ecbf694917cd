"""Connections to the ledger's database: one pool per process, opened at first use and never carried over a fork.

Statements on a job's path go straight through the driver. They are written once, with `:name` parameters, and `NOW` for
the database's own clock: seconds since the epoch, the only clock that the ledger knows.
"""

import contextlib
import fcntl
import functools
import logging
import os
import re
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from jobqueue import interrupts

logger = logging.getLogger("jobqueue.database")

BUSY_TIMEOUT = 10  # seconds that a statement waits for another writer of the SQLite file
MEMORY = "sqlite://"

Row = Mapping[str, Any]


class DatabaseUnavailable(Exception):
    """The database did not answer, or broke off: trying again later may help."""


class Transaction:
    """Statements that are committed together, or one that commits by itself."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def one(self, sql: str, **params: Any) -> Row | None:
        self._cursor.execute(_compile(sql), params)
        row: Row | None = self._cursor.fetchone()
        self._cursor.fetchall()  # a statement with RETURNING is only done when it has been read to its end
        return row

    def all(self, sql: str, **params: Any) -> list[Row]:
        self._cursor.execute(_compile(sql), params)
        rows: list[Row] = self._cursor.fetchall()
        return rows

    def run(self, sql: str, **params: Any) -> int:
        """Returns the number of rows that the statement changed."""
        self._cursor.execute(_compile(sql), params)
        return int(self._cursor.rowcount)


class Database:
    """The ledger's database by its URL; `sqlite://` is one in memory, for immediate mode."""

    def __init__(self, url: str) -> None:
        self.url = sa.make_url(url)
        if self.url.get_backend_name() != "sqlite":
            raise ValueError(
                f"database_url is {self.url.render_as_string(hide_password=True)!r}: only SQLite is supported so far, "
                "for example sqlite:////home/me/app/var/jobs.sqlite"
            )
        if not self.in_memory:  # a task may change the working directory
            self.url = self.url.set(database=str(Path(str(self.url.database)).absolute()))
        self._engine: sa.Engine | None = None
        self._pid = os.getpid()
        self._opening = threading.Lock()
        self._memory_lock = threading.RLock() if self.in_memory else contextlib.nullcontext()

    @property
    def in_memory(self) -> bool:
        return self.url.database in (None, "", ":memory:")

    @property
    def path(self) -> Path | None:
        """The SQLite file, where there is one."""
        return None if self.in_memory else Path(str(self.url.database))

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Take the write lock, then commit all or nothing.

        Raises DatabaseUnavailable; interrupts wait until it is over.
        """
        with self._cursor() as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            try:
                yield Transaction(cursor)
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    cursor.execute("ROLLBACK")
                raise
            cursor.execute("COMMIT")

    @contextlib.contextmanager
    def statement(self) -> Iterator[Transaction]:
        """For a single statement, which commits by itself."""
        with self._cursor() as cursor:
            yield Transaction(cursor)

    @contextlib.contextmanager
    def _cursor(self) -> Iterator[Any]:
        with interrupts.deferred(), self._memory_lock:
            connection = None
            try:
                connection = self._open().raw_connection()
                cursor = connection.cursor()
                try:
                    yield cursor
                finally:
                    cursor.close()
            except (sqlite3.Error, sa.exc.SQLAlchemyError, OSError) as error:
                if connection is not None and not self.in_memory:
                    connection.invalidate()
                self._tell(error)
                raise
            finally:
                if connection is not None:
                    connection.close()

    def _open(self) -> sa.Engine:
        with self._opening:
            if self._engine is not None and self._pid != os.getpid():
                self._engine.dispose(close=False)  # they are the parent's
                self._engine = None
            if self._engine is None:
                self._pid = os.getpid()
                engine = _create_engine(self.url, self.in_memory)
                self._migrate(engine)
                self._engine = engine
            return self._engine

    def _migrate(self, engine: sa.Engine) -> None:
        """Bring the schema to head, if it is not: once, whoever else starts at the same moment."""
        from jobqueue import migrations

        path = self.path
        if path is None:
            migrations.upgrade(engine)
            return
        if path.exists() and migrations.version(engine) == migrations.HEAD:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path.with_name(path.name + ".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            if migrations.version(engine) != migrations.HEAD:
                migrations.upgrade(engine)

    def migrate(self) -> None:
        """Make the database ready now, rather than at its first use. Raises DatabaseUnavailable."""
        with interrupts.deferred():
            try:
                self._open()
            except (sqlite3.Error, sa.exc.SQLAlchemyError, OSError) as error:
                self._tell(error)
                raise

    def _tell(self, error: Exception) -> None:
        """Raises DatabaseUnavailable where the database is at fault, not a statement or a value."""
        cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        at_fault = isinstance(cause, sqlite3.OperationalError | sqlite3.InterfaceError | sa.exc.TimeoutError | OSError)
        if at_fault or type(cause) is sqlite3.DatabaseError:  # the last: a damaged file, or one that is no database
            raise DatabaseUnavailable(f"{self.url.render_as_string(hide_password=True)}: {cause}") from error

    def close(self) -> None:
        """Close every connection of this process; the next statement opens one again. Due before every fork."""
        with self._opening:
            if self._engine is not None and not self.in_memory:
                self._engine.dispose(close=self._pid == os.getpid())
                self._engine = None


def _create_engine(url: sa.URL, in_memory: bool) -> sa.Engine:
    arguments: dict[str, Any] = {"poolclass": sa.StaticPool} if in_memory else {"pool_size": 8, "max_overflow": 32}
    engine = sa.create_engine(
        url,
        connect_args={"check_same_thread": False, "isolation_level": None, "timeout": BUSY_TIMEOUT},
        **arguments,
    )

    @sa.event.listens_for(engine, "connect")
    def _(connection: sqlite3.Connection, _record: object) -> None:
        connection.row_factory = sqlite3.Row
        # WAL alone may forget the last commits when the power fails: an accepted job is kept.
        connection.execute("PRAGMA synchronous = FULL")

    return engine


_SQLITE_NOW = "((julianday('now') - 2440587.5) * 86400.0)"


@functools.cache
def _compile(sql: str) -> str:
    return re.sub(r"\bNOW\b", _SQLITE_NOW, sql)
