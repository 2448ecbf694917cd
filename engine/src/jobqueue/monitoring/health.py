"""Health checks of the database, Redis, the signing key and the workers, for the command `doctor`."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jobqueue.database import migrations
from jobqueue.database.database import Database, DatabaseUnavailable
from jobqueue.database.problems import UNREACHABLE
from jobqueue.ledger.ledger import Ledger
from jobqueue.ledger.states import State
from jobqueue.monitoring.connections import ConnectionPlan
from jobqueue.notifier.notifier import Notifier

POOLERS = {
    "session": "in session mode, which changes nothing for this app",
    "transaction": "in transaction mode, which knows prepared statements",
    "transaction-unprepared": "in transaction mode, which knows no prepared statements, so the database plans each one anew. "
    "PgBouncer knows them from 1.21, with max_prepared_statements",
}
NOT_HEARD = (
    "Notifications do not arrive: idle workers look for jobs ten times a second shortly after a job, then once a second. To start "
    "jobs at once, set REDIS_URL, or DATABASE_DIRECT_URL to the address without the pooler"
)
FULL = 0.9  # fraction of the database's connections; more in use is a warning


@dataclass(frozen=True)
class Check:
    """A finding. If it is not ok, `remedy` says what to do."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


def health_checks(
    ledger: Ledger, notifier: Notifier, serializer: Any, *, lease_s: float, listens: bool, workers: int
) -> list[Check]:
    """Check the database, Redis, the signing key and the workers. If the database does not answer, skip the other checks.

    :param lease_s: seconds after which a consumer without a heartbeat counts as dead.
    :param listens: whether each consumer holds a second database connection for notifications.
    :param workers: workers of a consumer.
    """
    return list(_checks(ledger, notifier, serializer, lease_s, listens, workers))


def key_trouble(serializer: Any) -> str:
    """Return an error message, or "" if the signing key works."""
    try:
        serializer.deserialize(serializer.serialize("signed"))
    except (OSError, ValueError) as error:
        return str(error)
    return ""


def _checks(
    ledger: Ledger, notifier: Notifier, serializer: Any, lease_s: float, listens: bool, workers: int
) -> Iterator[Check]:
    try:
        ledger.database.check()
        schema = ledger.database.schema()
        waiting = ledger.reading.count(State.QUEUED)
        consumers = ledger.consumers.all()
        connections = ledger.reading.connections()
        queues = ledger.reading.queues()
    except (DatabaseUnavailable, OSError) as error:
        unreachable = not isinstance(error, DatabaseUnavailable) or error.name == UNREACHABLE
        remedy = "Check DATABASE_URL. Check that its server is running, or that its folder is writable."
        yield Check("database", False, str(error), remedy if unreachable else "")
        return
    newer = f", newer than {migrations.HEAD} of this release, which works with it" if schema > migrations.HEAD else ""
    yield Check("database", True, f"{ledger.database.address}, schema {schema}{newer}")
    yield from _pooler(ledger.database, listens)
    if connections is not None:
        plan = ConnectionPlan(*connections, workers, listens)
        crowded = "Use a database with more connections, or start fewer workers and web processes."
        yield Check("connections", plan.used <= plan.most * FULL and not plan.advice, str(plan), plan.advice or crowded)
    trouble = notifier.check()
    if trouble is not None:
        yield Check(
            "redis", not trouble, trouble or "answers, and wakes idle workers",
            "Check REDIS_URL, and that its server is running. Until it answers, idle workers poll once a second.",
        )  # fmt: skip

    trouble = key_trouble(serializer)
    remedy = "Set SECRET_KEY to the same value for web and workers."
    yield Check("secret key", not trouble, trouble or "signs and verifies", remedy)

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


def _pooler(database: Database, listens: bool) -> Iterator[Check]:
    """Say which pooler is before the database, if any, and check the way past it."""
    if database.pooling in POOLERS:
        told = [f"a pooler {POOLERS[database.pooling]}", *([NOT_HEARD] if listens and not database.can_listen else [])]
        yield Check("pooler", True, ". ".join(told))
    if database.direct_address is not None:
        try:
            database.connect().close()
        except DatabaseUnavailable as error:
            yield Check("direct database", False, str(error), "Check DATABASE_DIRECT_URL.")
        else:
            behind = "leads to a pooler in transaction mode, too"
            detail = database.direct_address if database.can_listen else behind
            yield Check(
                "direct database", database.can_listen, detail, "Set DATABASE_DIRECT_URL to the database itself."
            )
