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

BUSY_TIMEOUT = 10  # seconds that a statement waits for another writer of the file

_NOW = "((julianday('now') - 2440587.5) * 86400.0)"


class SQLite:
    """How the ledger's statements are put to SQLite, and what its errors mean."""

    begin = "BEGIN IMMEDIATE"
    connections = ""
    one_writer = True  # so a look before a write spares the others
    errors: tuple[type[Exception], ...] = (sqlite3.Error,)
    taken: type[Exception] = sqlite3.IntegrityError

    def __init__(self, url: sa.URL) -> None:
        self.path: Path | None = None  # the file, where there is one
        if url.database not in (None, "", ":memory:"):
            self.path = Path(str(url.database)).absolute()  # a task may change the working directory
            url = url.set(database=str(self.path))
        self.url = url

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
        """One connection, outside of any pool."""
        return sqlite3.connect(str(self.path), isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT)

    def engine(self) -> sa.Engine:
        arguments: dict[str, Any] = {"pool_size": 8, "max_overflow": 32}
        if self.path is None:
            arguments = {"poolclass": sa.StaticPool}
        engine = sa.create_engine(
            self.url,
            connect_args={"check_same_thread": False, "isolation_level": None, "timeout": BUSY_TIMEOUT},
            **arguments,
        )

        @sa.event.listens_for(engine, "connect")
        def _(connection: sqlite3.Connection, _record: object) -> None:
            connection.row_factory = sqlite3.Row
            # WAL alone may forget the last commits when the power fails: an accepted job is kept.
            connection.execute("PRAGMA synchronous = FULL")

        return engine

    @staticmethod
    def cursor(connection: Any) -> Any:
        return connection.cursor()

    def has_database(self) -> bool:
        """Whether there is something to look at: a look would make the file."""
        return self.path is None or self.path.exists()

    @contextmanager
    def migrating(self, engine: sa.Engine) -> Iterator[sa.Connection]:
        """A transaction in which nobody else migrates."""
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
