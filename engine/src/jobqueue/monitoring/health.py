"""Health checks of the database, Redis, the signing key and the workers, for the command `doctor`."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jobqueue.database import migrations
from jobqueue.database.database import DatabaseUnavailable
from jobqueue.ledger.ledger import Ledger
from jobqueue.ledger.states import State
from jobqueue.notifier.notifier import Notifier

FULL = 0.9  # fraction of the database's connections; more in use is a warning


@dataclass(frozen=True)
class Check:
    """A finding. If it is not ok, `remedy` says what to do."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


def health_checks(
    ledger: Ledger, notifier: Notifier, serializer: Any, *, lease_s: float, listens_on_database: bool
) -> list[Check]:
    """Check the database, Redis, the signing key and the workers. If the database does not answer, skip the other checks.

    :param lease_s: seconds after which a consumer without a heartbeat counts as dead.
    :param listens_on_database: whether each consumer holds a second database connection for notifications.
    """
    return list(_checks(ledger, notifier, serializer, lease_s, listens_on_database))


def _checks(
    ledger: Ledger, notifier: Notifier, serializer: Any, lease_s: float, listens_on_database: bool
) -> Iterator[Check]:
    try:
        ledger.database.migrate()
        waiting = ledger.reading.count(State.QUEUED)
        consumers = ledger.consumers.all()
        connections = ledger.reading.connections()
        queues = ledger.reading.queues()
    except (DatabaseUnavailable, OSError) as error:
        remedy = "Check DATABASE_URL. Check that its server is running, or that its folder is writable."
        yield Check("database", False, f"does not answer: {error}", remedy)
        return
    yield Check("database", True, f"{ledger.database.address}, schema {migrations.HEAD}")
    if connections is not None:
        used, most = connections
        yield Check(
            "connections", used <= most * FULL, f"{used} of {most} are open; {_demand(listens_on_database)}",
            "Use a database with more connections, or start fewer workers and web processes.",
        )  # fmt: skip
    trouble = notifier.check()
    if trouble is not None:
        yield Check(
            "redis", not trouble, trouble or "answers, and wakes idle workers",
            "Check REDIS_URL, and that its server is running. Until it answers, idle workers poll once a second.",
        )  # fmt: skip

    try:
        serializer.deserialize(serializer.serialize("signed"))
        yield Check("secret key", True, "signs and verifies")
    except (OSError, ValueError) as error:
        yield Check("secret key", False, str(error), "Set SECRET_KEY to the same value for web and workers.")

    alive = [consumer for consumer in consumers if consumer["silent_s"] < lease_s]
    if alive:
        workers = sum(consumer["workers"] for consumer in alive)
        hosts = ", ".join(sorted({consumer["host"] for consumer in alive}))
        yield Check("workers", True, f"{workers} in {len(alive)} consumer(s) on {hosts}; {waiting} job(s) queued")
    else:
        yield Check(
            "workers", False, f"no consumer sent a heartbeat in the last {lease_s:g} s; {waiting} job(s) queued",
            "Start one: python -m app worker (or `make start`, which starts web and worker).",
        )  # fmt: skip
    unserved = sorted(set(queues) - {name for consumer in alive for name in json.loads(consumer["queues"] or "[]")})
    if alive and unserved and all(consumer["queues"] for consumer in alive):
        yield Check(
            "queues", False, f"no consumer serves {', '.join(unserved)}, where jobs are queued",
            "Add it to QUEUES or `worker --queues`. Without these settings, workers serve every queue.",
        )  # fmt: skip


def _demand(listens_on_database: bool) -> str:
    from jobqueue.database.postgres import CONNECTIONS

    own = 2 if listens_on_database else 1
    return f"a consumer uses {own} and one more per worker process, a web process up to {CONNECTIONS}"
