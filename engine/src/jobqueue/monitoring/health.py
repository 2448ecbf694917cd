"""What the queue rests on, looked at one by one: for `doctor`, and for whoever asks why nothing happens."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jobqueue.database import migrations
from jobqueue.database.database import DatabaseUnavailable
from jobqueue.ledger.ledger import Ledger
from jobqueue.ledger.states import State
from jobqueue.notifier.notifier import Notifier

FULL = 0.9  # of the database's connections: more is too many


@dataclass(frozen=True)
class Check:
    """One finding: `remedy` says what to do where it is not ok."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


def health_checks(
    ledger: Ledger, notifier: Notifier, serializer: Any, *, lease_s: float, listens_on_database: bool
) -> list[Check]:
    """Check the database, the key that signs, and the workers. Later checks run only if the earlier ones pass.

    :param lease_s: seconds after which a silent consumer counts as dead.
    :param listens_on_database: whether a consumer takes a connection of its own to be notified.
    """
    return list(_checks(ledger, notifier, serializer, lease_s, listens_on_database))


def _checks(
    ledger: Ledger, notifier: Notifier, serializer: Any, lease_s: float, listens_on_database: bool
) -> Iterator[Check]:
    where = ledger.database.url.render_as_string(hide_password=True)
    try:
        ledger.database.migrate()
        waiting = ledger.reading.count(State.QUEUED)
        consumers = ledger.consumers.all()
        connections = ledger.reading.connections()
        queues = ledger.reading.queues()
    except (DatabaseUnavailable, OSError) as error:
        remedy = "Check DATABASE_URL, and that its server runs or its folder can be written to."
        yield Check("database", False, f"does not answer: {error}", remedy)
        return
    yield Check("database", True, f"{where}, schema {migrations.HEAD}")
    if connections is not None:
        used, most = connections
        yield Check(
            "connections", used <= most * FULL, f"{used} of {most} are open; {_appetite(listens_on_database)}",
            "Take a database with more of them, or start fewer workers and web processes.",
        )  # fmt: skip
    trouble = notifier.check()
    if trouble is not None:
        yield Check(
            "redis", not trouble, trouble or "answers, and wakes idle workers",
            "Check REDIS_URL, and that its server runs. Until it answers, idle workers look for jobs each second.",
        )  # fmt: skip

    try:
        serializer.deserialize(serializer.serialize("signed"))
        yield Check("secret key", True, "signs and verifies")
    except (OSError, ValueError) as error:
        yield Check("secret key", False, str(error), "Set SECRET_KEY, the same for web and workers.")

    alive = [consumer for consumer in consumers if consumer["silent_s"] < lease_s]
    if alive:
        workers = sum(consumer["workers"] for consumer in alive)
        hosts = ", ".join(sorted({consumer["host"] for consumer in alive}))
        yield Check("workers", True, f"{workers} in {len(alive)} consumer(s) on {hosts}; {waiting} job(s) wait")
    else:
        yield Check(
            "workers", False, f"no consumer was seen in the last {lease_s:g} s; {waiting} job(s) wait",
            "Start one: python -m app worker (or `make start`, which starts web and worker).",
        )  # fmt: skip
    unserved = sorted(set(queues) - {name for consumer in alive for name in json.loads(consumer["queues"] or "[]")})
    if alive and unserved and all(consumer["queues"] for consumer in alive):
        yield Check(
            "queues", False, f"jobs wait in {', '.join(unserved)}, which no consumer serves",
            "Name it in QUEUES or `worker --queues`; without either, workers serve every queue.",
        )  # fmt: skip


def _appetite(listens_on_database: bool) -> str:
    from jobqueue.database.postgres import CONNECTIONS

    own = 2 if listens_on_database else 1
    return f"a consumer takes {own} and one more for each worker process, a web process up to {CONNECTIONS}"
