"""The interface of a database dialect: the differences between SQLite and Postgres."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa


class Dialect(Protocol):
    """The differences between databases."""

    url: sa.URL
    path: Path | None  # the SQLite file; None on Postgres and in memory
    pool_size: int  # the most connections of a process
    pool_timeout: float  # seconds that a thread waits for a free connection
    one_writer: bool  # whether only one transaction may write at a time
    errors: tuple[type[Exception], ...]
    taken: type[Exception]  # raised when a unique index refuses a row
    no_table: type[Exception]  # raised for a missing table, possibly for other reasons too

    @property
    def connections(self) -> str:
        """Return a statement that returns `used` and `most` connections, or "" if they are unlimited."""
        ...

    @property
    def direct(self) -> "Dialect":
        """Return the same database without a pooler, if there is a way."""
        ...

    @property
    def pooling(self) -> str | None:
        """Return the pooler by its name in `jobqueue.database.pooling`. None if there can be none, or while it is not known."""
        ...

    @property
    def keeps_session(self) -> bool:
        """Return whether a connection keeps its settings, and hears notifications."""
        ...

    def compile(self, sql: str) -> str:
        """Return a statement in this database's SQL."""
        ...

    def bind(self, params: dict[str, Any]) -> dict[str, Any]:
        """Return a statement's parameters in the types that the driver takes."""
        ...

    def begin(self, cursor: Any) -> None:
        """Begin a transaction."""
        ...

    def connect(self) -> Any:
        """Open a connection outside any pool. Each statement on it commits by itself."""
        ...

    def usable(self, connection: Any) -> bool:
        """Return whether an idle connection still works."""
        ...

    def watch(self, connection: Any, on_transfer: Callable[[], object]) -> None:
        """Have `on_transfer` called, once, in a statement on this connection that moves data for long."""
        ...

    def cursor(self, connection: Any) -> Any:
        """Return a cursor whose rows are mappings."""
        ...

    def sending(self, cursor: Any, size: int) -> contextlib.AbstractContextManager[None]:
        """Execute a statement in the block.

        :param size: bytes of its parameters.
        """
        ...

    def has_database(self) -> bool:
        """Return whether the database exists, without creating it."""
        ...

    def migrating(self) -> contextlib.AbstractContextManager[sa.Connection]:
        """Open a transaction that holds the migration lock. Commit it at the end of the block."""
        ...

    def at_fault(self, error: BaseException) -> bool:
        """Return whether the database caused an error, rather than a wrong statement or value."""
        ...
