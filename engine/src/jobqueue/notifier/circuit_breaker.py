"""A circuit breaker for Redis: short timeouts, and no calls for a few seconds after an error.

Redis holds no data that is not in the database too, so every caller can do without it.
"""

import contextlib
import logging
import os
import re
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from jobqueue.urls import stripped, without_secrets

logger = logging.getLogger("jobqueue.breaker")

CONNECT = 0.1  # seconds to open a connection
OPEN_FOR = 5.0  # seconds without calls after an error


class CircuitBreaker:
    """Clients of one Redis server, and the state of the circuit: open after an error, else closed.

    :param url: `redis://` or `rediss://`.
    :param without: the consequence of an open circuit, for the log: "Redis does not answer, so {without}".
    :param connect_s: seconds to open a connection.

    Raises ValueError for another URL. The message does not contain the password.

    Example::

        if not breaker.is_open:
            with breaker.guard():
                breaker.redis(answer_s=0.1).set(key, body)
    """

    def __init__(self, url: str, without: str, connect_s: float = CONNECT) -> None:
        self._url = checked(url)
        self._without = without
        self._connect_s = connect_s
        self._open_until = 0.0  # by time.monotonic()
        self._pid = os.getpid()
        self._clients: dict[float, Any] = {}  # by the seconds that they wait for an answer

    @property
    def is_open(self) -> bool:
        """Return whether the circuit is open: Redis failed a moment ago, and is not called now."""
        return time.monotonic() < self._open_until

    @contextlib.contextmanager
    def guard(self) -> Iterator[None]:
        """Swallow Redis errors and open the circuit. The block may then have run only in part."""
        from redis.exceptions import RedisError

        try:
            yield
        except (
            RedisError,
            OSError,
            TypeError,
            ValueError,
        ) as error:  # the last two for an impossible option of the URL
            self._open_until = time.monotonic() + OPEN_FOR
            logger.warning("Redis does not answer, so %s: %s", self._without, self.described(error))

    def described(self, error: Exception) -> str:
        """Return an error of this server without the passwords of its URL."""
        if isinstance(error, TypeError):  # its message quotes the option, which may be a part of a password
            return "redis-py does not know an option of the URL. Check the part of the URL after the question mark."
        return without_secrets(error, self._url)

    def redis(self, answer_s: float) -> Any:
        """Return a client that waits `answer_s` seconds for an answer."""
        if self._pid != os.getpid():
            self._clients, self._pid = {}, os.getpid()  # the parent's clients belong to the parent
        if answer_s not in self._clients:
            self._clients[answer_s] = _redis_client(self._url, self._connect_s, answer_s)
        return self._clients[answer_s]

    def close(self) -> None:
        """Close the clients of this process."""
        for client in self._clients.values() if self._pid == os.getpid() else ():
            client.close()
        self._clients = {}


def checked(url: str) -> str:
    """Return the URL of a Redis server, without spaces around it.

    :raises ValueError: for another URL, or one whose password may have been read as another part. The message does not contain it.
    """
    try:
        url = stripped(url)
        parts = urlsplit(url)
        known = parts.scheme in ("redis", "rediss", "unix") and (parts.port or 0) >= 0
    except ValueError:  # its message quotes a part of the URL
        known = False
    if not known or "@" in parts.path + parts.query + parts.fragment:
        raise ValueError(
            "redis_url is not a valid URL. It must begin with redis:// or rediss://. Percent-encode special characters of the password, "
            "such as @ as %40."
        )
    return url


def _redis_client(url: str, connect_s: float, answer_s: float) -> Any:
    """Return a client without retries.

    The option `ssl_cert_reqs` may be in the form of the ssl module, as Celery wants it: `CERT_NONE`.

    It does not verify certificates, because hosting providers use self-signed ones and no data from Redis is trusted.
    """
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    unverified = {"ssl_cert_reqs": "none"} if url.startswith("rediss://") and "ssl_cert_reqs" not in url else {}
    return Redis.from_url(
        re.sub(r"(?<=[?&]ssl_cert_reqs=)CERT_(\w+)", lambda found: found[1].lower(), url),
        socket_connect_timeout=connect_s,
        socket_timeout=answer_s,
        retry=Retry(NoBackoff(), 0),
        protocol=2,  # RESP2 needs no handshake before the first command
        **unverified,
    )
