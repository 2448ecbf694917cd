"""A database clock that tests can move. `NOW` is the server's time plus the seconds in a table, in every process."""

from collections.abc import Iterator
from contextlib import contextmanager

from jobqueue.database import postgres, sqlite
from jobqueue.database.database import Database
from jobqueue.ledger.sql import CLOCK

USUAL = sqlite._NOW, postgres._NOW


class MovedClock:
    """The clock of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        with database.transaction() as tx:
            tx.run("CREATE TABLE moved_clock (ahead double precision)")
            tx.run("INSERT INTO moved_clock VALUES (0)")

    def move(self, seconds: float) -> None:
        """Move the clock by so many seconds. A negative number moves it back."""
        with self._database.statement() as tx:
            tx.run("UPDATE moved_clock SET ahead = ahead + :seconds", seconds=seconds)

    def now(self) -> float:
        """Return the database's time, in seconds since the epoch."""
        with self._database.statement() as tx:
            row = tx.one(CLOCK)
        assert row is not None
        return float(row["now"])


@contextmanager
def moved_clock(database: Database) -> Iterator[MovedClock]:
    """Yield the movable clock of a database, for this process during the block and for those that call `read_it`."""
    clock = MovedClock(database)
    try:
        read_it()
        yield clock
    finally:
        read_it(ahead="")


def read_it(ahead: str = " + (SELECT ahead FROM moved_clock)") -> None:
    """Let this process use the moved clock."""
    sqlite._NOW, postgres._NOW = (f"({usual}{ahead})" for usual in USUAL)
    sqlite.SQLite.compile.cache_clear()
    postgres.Postgres.compile.cache_clear()
