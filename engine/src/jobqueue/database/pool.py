"""The connections of one process to the ledger's database: kept open between statements, and never carried over a fork.

A pool of its own, since a statement of the ledger takes a tenth of a millisecond of this process, and a pool for all purposes a
third of that. Whoever waits for a connection gets the next one: threads that are busy keep no other from theirs.
"""

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from typing import Any


class AllInUse(Exception):
    """Other threads have had all connections for as long as this one would wait."""


class Pool:
    """Of `size` connections at most; whoever finds none free waits for one, `timeout` seconds at most.

    `connect` opens one; `usable` says whether one that lay here for a while still is.
    """

    def __init__(self, connect: Callable[[], Any], usable: Callable[[Any], bool], size: int, timeout: float) -> None:
        self._connect = connect
        self._usable = usable
        self._size = size
        self._timeout = timeout
        self._lock = threading.Lock()
        self._places = size  # that nobody has
        self._waiting: deque[threading.Lock] = deque()  # each is released when a place is its thread's
        self._free: list[Any] = []  # connections; the one that was used last is used next
        self._closed = False

    def take(self) -> Any:
        """A connection, to be given back or dropped. Raises AllInUse, and what `connect` does."""
        self._enter()
        try:
            while (connection := self._pop()) is not None:
                if self._usable(connection):
                    return connection
                connection.close()
            return self._connect()
        except BaseException:
            self._leave()
            raise

    def give_back(self, connection: Any) -> None:
        self._free.append(connection)
        self._leave()
        if self._closed:
            self.close()

    def drop(self, connection: Any) -> None:
        """It may be broken: nobody gets it again."""
        try:
            with contextlib.suppress(Exception):
                connection.close()
        finally:
            self._leave()

    def close(self) -> None:
        """Close those that are free now, and each other one when it is given back."""
        self._closed = True
        while (connection := self._pop()) is not None:
            connection.close()

    def _pop(self) -> Any | None:
        try:
            return self._free.pop()
        except IndexError:
            return None

    def _enter(self) -> None:
        with self._lock:
            if self._places:
                self._places -= 1
                return
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
        try:
            came = turn.acquire(timeout=self._timeout)
        except BaseException:  # Ctrl-C
            if not self._waits_no_more(turn):
                self._leave()
            raise
        if not came and self._waits_no_more(turn):
            raise AllInUse(f"All {self._size} connections of this process have been in use for {self._timeout:g} s.")

    def _waits_no_more(self, turn: threading.Lock) -> bool:
        """False where its place had come, just now."""
        with self._lock:
            waited = turn in self._waiting
            if waited:
                self._waiting.remove(turn)
            return waited

    def _leave(self) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._places += 1
