"""A cache of datasets in Redis, which saves web processes large reads of the database.

Redis is not trusted: a copy is used only if its digest is the one in the ledger. Each dataset has one copy, which the next
version replaces, so a small Redis is enough.
"""

from hashlib import sha256

from jobqueue import interrupts
from jobqueue.notifier.circuit_breaker import CircuitBreaker

CONNECT, ANSWER = 0.04, 0.05  # timeouts in seconds; their sum is the most that a read loses if Redis does not answer

WRITE = 2.0  # timeout in seconds for a worker that writes a copy


class DatasetCache:
    """Cache of the newest version of each dataset of a queue. After an error of Redis the cache is skipped for a while."""

    def __init__(self, url: str, queue: str) -> None:
        self._prefix = f"jobqueue:{queue}:dataset:"
        self._breaker = CircuitBreaker(url, "datasets come from the database", CONNECT)

    def put(self, name: str, body: bytes) -> None:
        """Replace a dataset's copy. Ignore errors of Redis: the copy is then missing or out of date."""
        if not self._breaker.is_open:
            with interrupts.deferred(), self._breaker.guard():
                self._breaker.redis(WRITE).set(self._prefix + name, body)

    def get(self, name: str, size: int, digest: str) -> bytes | None:
        """Return a dataset's copy if it has this size in bytes and this digest, else None. Ignore errors of Redis."""
        body: bytes = b""
        if not self._breaker.is_open:
            with interrupts.deferred(), self._breaker.guard():
                body = self._breaker.redis(ANSWER).getrange(self._prefix + name, 0, size)  # one byte more than expected
        return body if digest_of(body) == digest else None

    def close(self) -> None:
        self._breaker.close()


def digest_of(body: bytes) -> str:
    """Return the digest by which the ledger identifies a version's bytes."""
    return sha256(body).hexdigest()
