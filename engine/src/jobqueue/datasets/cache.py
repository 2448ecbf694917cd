"""Copies of datasets in Redis, where many web processes find them without a large read of the database.

A copy is bytes that anybody may have put there: whoever takes one compares it with the digest that the ledger has. There is
one for each dataset, which the next version replaces, so a small Redis has room for it.
"""

from hashlib import sha256

from jobqueue import interrupts
from jobqueue.notifier.circuit_breaker import CircuitBreaker

CONNECT, ANSWER = 0.04, 0.05  # seconds: together the most that a read costs where Redis does not answer

WRITE = 2.0  # seconds that a worker may take to put a copy there


class DatasetCache:
    """The newest version of each dataset of a queue. A Redis that fails is left alone, and has none."""

    def __init__(self, url: str, queue: str) -> None:
        self._prefix = f"jobqueue:{queue}:dataset:"
        self._breaker = CircuitBreaker(url, "datasets come from the database", CONNECT)

    def put(self, name: str, body: bytes) -> None:
        """Never raises; a copy is replaced as a whole, or not at all."""
        if not self._breaker.is_open:
            with interrupts.deferred(), self._breaker.guard():
                self._breaker.redis(WRITE).set(self._prefix + name, body)

    def get(self, name: str, size: int, digest: str) -> bytes | None:
        """The copy, if it is the one of that size (in bytes) and digest. Never raises."""
        body: bytes = b""
        if not self._breaker.is_open:
            with interrupts.deferred(), self._breaker.guard():
                body = self._breaker.redis(ANSWER).getrange(self._prefix + name, 0, size)  # one byte too many shows
        return body if digest_of(body) == digest else None

    def close(self) -> None:
        self._breaker.close()


def digest_of(body: bytes) -> str:
    return sha256(body).hexdigest()
