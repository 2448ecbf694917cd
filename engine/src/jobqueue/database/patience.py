"""How long a call waits for a silent database.

A worker waits long, as its job can wait. A person looks at an empty page meanwhile, so calls of the web process's requests give up
early. After one has waited in vain, the others do not wait, nor do the requests of the next moment: a page takes several.
"""

import contextlib
import time
from collections.abc import Iterator
from contextvars import ContextVar

READ = 1.5  # seconds that a request waits for a statement by itself, or for a connection
WRITE = 4.0  # seconds that it waits for one of a transaction, which may have to wait for others and for the disk
HANGS = 1.0  # seconds without an answer after which a failed call counts as having waited in vain
REST = 2.0  # seconds after such a call in which requests do not ask the database

_began: ContextVar[float | None] = ContextVar("began", default=None)
_limit: ContextVar[float | None] = ContextVar("limit", default=None)


def begin_request() -> None:
    """Let this thread's calls give up early, until `end_request`."""
    _began.set(time.monotonic())


def end_request(*_: object) -> None:
    _began.set(None)


def request_began() -> float | None:
    """Return time.monotonic() of the beginning of this thread's request, or None outside of requests."""
    return _began.get()


@contextlib.contextmanager
def waiting(seconds: float) -> Iterator[None]:
    """Wait at most so long in the block, if this is a request."""
    token = _limit.set(None if _began.get() is None else seconds)
    try:
        yield
    finally:
        _limit.reset(token)


def at_most(seconds: float) -> float:
    """Return the seconds to wait: these, or fewer in a request."""
    limit = _limit.get()
    return seconds if limit is None else min(seconds, limit)
