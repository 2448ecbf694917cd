"""Readiness: look at the database, the schema and the signing key, at most once a second, however many probes ask.

A look runs in a thread of its own. Probes wait for it less than a second, so a database that hangs delays no answer.
"""

import logging
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from jobqueue.database import migrations
from jobqueue.database.database import DatabaseUnavailable
from jobqueue.database.problems import Reminder
from jobqueue.huey import DurableHuey
from jobqueue.monitoring.health import key_trouble

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


class Readiness:
    """The state of an app's queue, as a web process needs it. The log has a sentence for each problem, once a minute."""

    def __init__(self, huey: DurableHuey) -> None:
        self._huey = huey
        self._lock = threading.Lock()
        self._began = float("-inf")  # time.monotonic() of the last look
        self._look: Future[Findings] = Future()
        self._look.set_result(Findings({}))
        self._good = False
        self._reminder = Reminder(logger)

    def findings(self) -> Findings:
        """Return the findings of the last second. Takes less than a second."""
        now = time.monotonic()
        with self._lock:
            if self._look.done() and now >= self._began + PERIOD:
                self._began, self._look = now, Future()
                threading.Thread(target=self._run, args=(self._look,), daemon=True).start()
            look, until = self._look, self._began + WAITS
        try:
            return look.result(max(0.0, until - now))
        except TimeoutError:
            return Findings({"database": SILENT})

    def _run(self, look: Future[Findings]) -> None:
        try:
            found = self._find()
        except Exception as error:
            self._reminder.warn("Cannot tell whether this process is ready: %r", error, about=type(error).__name__)
            found = Findings({"database": "failed"})
        if found.good and not self._good:
            logger.info("Ready.")
        self._good = found.good
        look.set_result(found)

    def _find(self) -> Findings:
        database = self._huey.ledger.database
        try:
            database.check()
            schema = database.schema()
            workers = len(self._huey.workers())
        except DatabaseUnavailable as error:
            database.reminder.warn("%s", error, about=error.name)  # as requests do, and with them once a minute
            return Findings({"database": error.name})
        old = schema < migrations.HEAD
        if old:
            advice = "Start this process again: it migrates the schema."
            text = "The ledger's schema is at %s, older than this code's %s. %s"
            self._reminder.warn(text, schema, migrations.HEAD, advice)
        trouble = key_trouble(self._huey.serializer)
        if trouble:
            self._reminder.warn("The signing key cannot be used: %s", trouble)
        redis = self._huey.storage.notifier.check()
        return Findings(
            {
                "database": OK,
                "schema": "older than this release" if old else OK,
                "key": "does not sign" if trouble else OK,
            },
            {"workers": workers} | ({} if redis is None else {"redis": SILENT if redis else OK}),
        )
