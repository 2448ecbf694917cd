"""SQLite as the ledger's database: one file, or memory in immediate mode, and one writer at a time."""

import fcntl
import functools
import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

CONNECTIONS = 40  # of a process at most: one for each of its threads, as a rule
BUSY_TIMEOUT = 10  # seconds that a statement waits for another writer of the file
_NOW = "((julianday('now') - 2440587.5) * 86400.0)"


class SQLite:
    """How the ledger's statements are put to SQLite, and what its errors mean."""

    begin = "BEGIN IMMEDIATE"
    connections = ""
    pool_size = CONNECTIONS
    pool_timeout = 30.0
    one_writer = True  # so a look before a write spares the others
    errors: tuple[type[Exception], ...] = (sqlite3.Error,)
    taken: type[Exception] = sqlite3.IntegrityError
    no_table: type[Exception] = sqlite3.OperationalError

    def __init__(self, url: sa.URL) -> None:
        self.path: Path | None = None  # the file, where there is one
        if url.database not in (None, "", ":memory:"):
            self.path = Path(str(url.database)).absolute()  # a task may change the working directory
            url = url.set(database=str(self.path))
        self.url = url
        self._memory: sqlite3.Connection | None = None

    @staticmethod
    @functools.cache
    def compile(sql: str) -> str:
        sql = re.sub(r"\bNOW\b", _NOW, sql)
        sql = re.sub(r"\bIN EACH\((:\w+)\)", r"IN (SELECT value FROM json_each(\1))", sql)
        sql = re.sub(r"(FROM|JOIN) EACH\(", r"\1 json_each(", sql)
        sql = re.sub(r"LEFT OUT\((:\w+)\)", r"\1 IS NULL", sql)
        sql = re.sub(
            r"PLACE\((\w+), (:\w+)\)", r"(SELECT key FROM json_each(\2) WHERE value = \1)", sql
        )  # NULL is first
        sql = re.sub(r"LAST\((\w+), (\d+)\)", r"substr(\1, -\2)", sql.replace("QUOTED(", "json_quote("))
        return re.sub(r"FOR UPDATE( SKIP LOCKED)?", "", sql)  # a writer is alone here

    @staticmethod
    def bind(params: dict[str, Any]) -> dict[str, Any]:
        return {name: json.dumps(value) if isinstance(value, list) else value for name, value in params.items()}

    def connect(self) -> sqlite3.Connection:
        """One connection, outside of any pool; to a database in memory there is but one."""
        if self.path is not None:
            return self._connect(str(self.path))
        self._memory = self._memory or self._connect(":memory:")
        return self._memory

    @staticmethod
    def _connect(database: str) -> sqlite3.Connection:
        connection = sqlite3.connect(database, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT)
        connection.row_factory = sqlite3.Row
        # WAL alone may forget the last commits when the power fails: an accepted job is kept.
        connection.execute("PRAGMA synchronous = FULL")
        return connection

    @staticmethod
    def usable(connection: sqlite3.Connection) -> bool:
        return True

    @staticmethod
    def cursor(connection: Any) -> Any:
        return connection.cursor()

    def has_database(self) -> bool:
        """Whether there is something to look at: a look would make the file, and memory is new."""
        return self.path is not None and self.path.exists()

    @contextmanager
    def migrating(self) -> Iterator[sa.Connection]:
        """A transaction in which nobody else migrates."""
        poolclass = sa.NullPool if self.path is not None else sa.StaticPool
        engine = sa.create_engine(self.url, creator=self.connect, poolclass=poolclass)
        with self._locked(), engine.connect() as connection:
            if self.path is not None:
                connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            connection.exec_driver_sql(self.begin)
            yield connection
            connection.exec_driver_sql("COMMIT")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """The file alone would do, but for the change to WAL, which others must not see half done."""
        if self.path is None:
            yield
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path.with_name(self.path.name + ".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @staticmethod
    def at_fault(error: BaseException) -> bool:
        """Whether the database is at fault, not a statement or a value; the last: a damaged file, or no database at all."""
        return (
            isinstance(error, sqlite3.OperationalError | sqlite3.InterfaceError) or type(error) is sqlite3.DatabaseError
        )
