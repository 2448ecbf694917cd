"""NOTIFY: each schema of a Postgres database has a channel of its own, and a notification wakes one idle worker of each queue."""

import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from jobqueue.database.database import Database
from jobqueue.notifier.notifier import Heard, PostgresNotifier
from tests.hosted import hosted_database
from tests.servers import shared_postgres
from tests.waiting import wait_until

LONG = "a schema with the longest name that Postgres allows, 63 letters"


@pytest.mark.parametrize("other", ["two", LONG])
def test_apps_in_two_schemas_of_a_database_do_not_wake_each_other(shared: Path, other: str) -> None:
    with hosted_database(shared_postgres(shared), "one", other) as urls, ExitStack() as stack:
        databases = [stack.enter_context(closing(Database(url))) for url in urls]
        notifiers = [PostgresNotifier(database) for database in databases]
        for database, notifier in zip(databases, notifiers, strict=True):
            database.migrate()
            notifier.expect([None])
            notifier.listen()
            stack.callback(notifier.close)
        for sender in range(2):
            notifiers[1 - sender].notify(["default"])  # arrives first, if it does
            notifiers[sender].notify(["default"])
            (heard,) = notifiers[sender].sockets[0].notifies(timeout=10, stop_after=1)
            assert heard.pid == process(databases[sender])
            list(notifiers[1 - sender].sockets[0].notifies(timeout=10, stop_after=1))


def test_a_notification_wakes_one_worker_of_each_queue_and_a_worker_with_a_job_wakes_another(
    fresh_postgres: str,
) -> None:
    groups: list[Sequence[str] | None] = [None, ["heavy"]]
    woken: list[str] = []

    def wait(queues: Sequence[str] | None) -> None:
        while notifier.wait(60, queues=queues) is Heard.SHARED:
            woken.append(str(queues))
            if stop.is_set():
                return

    stop = threading.Event()
    with closing(Database(fresh_postgres)) as database:
        database.migrate()
        notifier = PostgresNotifier(database)
        notifier.expect(groups * 4)
        threads = [threading.Thread(target=wait, args=[queues]) for queues in groups * 4]
        for thread in threads:
            thread.start()
        with closing(notifier):
            notifier.listen()
            # It wakes them at its start, as it may have missed a notification before it listened.
            wait_until(lambda: Counter(woken) == {"None": 1, "['heavy']": 1})
            notifier.notify(["default"])
            wait_until(lambda: notifier.forward() or Counter(woken) == {"None": 2, "['heavy']": 2})  # type: ignore[func-returns-value]
            notifier.wake_another(["heavy"])
            wait_until(lambda: Counter(woken) == {"None": 2, "['heavy']": 3})
            stop.set()
            notifier.wake_all()
        for thread in threads:
            thread.join(60)
    assert Counter(woken) == {"None": 6, "['heavy']": 7}


def process(database: Database) -> int:
    """Return the server process of the only connection in the pool."""
    with database.statement() as tx:
        row = tx.one("SELECT pg_backend_pid() AS pid")
    assert row is not None
    return int(row["pid"])
