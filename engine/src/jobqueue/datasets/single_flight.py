"""Coalesce identical concurrent reads: threads that ask at the same time share one query.

No thread gets a result older than its own request. A thread that asks while a query runs waits for the next query, because
the running one may return data from before the request. So twenty threads cost the database no more than two.
"""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from jobqueue import interrupts
from jobqueue.database.database import DatabaseUnavailable

T = TypeVar("T")


class _Call(Generic[T]):
    """A call of the query, with its result for all threads that wait for it."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.result: T
        self.error: BaseException | None = None


class SingleFlight(Generic[T]):
    """Shares the calls of a query among threads. One thread at a time calls it."""

    def __init__(self, query: Callable[[], T]) -> None:
        self._query = query
        self._lock = threading.Lock()
        self._running: _Call[T] | None = None
        self._next: _Call[T] | None = None  # starts when the running call is done

    def get(self) -> T:
        """Return a result of the query from after this call began. Raise the exception that the query raised."""
        with interrupts.deferred():  # other threads wait for the call that this thread makes
            with self._lock:
                before = self._running
                mine = self._next if before is not None else None
                is_mine_to_make = mine is None
                if mine is None:
                    mine = _Call()
                    if before is None:
                        self._running = mine
                    else:
                        self._next = mine
            if is_mine_to_make:
                self._make(mine, before)
            else:
                mine.done.wait()
        if mine.error is not None:
            raise mine.error
        return mine.result

    def _make(self, call: _Call[T], before: _Call[T] | None) -> None:
        """Run the query once the previous one has finished."""
        call.error = DatabaseUnavailable("The thread that ran this query was interrupted. Try again.")
        try:
            if before is not None:
                before.done.wait()
            call.result = self._query()
            call.error = None
        except Exception as error:
            call.error = error
        finally:
            with self._lock:
                if self._running is call:
                    self._running, self._next = self._next, None
                else:  # interrupted while it waited for the previous call
                    self._next = None
            call.done.set()
