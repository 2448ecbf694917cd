"""Interrupts of a running task: timeouts and cancels, raised in the task but never inside a database statement.

A signal can arrive between any two bytecodes. An exception in the middle of a database call would leave the connection unusable.
So an interrupt that arrives during a statement is raised when the statement is done. An interrupt names the token of the claim
that it is meant for, so a late one never hits the worker's next job. After an interrupt the task has AGAIN seconds to clean up
before the next.
"""

import threading
import time
from collections.abc import Callable
from types import TracebackType

AGAIN = 5.0  # seconds between two interrupts, in case the task swallowed the first


class ClaimLost(KeyboardInterrupt):
    """The attempt's claim is gone: the job was cancelled, or another worker claimed it.

    This is a KeyboardInterrupt, so `except Exception` in a task does not catch it, and Huey treats it as an interruption.
    """


class OutOfTime(KeyboardInterrupt):
    """The task still runs some time after its timeout, because it swallowed the TaskTimeout."""


# Called just before an interrupt is raised. Returns the exception, or None if the interrupt is no longer needed.
Reason = Callable[[], BaseException | None]


class _Interrupts(threading.local):
    """The state of one thread: how deeply it defers interrupts, the claim that it works for, and pending interrupts."""

    def __init__(self) -> None:
        self.depth = 0
        self.token: str | None = None
        self.pending: list[tuple[str, Reason]] = []
        self.quiet_until = 0.0  # by time.monotonic(): no interrupt is raised before


_state = _Interrupts()


class deferred:
    """A block during which this thread's interrupts wait. The end of the outermost block raises the first one that is due."""

    def __enter__(self) -> None:
        _state.depth += 1

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        _state.depth -= 1
        while _state.depth == 0 and _state.pending:
            request(*_state.pending.pop(0))


def expose(token: str) -> None:
    """Allow interrupts of this thread on behalf of the claim with this token."""
    _state.pending.clear()
    _state.quiet_until = 0.0
    _state.token = token


def shield() -> None:
    """Stop interrupts of this thread until the next `expose`."""
    _state.token = None


def exposed() -> bool:
    """Return whether this thread runs a task's code, which may be interrupted."""
    return _state.token is not None


def request(token: str | None, reason: Reason) -> None:
    """Interrupt this thread if it works for this token. Inside a `deferred` block, do so at its end.

    :param reason: returns the exception to raise, or None to raise nothing.
    """
    if token is None or token != _state.token:
        return
    if _state.depth:
        _state.pending.append((token, reason))
        return
    if time.monotonic() < _state.quiet_until:
        return
    exception = reason()
    if exception is not None and token == _state.token:
        _state.quiet_until = time.monotonic() + AGAIN
        raise exception
