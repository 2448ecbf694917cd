"""A pool of open database connections for the threads of one process.

The pool is fair: a free connection goes to the thread that has waited the longest, so busy threads do not starve others. A
general-purpose pool adds about a third to the CPU time of a ledger statement (a tenth of a millisecond), which is why this one
exists.
"""

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from jobqueue.database import patience


class AllInUse(Exception):
    """Other threads held all connections of the pool for the whole timeout."""


class Pool:
    """A pool of connections for the threads of one process.

    :param connect: opens a connection.
    :param usable: returns whether an idle connection still works.
    :param size: the most connections that are open at once.
    :param timeout: seconds that a thread waits for a free connection. A request may wait fewer.
    :param watch: called with each new connection, and a function to call when that is busy for long with a large value on a slow
        link. Its place goes to another thread then, and the connection is closed after use.
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        usable: Callable[[Any], bool],
        size: int,
        timeout: float,
        watch: Callable[[Any, Callable[[], None]], object] = lambda connection, on_transfer: None,
    ) -> None:
        self._connect = connect
        self._watch = watch
        self._without_place: list[Any] = []  # connections in use that have given up their place
        self._usable = usable
        self._size = size
        self._timeout = timeout
        self._lock = threading.Lock()
        self._places = size  # connections that may still be taken, whether open or not
        self._waiting: deque[threading.Lock] = deque()  # one for each waiting thread, released when it gets a place
        self._free: list[Any] = []  # idle connections; the last one used is used next
        self._closed = False

    def take(self) -> Any:
        """Return a connection for this thread alone. The caller passes it to `give_back` or `drop`.

        :raises AllInUse: if no connection is free within the timeout.
        """
        self._enter()
        try:
            while (connection := self._pop()) is not None:
                if self._usable(connection):
                    return connection
                connection.close()
            connection = self._connect()
            self._watch(connection, lambda: self._give_up_place(connection))
            return connection
        except BaseException:
            self._leave()
            raise

    def give_back(self, connection: Any) -> None:
        """Return a working connection to the pool."""
        if connection in self._without_place:
            self.drop(connection)
            return
        self._free.append(connection)
        self._leave()
        if self._closed:
            self.close()

    def drop(self, connection: Any) -> None:
        """Close a connection that may be broken, and free its place in the pool."""
        try:
            with contextlib.suppress(Exception):
                connection.close()
        finally:
            if connection in self._without_place:
                self._without_place.remove(connection)
            else:
                self._leave()

    def close(self) -> None:
        """Close the idle connections now, and each of the others when it is given back."""
        self._closed = True
        while (connection := self._pop()) is not None:
            connection.close()

    def _give_up_place(self, connection: Any) -> None:
        if connection not in self._without_place:
            self._without_place.append(connection)
            self._leave()

    def _pop(self) -> Any | None:
        """Return an idle connection, or None if there is no idle one."""
        try:
            return self._free.pop()
        except IndexError:
            return None

    def _enter(self) -> None:
        """Reserve a place. Wait for one if all are in use."""
        with self._lock:
            if self._places:
                self._places -= 1
                return
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
        timeout = patience.at_most(self._timeout)
        try:
            got_place = turn.acquire(timeout=timeout)
        except BaseException:  # Ctrl-C
            if not self._stop_waiting(turn):
                self._leave()
            raise
        if not got_place and self._stop_waiting(turn):
            raise AllInUse(f"All {self._size} connections of this process have been in use for {timeout:g} s.")

    def _stop_waiting(self, turn: threading.Lock) -> bool:
        """Remove this thread from the line. Return False if it has just been given a place."""
        with self._lock:
            still_waiting = turn in self._waiting
            if still_waiting:
                self._waiting.remove(turn)
            return still_waiting

    def _leave(self) -> None:
        """Give this place to the thread that has waited the longest, or free it."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._places += 1
