"""SQLite as the ledger's database: one file, or memory in immediate mode, with one writer at a time."""

import fcntl
import functools
import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import sqlalchemy as sa

BEGIN = "BEGIN IMMEDIATE"
CONNECTIONS = 40  # most connections of a process: usually one for each thread
BUSY_TIMEOUT = 10  # seconds that a statement waits for another writer of the file
POOL_TIMEOUT = 30.0  # seconds that a thread waits for a connection of another thread
_NOW = "((julianday('now') - 2440587.5) * 86400.0)"


class SQLite:
    """The SQLite dialect: SQL translation, connections, and the meaning of errors."""

    connections = ""
    keeps_session = True
    pooling = None
    pool_size = CONNECTIONS
    pool_timeout = POOL_TIMEOUT
    one_writer = True  # so callers read first, and write only if there is something to change
    errors: tuple[type[Exception], ...] = (sqlite3.Error,)
    taken: type[Exception] = sqlite3.IntegrityError
    no_table: type[Exception] = sqlite3.OperationalError

    def __init__(self, url: sa.URL) -> None:
        self.path: Path | None = None  # the file; None in memory
        if url.database not in (None, "", ":memory:"):
            self.path = Path(str(url.database)).absolute()  # a task may change the working directory
            self._refuse_escapes(self.path)
            url = url.set(database=str(self.path))
        self.url = url
        self.direct = self
        self._memory: sqlite3.Connection | None = None

    @staticmethod
    def _refuse_escapes(path: Path) -> None:
        """Raise ValueError if earlier versions decoded the path to a file that exists. The path as written would be a new, empty file."""
        decoded = Path(unquote(str(path)))
        if decoded != path and decoded.exists() and not path.exists():
            raise ValueError(
                "database_url has percent signs, and the path of a SQLite file is taken as it is written. "
                f"For the file that exists, write sqlite:///{decoded}"
            )

    @staticmethod
    @functools.cache
    def compile(sql: str) -> str:
        """Return the statement in SQLite's SQL."""
        sql = re.sub(r"\bNOW\b", _NOW, sql)
        sql = re.sub(r"\bIN EACH\((:\w+)\)", r"IN (SELECT value FROM json_each(\1))", sql)
        sql = re.sub(r"(FROM|JOIN) EACH\(", r"\1 json_each(", sql)
        sql = re.sub(r"LEFT OUT\((:\w+)\)", r"\1 IS NULL", sql)
        # The place of a value outside the list is NULL, which sorts first.
        sql = re.sub(r"PLACE\((\w+), (:\w+)\)", r"(SELECT key FROM json_each(\2) WHERE value = \1)", sql)
        sql = re.sub(r"LAST\((\w+), (\d+)\)", r"substr(\1, -\2)", sql.replace("QUOTED(", "json_quote("))
        return re.sub(r"FOR UPDATE( SKIP LOCKED)?", "", sql)  # there is only one writer

    @staticmethod
    def bind(params: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters in the types that the driver takes: lists become JSON."""
        return {name: json.dumps(value) if isinstance(value, list) else value for name, value in params.items()}

    @staticmethod
    def begin(cursor: sqlite3.Cursor) -> None:
        """Begin a transaction that may write."""
        cursor.execute(BEGIN)

    def connect(self) -> sqlite3.Connection:
        """Open a connection outside any pool. A database in memory has a single connection, which this returns each time."""
        if self.path is not None:
            return self._connect(str(self.path))
        self._memory = self._memory or self._connect(":memory:")
        return self._memory

    @staticmethod
    def _connect(database: str) -> sqlite3.Connection:
        connection = sqlite3.connect(database, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT)
        connection.row_factory = sqlite3.Row
        # An accepted job is never lost. With WAL and a weaker setting, a power failure may lose the last commits.
        connection.execute("PRAGMA synchronous = FULL")
        return connection

    @staticmethod
    def usable(connection: sqlite3.Connection) -> bool:
        """Return whether an idle connection works. A connection to a file does."""
        return True

    @staticmethod
    def watch(connection: sqlite3.Connection, on_transfer: Callable[[], object]) -> None:
        """Do nothing: a file moves data at once."""

    @staticmethod
    def cursor(connection: Any) -> Any:
        """Return a cursor whose rows are mappings."""
        return connection.cursor()

    @staticmethod
    def sending(cursor: Any, size: int) -> AbstractContextManager[None]:
        """Execute a statement of this size in the block. A file takes it at once."""
        return nullcontext()

    def has_database(self) -> bool:
        """Return whether the file exists. Connecting would create it. A database in memory starts empty."""
        return self.path is not None and self.path.exists()

    @contextmanager
    def migrating(self) -> Iterator[sa.Connection]:
        """Open a transaction that holds the migration lock. Commit it at the end of the block."""
        poolclass = sa.NullPool if self.path is not None else sa.StaticPool
        engine = sa.create_engine(self.url, creator=self.connect, poolclass=poolclass)
        with self._locked(), engine.connect() as connection:
            if self.path is not None:
                connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            connection.exec_driver_sql(BEGIN)
            yield connection
            connection.exec_driver_sql("COMMIT")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold a lock file. The transaction does not cover the switch to WAL, which other processes must not see half done."""
        if self.path is None:
            yield
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path.with_name(self.path.name + ".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @staticmethod
    def at_fault(error: BaseException) -> bool:
        """Return whether the database caused the error, rather than a wrong statement or value.

        A plain DatabaseError means that the file is damaged, or is not a database.
        """
        return (
            isinstance(error, sqlite3.OperationalError | sqlite3.InterfaceError) or type(error) is sqlite3.DatabaseError
        )
