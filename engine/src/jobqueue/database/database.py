"""The ledger's database: transactions, single statements, and one pool for each process.

The pool opens at the first use and is never shared across a fork. Statements go straight to the driver, without SQLAlchemy.
They are written once, in SQL that the dialects (`sqlite.py`, `postgres.py`) translate:

- `:name` is a parameter.
- `NOW` is the database's clock in seconds since the epoch. The ledger uses no other clock.
- `IN EACH(:name)` tests for a member of a list. `FROM EACH(:name) AS known` gives a row with a `value` for each item.
- `LEFT OUT(:name)` is true if a list parameter is None.
- `PLACE(column, :name)` is the position of a column's value in a list. Values outside the list sort first.
- `QUOTED(:name)` is a text in JSON. `LAST(column, n)` is the last n characters of a column.
- `FOR UPDATE` locks rows on Postgres. SQLite has one writer and ignores it.
"""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from jobqueue import interrupts
from jobqueue.database import patience
from jobqueue.database.database_url import parse_url
from jobqueue.database.dialect import Dialect
from jobqueue.database.pool import AllInUse, Pool
from jobqueue.database.problems import UNREACHABLE, Problem, Reminder, classify
from jobqueue.text import is_storable
from jobqueue.urls import printable

logger = logging.getLogger("jobqueue.database")

MEMORY = "sqlite://"
Row = Mapping[str, Any]


class DatabaseUnavailable(Exception):
    """The database cannot be used, or the connection broke. The same call may succeed later.

    :param problem: the reason, with a short name and a sentence. None if no call of the database failed.
    """

    def __init__(self, message: object = "", problem: Problem | None = None) -> None:
        super().__init__(message)
        self.problem = problem

    @property
    def name(self) -> str:
        """Return the name of the problem."""
        return UNREACHABLE if self.problem is None else self.problem.name


class Transaction:
    """Statements that are committed together, or a single statement that commits by itself."""

    def __init__(self, dialect: Dialect, cursor: Any) -> None:
        self._dialect = dialect
        self._cursor = cursor

    def one(self, sql: str, **params: Any) -> Row | None:
        """Execute a statement. Return its first row, or None if it has no rows."""
        rows = self.all(sql, **params)  # SQLite completes a statement with RETURNING only when all its rows are read
        return rows[0] if rows else None

    def all(self, sql: str, **params: Any) -> list[Row]:
        """Execute a statement and return its rows."""
        self._execute(sql, params)
        rows: list[Row] = self._cursor.fetchall()
        return rows

    def run(self, sql: str, **params: Any) -> int:
        """Execute a statement and return the number of rows that it changed."""
        self._execute(sql, params)
        return int(self._cursor.rowcount)

    def run_each(self, sql: str, rows: Sequence[dict[str, Any]]) -> None:
        """Execute a statement once for each dict of parameters, in a single round trip."""
        if not rows:
            return
        with self._dialect.sending(self._cursor, sum(map(_size, rows))):
            self._cursor.executemany(self._dialect.compile(sql), [self._bound(params) for params in rows])

    def _execute(self, sql: str, params: dict[str, Any]) -> None:
        with self._dialect.sending(self._cursor, _size(params)):
            self._cursor.execute(self._dialect.compile(sql), self._bound(params))

    def _bound(self, params: dict[str, Any]) -> dict[str, Any]:
        """Return the driver's parameters. Raise ValueError for text that Postgres could not store, also on SQLite."""
        for name, value in params.items():
            for item in value if isinstance(value, list) else (value,):
                if isinstance(item, str) and not is_storable(item):
                    raise ValueError(
                        f"{name} is {item!r}. Give text without NUL characters and without halves of surrogate pairs."
                    )
        return self._dialect.bind(params)


def _size(params: dict[str, Any]) -> int:
    """Return about how many bytes the texts and binary values of a statement have."""
    return sum(len(value) for value in params.values() if isinstance(value, str | bytes))


class Database:
    """The ledger's database. It connects at the first use.

    :param url: `sqlite:////abs/path.sqlite`, `sqlite://` for a database in memory, or `postgresql://user:password@host/name`.
    :param pooling: the pooler before Postgres, by its name in `jobqueue.database.pooling`, or "auto" to find out.
    :param direct_url: the same Postgres without the pooler.
    :raises ValueError: for any other URL. The message does not contain the password.
    """

    def __init__(self, url: str, pooling: str = "auto", direct_url: str | None = None) -> None:
        self._dialect = dialect_of(url, pooling, direct_url)
        self._pool: Pool | None = None
        self._pid = os.getpid()
        self._opening = threading.Lock()
        self._failed: tuple[float, Exception] | None = None  # time.monotonic() and error of the last failed opening
        self._avoided_until = float("-inf")  # time.monotonic(); requests that began before do not ask the database
        self.reminder = Reminder(logger)  # of problems: the same one is logged once a minute, whoever meets it
        self._memory_lock = threading.RLock() if self.in_memory else contextlib.nullcontext()

    @property
    def url(self) -> sa.URL:
        """Return the URL of this database, with its password. Print `address` instead."""
        return self._dialect.url

    @property
    def address(self) -> str:
        """Return the URL as it may be printed."""
        return printable(self._url)

    @property
    def _url(self) -> str:
        return self.url.render_as_string(hide_password=False) if self.path is None else f"sqlite:///{self.path}"

    @property
    def dialect(self) -> Dialect:
        """Return the dialect of this database."""
        return self._dialect

    @property
    def _errors(self) -> tuple[type[Exception], ...]:
        return (*self._dialect.errors, sa.exc.SQLAlchemyError, OSError, AllInUse)

    @property
    def in_memory(self) -> bool:
        """Return whether this is a database in memory, which no other process can reach."""
        return self.url.get_backend_name() == "sqlite" and self.path is None

    @property
    def path(self) -> Path | None:
        """Return the SQLite file, or None on Postgres and in memory."""
        return self._dialect.path

    @property
    def pooling(self) -> str | None:
        """Return the pooler by its name in `jobqueue.database.pooling`. None on SQLite, and before the first connection."""
        return self._dialect.pooling

    @property
    def direct_address(self) -> str | None:
        """Return the direct URL as it may be printed, or None."""
        direct = self._dialect.direct
        return None if direct is self._dialect else printable(direct.url.render_as_string(hide_password=False))

    @property
    def can_listen(self) -> bool:
        """Return whether a connection of `connect` would hear notifications. A pooler in transaction mode passes none on."""
        return self._dialect.direct.keeps_session

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Open a transaction. Commit it at the end of the block, or roll it back if the block raises.

        Interrupts of the running job (see jobqueue.interrupts) wait until the block has ended.

        :raises DatabaseUnavailable: if the database does not answer.
        """
        with patience.waiting(patience.WRITE), self._cursor() as cursor:
            try:
                self._dialect.begin(cursor)
                yield Transaction(self._dialect, cursor)
            except BaseException:
                with contextlib.suppress(*self._dialect.errors):
                    cursor.execute("ROLLBACK")
                raise
            cursor.execute("COMMIT")

    @contextlib.contextmanager
    def statement(self) -> Iterator[Transaction]:
        """Open a block for a single statement, which commits by itself. It saves the round trips of a transaction.

        :raises DatabaseUnavailable: if the database does not answer.
        """
        with patience.waiting(patience.READ), self._cursor() as cursor:
            yield Transaction(self._dialect, cursor)

    @contextlib.contextmanager
    def _cursor(self) -> Iterator[Any]:
        with interrupts.deferred(), self._memory_lock:
            connection = None
            began = time.monotonic()
            try:
                self._raise_if_avoided()
                pool = self._open()
                connection = pool.take()
                self._raise_if_avoided()
                cursor = self._dialect.cursor(connection)
                try:
                    yield cursor
                finally:
                    cursor.close()
            except self._errors as error:
                if connection is not None and not self.in_memory:
                    pool.drop(connection)
                    connection = None
                self._raise_if_unavailable(error, began)
                raise
            except BaseException as error:
                if connection is not None and not isinstance(error, Exception):  # Ctrl-C may leave an open transaction
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
        """Return a driver connection outside the pool, and past a pooler if there is a direct URL. The caller closes it. Each statement on it commits by itself.

        :param statements: executed on the new connection.
        :raises DatabaseUnavailable: if the database does not answer.
        """
        try:
            connection = self._dialect.direct.connect()
            try:
                for statement in statements:
                    connection.execute(statement)
            except BaseException:
                connection.close()
                raise
            return connection
        except self._errors as error:
            self._raise_if_unavailable(error)
            raise

    def migrate(self) -> None:
        """Connect and migrate the schema now instead of at the first use.

        :raises DatabaseUnavailable: if the database does not answer.
        """
        with interrupts.deferred():
            try:
                self._open()
            except self._errors as error:
                self._raise_if_unavailable(error)
                raise

    def check(self) -> None:
        """Write nothing, in a statement that only a database with this schema and the right to write accepts.

        :raises DatabaseUnavailable: if the database does not answer, is read-only, or the role lacks the rights. Its `problem`
            says which.
        """
        with self.transaction() as tx:
            tx.run("UPDATE jobs SET state = state WHERE 1 = 0")

    def schema(self) -> str:
        """Return the revision of the schema. A newer release may have migrated it. Raises DatabaseUnavailable."""
        with self.statement() as tx:
            row = tx.one("SELECT version_num FROM alembic_version")
        return "" if row is None else str(row["version_num"])

    def close(self) -> None:
        """Close this process's connections. Call this before a fork. The next statement opens them again."""
        with self._opening:
            if self._pool is not None and not self.in_memory:
                if self._pid == os.getpid():
                    self._pool.close()
                self._pool = None

    def _open(self) -> Pool:
        """Return this process's pool. Open it, and migrate the schema, if this is the first use."""
        pool = self._pool
        if pool is not None and self._pid == os.getpid():
            return pool
        called_at = time.monotonic()
        with self._opening:
            if self._failed is not None and self._failed[0] > called_at:  # another thread tried and failed meanwhile
                raise self._failed[1]
            if self._pid != os.getpid():
                self._pool = None  # its connections belong to the parent process
            if self._pool is None:
                self._pid = os.getpid()
                dialect = self._dialect
                pool = Pool(dialect.connect, dialect.usable, dialect.pool_size, dialect.pool_timeout, dialect.watch)
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
        """Migrate the schema to head. Only one of several processes that start at once does this."""
        from jobqueue.database import migrations

        found = (self._version(pool) if self._dialect.has_database() else None) or ""
        if found > migrations.HEAD:
            text = "The ledger's schema is at %s, newer than this code's %s. It is used without change."
            self.reminder.warn(text, found, migrations.HEAD)
        if found >= migrations.HEAD:
            return
        with self._dialect.migrating() as connection:
            if (migrations.version(connection) or "") < migrations.HEAD:
                migrations.upgrade(connection)

    def _version(self, pool: Pool) -> str | None:
        """Return the schema's revision without importing Alembic, or None for an empty database."""
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

    def _raise_if_avoided(self) -> None:
        """Raise DatabaseUnavailable in a request if a call failed since it began, or waited in vain shortly before."""
        began = patience.request_began()
        if began is not None and began < self._avoided_until:
            raise DatabaseUnavailable("The database did not answer a moment ago. Try again.")

    def _raise_if_unavailable(self, error: Exception, began: float | None = None) -> None:
        """Raise DatabaseUnavailable if the database caused the error. A wrong statement or value is another error.

        :param began: time.monotonic() when the failed call began.
        """
        cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        if cause is not None and (isinstance(cause, OSError | AllInUse) or self._dialect.at_fault(cause)):
            now = time.monotonic()
            hangs = began is not None and now - began >= patience.HANGS
            self._avoided_until = now + patience.REST if hangs else now
            problem = classify(cause, self._url)
            if patience.request_began() is not None:  # a user is told less, so the operator reads it in the log
                self.reminder.warn("%s", problem.sentence, about=problem.name)
            raise DatabaseUnavailable(problem.sentence, problem) from None


def dialect_of(url: str, pooling: str = "auto", direct_url: str | None = None) -> Dialect:
    """Return the dialect for a database URL, in any form that hosting providers use. SQLite has no pooler.

    :raises ValueError: for an unsupported or unreadable URL, or an unknown pooling. The message does not contain the password.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        from jobqueue.database.sqlite import SQLite

        return SQLite(parsed)
    from jobqueue.database.pooling import Pooling
    from jobqueue.database.postgres import Postgres

    return Postgres(
        parsed, None if pooling == "auto" else Pooling(pooling), None if direct_url is None else parse_url(direct_url)
    )
