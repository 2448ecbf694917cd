"""What the queue rests on, looked at one by one: for `doctor`, and for whoever asks why nothing happens."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobqueue import migrations
from jobqueue.database import DatabaseUnavailable
from jobqueue.ledger import State

if TYPE_CHECKING:
    from jobqueue.huey import DurableHuey


@dataclass(frozen=True)
class Check:
    """One finding: `remedy` says what to do where it is not ok."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


def checks(huey: "DurableHuey") -> list[Check]:
    """The database, the key that signs, and the workers; later ones only where the earlier ones hold."""
    return list(_checks(huey))


def _checks(huey: "DurableHuey") -> Iterator[Check]:
    where = huey.ledger.database.url.render_as_string(hide_password=True)
    try:
        huey.migrate()
        waiting = huey.ledger.count(State.QUEUED)
        consumers = huey.ledger.consumers()
    except (DatabaseUnavailable, OSError) as error:
        remedy = "Check DATABASE_URL, and that its server runs or its folder can be written to."
        yield Check("database", False, f"does not answer: {error}", remedy)
        return
    yield Check("database", True, f"{where}, schema {migrations.HEAD}")

    try:
        huey.serializer.deserialize(huey.serializer.serialize("signed"))
        yield Check("secret key", True, "signs and verifies")
    except (OSError, ValueError) as error:
        yield Check("secret key", False, str(error), "Set SECRET_KEY, the same for web and workers.")

    alive = [consumer for consumer in consumers if consumer["silent_s"] < huey.lease_s]
    if alive:
        workers = sum(consumer["workers"] for consumer in alive)
        hosts = ", ".join(sorted({consumer["host"] for consumer in alive}))
        yield Check("workers", True, f"{workers} in {len(alive)} consumer(s) on {hosts}; {waiting} job(s) wait")
    else:
        yield Check(
            "workers", False, f"no consumer was seen in the last {huey.lease_s:g} s; {waiting} job(s) wait",
            "Start one: python -m app worker (or `make start`, which starts web and worker).",
        )  # fmt: skip
