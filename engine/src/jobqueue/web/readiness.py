"""Readiness: look at the database, the schema and the signing key, at most once a second, however many probes ask.

A look runs in a thread of its own. Probes wait for it less than a second, so a database that hangs delays no answer.
"""

import logging
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from jobqueue.database import migrations
from jobqueue.database.database import DatabaseUnavailable
from jobqueue.huey import DurableHuey

PERIOD = 1.0  # seconds from the beginning of a look to the next
WAITS = 0.8  # seconds from the beginning of a look after which probes do not wait for it
OK = "ok"
SILENT = "does not answer"

logger = logging.getLogger("jobqueue.web")


@dataclass(frozen=True)
class Findings:
    """The findings of a look, in words that hold no names of hosts, roles or databases.

    :param checks: "ok" or a problem, by the name of what a web process cannot do without.
    :param beside: what it can do without: the number of workers, and Redis.
    """

    checks: dict[str, str]
    beside: dict[str, Any] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        return set(self.checks.values()) == {OK}


@dataclass
class Look:
    """A look, which ends later."""

    began: float  # time.monotonic()
    ended: threading.Event
    findings: Findings


class Readiness:
    """The state of an app's queue, as a web process needs it."""

    def __init__(self, huey: DurableHuey) -> None:
        self._huey = huey
        self._lock = threading.Lock()
        self._look: Look | None = None
        self._told: dict[str, str] = {}

    def findings(self) -> Findings:
        """Return the findings of the last second. Takes less than a second."""
        now = time.monotonic()
        with self._lock:
            look = self._look
            if look is None or (look.ended.is_set() and now >= look.began + PERIOD):
                look = self._look = Look(now, threading.Event(), Findings({"database": SILENT}))
                threading.Thread(target=self._run, args=(look,), daemon=True).start()
        look.ended.wait(max(0.0, look.began + WAITS - now))
        return look.findings

    def _run(self, look: Look) -> None:
        try:
            look.findings = self._find()
        except Exception:
            logger.exception("Cannot tell whether this process is ready.")
            look.findings = Findings({"database": "failed"})
        look.ended.set()
        if look.findings.checks != self._told:
            self._told = look.findings.checks
            words = ", ".join(f"{name}: {found}" for name, found in self._told.items())
            logger.log(logging.INFO if look.findings.good else logging.WARNING, "Readiness: %s.", words)

    def _find(self) -> Findings:
        ledger, serializer = self._huey.ledger, self._huey.serializer
        try:
            ledger.database.check()
            old = ledger.database.schema() < migrations.HEAD
            alive = [each for each in ledger.consumers.all() if each["silent_s"] < self._huey.lease_s]
        except (DatabaseUnavailable, OSError) as error:
            return Findings({"database": getattr(error, "name", "unreachable")})
        try:
            serializer.deserialize(serializer.serialize("signed"))
            key = OK
        except (OSError, ValueError):
            key = "does not sign"
        redis = self._huey.storage.notifier.check()
        return Findings(
            {"database": OK, "schema": "older than this release" if old else OK, "key": key},
            {"workers": sum(each["workers"] for each in alive)}
            | ({} if redis is None else {"redis": SILENT if redis else OK}),
        )
