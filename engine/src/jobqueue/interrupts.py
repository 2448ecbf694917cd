"""Timeouts and cancels, raised inside a running task but never inside a statement of the ledger.

A signal can land between any two bytecodes. An exception that lands in the middle of a database call leaves a connection
that nobody can use, so interrupts wait while a ledger statement runs and are raised when it is done. An interrupt names
the token of the claim it means: what comes late never hits the worker's next job. After one, the task has AGAIN seconds
to clean up before the next.
"""

import threading
import time
from collections.abc import Callable
from types import TracebackType

AGAIN = 5.0  # seconds from one interrupt to the next, if the first got lost or was swallowed


class ClaimLost(KeyboardInterrupt):
    """The job was cancelled, or given to another worker: this attempt has no one to work for.

    A KeyboardInterrupt, so that `except Exception` in a task does not swallow it and Huey takes it for an interruption.
    """


class OutOfTime(KeyboardInterrupt):
    """The task's time has been over for a while, and it goes on: it swallowed the TaskTimeout that said so."""


# Asked when an interrupt is about to be raised: the exception, or None if there is no reason (any more).
Reason = Callable[[], BaseException | None]


class _Interrupts(threading.local):
    """What a thread knows: how deep it is in ledger statements, whose job it runs, and what came in the meantime."""

    def __init__(self) -> None:
        self.depth = 0
        self.token: str | None = None
        self.pending: list[tuple[str, Reason]] = []
        self.spared_until = 0.0  # by time.monotonic()


_here = _Interrupts()


class deferred:
    """While inside, interrupts wait; leaving the outermost one raises what came."""

    def __enter__(self) -> None:
        _here.depth += 1

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        _here.depth -= 1
        while _here.depth == 0 and _here.pending:
            request(*_here.pending.pop(0))


def expose(token: str) -> None:
    """From now on this thread may be interrupted, on behalf of that claim."""
    _here.pending.clear()
    _here.spared_until = 0.0
    _here.token = token


def shield() -> None:
    """From now on nothing interrupts this thread."""
    _here.token = None


def request(token: str | None, reason: Reason) -> None:
    """Interrupt this thread, at once or after its statement, if it works for that token and there is a reason."""
    if token is None or token != _here.token:
        return
    if _here.depth:
        _here.pending.append((token, reason))
        return
    if time.monotonic() < _here.spared_until:
        return
    exception = reason()
    if exception is not None and token == _here.token:
        _here.spared_until = time.monotonic() + AGAIN
        raise exception
