"""What wakes an idle worker when there may be something to do. It carries no data: a ring that is lost costs a second.

On SQLite the bell is the file's own data version, which changes with every commit of another connection and is read
from shared memory: looking twenty times a second costs next to nothing.
"""

import os
import sqlite3
import threading
import time
from collections.abc import Callable

from jobqueue.database import Database

INTERVAL = 0.05  # seconds between two looks


class Bell:
    """Each thread that waits has its own ear: it hears what was committed since it last listened."""

    def __init__(self, database: Database) -> None:
        self._path = database.path
        self._ear = threading.local()

    def wait(self, timeout: float, pause: Callable[[float], object] = time.sleep) -> None:
        """Return when something was committed since this thread last waited, or at the timeout, or if `pause` says so.

        timeout in seconds. `pause(seconds)` is what a worker sleeps by: its stop flag's `wait`.
        """
        until = time.monotonic() + timeout
        while not self._heard():
            left = until - time.monotonic()
            if left <= 0 or pause(min(INTERVAL, left)):
                return

    def _heard(self) -> bool:
        version = self._version()
        heard = version != getattr(self._ear, "version", None)
        self._ear.version = version
        return heard

    def _version(self) -> int | None:
        if self._path is None:
            return None
        if getattr(self._ear, "pid", None) != os.getpid():
            self._ear.connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            self._ear.pid = os.getpid()
        (version,) = self._ear.connection.execute("PRAGMA data_version").fetchone()
        return int(version)

    def close(self) -> None:
        """Take this thread's ear off; due before a fork."""
        connection = self._ear.__dict__.pop("connection", None)
        self._ear.__dict__.clear()
        if connection is not None:
            connection.close()
