"""The channel of NOTIFY: each schema of a Postgres database has its own."""

from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from jobqueue.database.database import Database
from jobqueue.notifier.notifier import PostgresNotifier
from tests.hosted import hosted_database
from tests.servers import shared_postgres

LONG = "a schema with the longest name that Postgres allows, 63 letters"


@pytest.mark.parametrize("other", ["two", LONG])
def test_apps_in_two_schemas_of_a_database_do_not_wake_each_other(shared: Path, other: str) -> None:
    with hosted_database(shared_postgres(shared), "one", other) as urls, ExitStack() as stack:
        databases = [stack.enter_context(closing(Database(url))) for url in urls]
        notifiers = [PostgresNotifier(database) for database in databases]
        for database, notifier in zip(databases, notifiers, strict=True):
            database.migrate()
            notifier.expect(1)
            notifier.listen()
            stack.callback(notifier.close)
        for sender in range(2):
            notifiers[1 - sender].notify(["default"])  # arrives first, if it does
            notifiers[sender].notify(["default"])
            (heard,) = notifiers[sender].sockets[0].notifies(timeout=10, stop_after=1)
            assert heard.pid == process(databases[sender])
            list(notifiers[1 - sender].sockets[0].notifies(timeout=10, stop_after=1))


def process(database: Database) -> int:
    """Return the server process of the only connection in the pool."""
    with database.statement() as tx:
        row = tx.one("SELECT pg_backend_pid() AS pid")
    assert row is not None
    return int(row["pid"])
