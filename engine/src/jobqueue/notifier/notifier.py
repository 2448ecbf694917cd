"""What wakes an idle worker when there may be something to do. It carries no data: a ring that is lost costs a second.

With Redis the bell is a list, on which idle workers wait. On Postgres alone it is NOTIFY: each consumer's main process has
one connection that listens, and knocks at its workers. On SQLite it is the file's own data version, which changes with
every commit of another connection and is read from shared memory: looking twenty times a second costs next to nothing.
"""

import logging
import multiprocessing
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from jobqueue import interrupts
from jobqueue.database.database import Database, DatabaseUnavailable
from jobqueue.notifier.circuit_breaker import CircuitBreaker

logger = logging.getLogger("jobqueue.notifier")

INTERVAL = 0.05  # seconds between two looks at a file
CHANNEL = "jobqueue"  # of NOTIFY
ANSWER = 0.15  # seconds: with the breaker's CONNECT the most that a ring costs
SLICE = 0.25  # seconds that a worker waits on Redis before it looks whether it shall stop
MOST = 64  # rings that Redis keeps: seldom are more workers idle at once
Pause = Callable[[float], object]  # sleeps so many seconds, and says whether to stop waiting


class Notifier:
    """One that nobody hears: in immediate mode nobody waits."""

    sees_commits = False  # whether `wait` returns at any commit, so that who waits for a result may listen too

    def notify(self, queues: Sequence[str]) -> None:
        """Jobs may have come into these queues, one for each name. Never raises, and costs a quarter of a second at most."""

    def wait(self, timeout: float, pause: Pause = time.sleep, queues: Sequence[str] | None = None) -> bool:
        """Return when it may have been rung since this thread last waited, or at the timeout, or if `pause` says so.

        timeout in seconds. `pause(seconds)` is what a worker sleeps by: its stop flag's `wait`. `queues`: those that it
        serves; None for all.
        Returns whether it was rung for whoever waited alone: nobody else has heard that.
        """
        pause(timeout)
        return False

    def check(self) -> str | None:
        """What is wrong with the server that rings, "" if nothing; None where there is no server of its own."""
        return None

    def close(self) -> None:
        """Close what this thread, or this consumer, has open; due before a fork."""

    # Where a consumer's main process hears for its workers.

    sockets: tuple[Any, ...] = ()  # what it waits on besides its workers; when one is ready, it shall `pass_on`

    def expect(self, workers: int) -> None:
        """So many workers are about to start."""

    def listen(self) -> None:
        """They have started: be sure that the bell is heard."""

    def forward(self) -> None:
        """Wake the workers if it has been rung."""

    def wake_all(self) -> None:
        """Wake the workers."""


class SqliteNotifier(Notifier):
    """Each thread that waits has its own connection: it hears what was committed since it last listened."""

    sees_commits = True

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ear = threading.local()

    def wait(self, timeout: float, pause: Pause = time.sleep, queues: Sequence[str] | None = None) -> bool:
        until = time.monotonic() + timeout
        while not self._heard():
            left = until - time.monotonic()
            if left <= 0 or pause(min(INTERVAL, left)):
                break
        return False

    def _heard(self) -> bool:
        version = self._version()
        heard = version != getattr(self._ear, "version", None)
        self._ear.version = version
        return heard

    def _version(self) -> int:
        if getattr(self._ear, "pid", None) != os.getpid():
            self._ear.connection = self._database.connect()
            self._ear.pid = os.getpid()
        (version,) = self._ear.connection.execute("PRAGMA data_version").fetchone()
        return int(version)

    def close(self) -> None:
        connection = self._ear.__dict__.pop("connection", None)
        self._ear.__dict__.clear()
        if connection is not None:
            connection.close()


class PostgresNotifier(Notifier):
    """The consumer's main process hears, and knocks once for each of its workers."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._knocks: Any = None  # a semaphore that the main process shares with its workers
        self._workers = 0

    def notify(self, queues: Sequence[str]) -> None:
        if not queues:
            return
        try:
            with self._database.statement() as tx:
                tx.one(f"SELECT pg_notify('{CHANNEL}', '')")
        except DatabaseUnavailable as error:
            logger.warning("The bell could not be rung, and idle workers look by themselves: %s", error)

    def wait(self, timeout: float, pause: Pause = time.sleep, queues: Sequence[str] | None = None) -> bool:
        if self._knocks is None:
            pause(timeout)
        else:
            self._knocks.acquire(timeout=timeout)
        return False

    def close(self) -> None:
        for connection in self.sockets:
            connection.close()
        self.sockets = ()

    def expect(self, workers: int) -> None:
        self._workers = workers
        self._knocks = self._knocks or multiprocessing.Semaphore(0)

    def listen(self) -> None:
        if self.sockets:
            return
        try:
            connection = self._database.connect(f"LISTEN {CHANNEL}")
        except DatabaseUnavailable as error:
            logger.warning("The bell is not heard, and idle workers look by themselves: %s", error)
            return
        self.sockets = (connection,)
        self.wake_all()  # what was rung before it was heard

    def forward(self) -> None:
        for connection in self.sockets:
            try:
                heard = list(connection.notifies(timeout=0))
            except Exception as error:  # whatever it is, this connection hears no more
                logger.warning("The bell is not heard for a moment: %s", error)
                self.close()
            else:
                if heard:
                    self.wake_all()

    def wake_all(self) -> None:
        while self._knocks.acquire(block=False):
            pass  # knocks that nobody heard: no more than one a worker is kept
        for _ in range(self._workers):
            self._knocks.release()


class RedisNotifier(Notifier):
    """An idle worker waits for a list to have an item, and takes it.

    There is a list for each queue, and one for workers that serve them all: a ring is a new item in both.
    """

    def __init__(self, url: str, name: str) -> None:
        self._key = f"jobqueue:{name}:bell"
        self._breaker = CircuitBreaker(url, "idle workers look by themselves")

    def notify(self, queues: Sequence[str]) -> None:
        if queues and not self._breaker.is_open:
            jobs = {self._key: len(queues)} | {self._key_of(queue): n for queue, n in Counter(queues).items()}
            with interrupts.deferred(), self._breaker.guard():
                with self._breaker.redis(ANSWER).pipeline(transaction=False) as pipeline:
                    for key, n in jobs.items():
                        pipeline.rpush(key, *["" for _ in range(min(n, MOST))])
                        pipeline.ltrim(key, -MOST, -1)
                    pipeline.execute()

    def wait(self, timeout: float, pause: Pause = time.sleep, queues: Sequence[str] | None = None) -> bool:
        until = time.monotonic() + timeout
        keys = [self._key] if queues is None else [self._key_of(queue) for queue in queues]
        while (left := until - time.monotonic()) > 0:
            if self._breaker.is_open:
                if pause(min(SLICE, left)):
                    break
                continue
            with self._breaker.guard():
                if self._breaker.redis(SLICE + ANSWER).blpop(keys, timeout=min(SLICE, left)):
                    return True
                if pause(0):
                    break
        return False

    def _key_of(self, queue: str) -> str:
        return f"{self._key}:{queue}"

    def check(self) -> str | None:
        from redis.exceptions import RedisError

        try:
            self._breaker.redis(ANSWER).ping()
        except (RedisError, OSError, ValueError) as error:
            return f"does not answer: {error}"
        return ""

    def close(self) -> None:
        self._breaker.close()


def notifier_for(database: Database, redis_url: str | None, name: str) -> Notifier:
    """The one for these servers. `name` is the queue's."""
    if database.in_memory:
        return Notifier()
    if redis_url is not None:
        return RedisNotifier(redis_url, name)
    if database.path is not None:
        return SqliteNotifier(database)
    return PostgresNotifier(database)
