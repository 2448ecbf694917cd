"""A Redis that may fail: whoever asks waits for a moment at most, and one that failed is left alone for a while.

Nothing is kept in Redis alone, so whoever finds it broken goes on without it.
"""

import contextlib
import logging
import os
import time
from collections.abc import Iterator
from typing import Any

logger = logging.getLogger("jobqueue.breaker")

CONNECT = 0.1  # seconds
BROKEN = 5.0  # seconds in which a Redis that failed is left alone


class CircuitBreaker:
    """Clients of one Redis, and whether it is left alone just now. `without` says what is done without it."""

    def __init__(self, url: str, without: str, connect_s: float = CONNECT) -> None:
        self._url = url
        self._without = without
        self._connect_s = connect_s
        self._open_until = 0.0  # by time.monotonic()
        self._pid = os.getpid()
        self._clients: dict[float, Any] = {}  # by how long they wait for an answer

    @property
    def is_open(self) -> bool:
        return time.monotonic() < self._open_until

    @contextlib.contextmanager
    def guard(self) -> Iterator[None]:
        """Errors of Redis end here; what is inside is then not done, or half done."""
        from redis.exceptions import RedisError

        try:
            yield
        except (RedisError, OSError) as error:
            self._open_until = time.monotonic() + BROKEN
            logger.warning("Redis does not answer, and %s: %s", self._without, error)

    def redis(self, answer_s: float) -> Any:
        """A client that waits so long for an answer."""
        if self._pid != os.getpid():
            self._clients, self._pid = {}, os.getpid()  # they are the parent's
        if answer_s not in self._clients:
            self._clients[answer_s] = _redis_client(self._url, self._connect_s, answer_s)
        return self._clients[answer_s]

    def close(self) -> None:
        for client in self._clients.values() if self._pid == os.getpid() else ():
            client.close()
        self._clients = {}


def _redis_client(url: str, connect_s: float, answer_s: float) -> Any:
    """Hosts sign their certificates themselves; nothing that comes from Redis is trusted anyway."""
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    unverified = {"ssl_cert_reqs": "none"} if url.startswith("rediss://") and "ssl_cert_reqs" not in url else {}
    return Redis.from_url(
        url,
        socket_connect_timeout=connect_s,
        socket_timeout=answer_s,
        retry=Retry(NoBackoff(), 0),
        protocol=2,  # without a word before the first command
        **unverified,
    )
