"""Notifiers: wake an idle worker when a job may be ready.

There is one for each kind of server:

- Redis: idle workers wait for an item in a list. `notify` adds one.
- Postgres: `notify` sends NOTIFY. The consumer's main process has one connection that listens, and wakes one of its idle workers
  through a semaphore. A worker that gets a job wakes another. So a thousand idle workers do not all look for one job.
- SQLite: waiting workers poll the file's data version, which changes with each commit. It is in shared memory, so reading it
  twenty times a second is cheap.
- A database in memory: its threads share a condition.

A notification carries no data. An idle worker of each consumer also asks for jobs once a second, so a lost one only delays a job.
"""

import logging
import multiprocessing
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

from jobqueue import interrupts
from jobqueue.database.database import Database, DatabaseUnavailable
from jobqueue.database.problems import Reminder
from jobqueue.notifier.circuit_breaker import CircuitBreaker

logger = logging.getLogger("jobqueue.notifier")

POLL_INTERVAL = 0.05  # seconds between two reads of the SQLite file's version
# The channel of LISTEN and NOTIFY, in SQL. Apps in two schemas of one database do not wake each other.
CHANNEL = "CASE current_schema() WHEN 'public' THEN 'jobqueue' ELSE left('jobqueue ' || current_schema(), 63) END"
ANSWER = 0.15  # seconds to wait for Redis' answer; `notify` takes at most this plus the breaker's CONNECT
WAIT_SLICE = 0.25  # seconds that a worker blocks on Redis before it checks its stop flag
MAX_KEPT = 64  # notifications that Redis keeps; more workers are rarely idle at once
Pause = Callable[[float], object]  # sleeps for some seconds; returns a true value to stop waiting


class Heard(Enum):
    """The end of a wait for notifications."""

    NOTHING = "nothing"  # the time is over
    SHARED = "shared"  # a notification that other idle workers receive too
    ALONE = "alone"  # a notification that no other worker receives, so no other looks for the job


class Notifier:
    """Base class of the notifiers. Its methods wake nobody.

    A producer calls `notify`, an idle worker `wait`. The remaining methods are for a consumer's main process.
    """

    hears = True  # whether notifications arrive; otherwise workers poll more often after a job
    sees_commits = False  # whether `wait` also returns after any commit, so that a wait for a result can use it

    def notify(self, queues: Sequence[str]) -> None:
        """Wake workers of these queues. Never raises, and takes at most a quarter of a second.

        :param queues: the queue of each job that may be ready, one item for each job.
        """

    def wait(self, timeout: float, pause: Pause = time.sleep, queues: Sequence[str] | None = None) -> Heard:
        """Wait for a notification. Return early if one came since this thread's last wait, or if `pause` returns true.

        :param timeout: seconds.
        :param pause: sleeps for some seconds. A worker passes the `wait` of its stop flag.
        :param queues: the queues to wait for; None for all.
        """
        pause(timeout)
        return Heard.NOTHING

    def check(self) -> str | None:
        """Return an error message, "" if the notification server works, or None if the notifier has no server of its own."""
        return None

    def close(self) -> None:
        """Close the connections of this thread or this consumer. Call this before a fork."""

    # --- for a consumer's main process ---

    sockets: tuple[Any, ...] = ()  # connections to watch; call `forward` when one is ready to read

    def expect(self, workers: Sequence[Sequence[str] | None]) -> None:
        """Prepare to wake workers. Call this before they start.

        :param workers: the queues of each worker, as its `wait` gives them.
        """

    def listen(self) -> None:
        """Begin to receive notifications. Call this after the workers have started, and again to restore a connection."""

    def forward(self) -> None:
        """Wake idle workers if a notification has arrived. Does not block."""

    def wake_all(self) -> None:
        """Wake all workers of this consumer."""

    # --- for a worker ---

    def wake_another(self, queues: Sequence[str] | None) -> None:
        """Wake another idle worker of this consumer with the same queues: the caller has got a job, and more may wait."""


class MemoryNotifier(Notifier):
    """A notifier for a database in memory, whose producers and workers are threads of one process."""

    def __init__(self) -> None:
        self._notified = threading.Condition()
        self._count = 0  # of notifications so far
        self._seen = threading.local()  # that count at this thread's last wait

    def notify(self, queues: Sequence[str]) -> None:
        if queues:
            self.wake_all()

    def wait(self, timeout: float, pause: Pause = time.sleep, queues: Sequence[str] | None = None) -> Heard:
        with self._notified:
            seen = getattr(self._seen, "count", 0)
            heard = self._notified.wait_for(lambda: self._count != seen, timeout)
            self._seen.count = self._count
        return Heard.SHARED if heard else Heard.NOTHING

    def wake_all(self) -> None:
        with self._notified:
            self._count += 1
            self._notified.notify_all()


class SqliteNotifier(Notifier):
    """A notifier that polls the version of the SQLite file. Each waiting thread has a connection of its own."""

    sees_commits = True

    def __init__(self, database: Database) -> None:
        self._database = database
        self._local = threading.local()  # connection, pid, and the last version that this thread saw

    def wait(self, timeout: float, pause: Pause = time.sleep, queues: Sequence[str] | None = None) -> Heard:
        until = time.monotonic() + timeout
        while not self._has_changed():
            left = until - time.monotonic()
            if left <= 0 or pause(min(POLL_INTERVAL, left)):
                return Heard.NOTHING
        return Heard.SHARED

    def close(self) -> None:
        connection = self._local.__dict__.pop("connection", None)
        self._local.__dict__.clear()
        if connection is not None:
            connection.close()

    def _has_changed(self) -> bool:
        """Return whether another connection committed since this thread's last look."""
        version = self._version()
        changed = version != getattr(self._local, "version", None)
        self._local.version = version
        return changed

    def _version(self) -> int:
        if getattr(self._local, "pid", None) != os.getpid():
            self._local.connection = self._database.connect()
            self._local.pid = os.getpid()
        (version,) = self._local.connection.execute("PRAGMA data_version").fetchone()
        return int(version)


class PostgresNotifier(Notifier):
    """A notifier through NOTIFY. The consumer's main process listens, and wakes its workers through semaphores."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reminder = Reminder(logger)
        # By the queues of workers: their number, and a semaphore that the consumer's processes share
        self._wakeups: dict[tuple[str, ...], tuple[int, Any]] = {}

    @property
    def hears(self) -> bool:  # type: ignore[override]
        return self._database.can_listen

    def notify(self, queues: Sequence[str]) -> None:
        if not queues:
            return
        if not self.hears:
            self._wake_one()  # of this consumer; others look by themselves
        try:
            with self._database.statement() as tx:
                tx.one(f"SELECT pg_notify({CHANNEL}, '')")
        except DatabaseUnavailable as error:
            self._reminder.warn(
                "Cannot send a notification, so idle workers find the job within a second: %s", error, about=error.name
            )

    def wait(self, timeout: float, pause: Pause = time.sleep, queues: Sequence[str] | None = None) -> Heard:
        if not self._wakeups:
            pause(timeout)
            return Heard.NOTHING
        _, wakeups = self._wakeups[tuple(queues or ())]
        return Heard.SHARED if wakeups.acquire(timeout=timeout) else Heard.NOTHING

    def close(self) -> None:
        for connection in self.sockets:
            connection.close()
        self.sockets = ()

    def expect(self, workers: Sequence[Sequence[str] | None]) -> None:
        for queues, number in Counter(tuple(queues or ()) for queues in workers).items():
            # Another consumer of this process may wait for the semaphore that is there.
            wakeups = self._wakeups[queues][1] if queues in self._wakeups else multiprocessing.Semaphore(0)
            self._wakeups[queues] = (number, wakeups)

    def listen(self) -> None:
        if self.sockets or not self.hears:
            return
        try:
            with self._database.statement() as tx:
                row = tx.one(f"SELECT quote_ident({CHANNEL}) AS channel")
            assert row is not None
            connection = self._database.connect(f"LISTEN {row['channel']}")
        except DatabaseUnavailable as error:
            self._reminder.warn(
                "Cannot listen for notifications, so idle workers find jobs within a second: %s",
                error,
                about=error.name,
            )
            return
        self.sockets = (connection,)
        self._wake_one()  # a notification may have been sent before this connection listened

    def forward(self) -> None:
        for connection in self.sockets:
            try:
                received = list(connection.notifies(timeout=0))
            except Exception as error:  # after any error this connection receives nothing more
                logger.warning("Lost the connection that listens for notifications; opening another: %s", error)
                self.close()
            else:
                if received:
                    self._wake_one()

    def wake_all(self) -> None:
        for number, wakeups in self._wakeups.values():
            _raise_to(number, wakeups)

    def wake_another(self, queues: Sequence[str] | None) -> None:
        if self._wakeups:
            _, wakeups = self._wakeups[tuple(queues or ())]
            _raise_to(1, wakeups)

    def _wake_one(self) -> None:
        """Wake one worker of each set of queues."""
        for _, wakeups in self._wakeups.values():
            _raise_to(1, wakeups)


def _raise_to(number: int, semaphore: Any) -> None:
    """Raise a semaphore to this number. Wake-ups that no worker has taken count, so they do not pile up."""
    for _ in range(number):
        semaphore.acquire(block=False)
    for _ in range(number):
        semaphore.release()


class RedisNotifier(Notifier):
    """A notifier through Redis lists. An idle worker blocks until a list has an item, and takes it.

    Each queue has a list, and workers that serve every queue have one of their own. `notify` adds an item to both.
    """

    def __init__(self, url: str, name: str) -> None:
        self._key = f"jobqueue:{name}:bell"  # older versions use this key too, side by side during a deploy
        self._breaker = CircuitBreaker(url, "idle workers find jobs within a second")

    def notify(self, queues: Sequence[str]) -> None:
        if queues and not self._breaker.is_open:
            jobs = {self._key: len(queues)} | {self._key_of(queue): n for queue, n in Counter(queues).items()}
            with interrupts.deferred(), self._breaker.guard():
                with self._breaker.redis(ANSWER).pipeline(transaction=False) as pipeline:
                    for key, n in jobs.items():
                        pipeline.rpush(key, *["" for _ in range(min(n, MAX_KEPT))])
                        pipeline.ltrim(key, -MAX_KEPT, -1)
                    pipeline.execute()

    def wait(self, timeout: float, pause: Pause = time.sleep, queues: Sequence[str] | None = None) -> Heard:
        until = time.monotonic() + timeout
        keys = [self._key] if queues is None else [self._key_of(queue) for queue in queues]
        while (left := until - time.monotonic()) > 0:
            if self._breaker.is_open:
                if pause(min(WAIT_SLICE, left)):
                    break
                continue
            with self._breaker.guard():
                if self._breaker.redis(WAIT_SLICE + ANSWER).blpop(keys, timeout=min(WAIT_SLICE, left)):
                    return Heard.ALONE
                if pause(0):
                    break
        return Heard.NOTHING

    def check(self) -> str | None:
        from redis.exceptions import RedisError

        try:
            self._breaker.redis(ANSWER).ping()
        except (RedisError, OSError, TypeError, ValueError) as error:
            return f"does not answer: {self._breaker.described(error)}"
        return ""

    def close(self) -> None:
        self._breaker.close()

    def _key_of(self, queue: str) -> str:
        return f"{self._key}:{queue}"


def notifier_for(database: Database, redis_url: str | None, name: str) -> Notifier:
    """Return the notifier for these servers: Redis if there is a URL, else the database's own.

    :param name: the name of the DurableHuey, so that several can share one Redis.
    """
    if database.in_memory:
        return MemoryNotifier()
    if redis_url is not None:
        return RedisNotifier(redis_url, name)
    if database.path is not None:
        return SqliteNotifier(database)
    return PostgresNotifier(database)
