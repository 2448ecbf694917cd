"""The connections of one process to the ledger's database: kept open between statements, and never carried over a fork.

A pool of its own, since a statement of the ledger takes a tenth of a millisecond of this process, and a pool for all purposes a
third of that.
"""

import contextlib
import threading
from collections.abc import Callable
from typing import Any


class AllInUse(Exception):
    """Other threads have had all connections for as long as this one would wait."""


class Pool:
    """Of at most so many connections; whoever finds none free waits for one, `patience` seconds at most.

    `connect` opens one; `usable` says whether one that lay here for a while still is.
    """

    def __init__(self, connect: Callable[[], Any], usable: Callable[[Any], bool], most: int, patience: float) -> None:
        self._connect = connect
        self._usable = usable
        self._most = most
        self._patience = patience
        self._places = threading.Semaphore(most)
        self._free: list[Any] = []  # the one that was used last is used next
        self._closed = False

    def take(self) -> Any:
        """A connection, to be given back or dropped. Raises AllInUse, and what `connect` does."""
        if not self._places.acquire(timeout=self._patience):
            raise AllInUse(f"All {self._most} connections of this process have been in use for {self._patience:g} s.")
        try:
            while self._free:
                connection = self._free.pop()
                if self._usable(connection):
                    return connection
                connection.close()
            return self._connect()
        except BaseException:
            self._places.release()
            raise

    def give_back(self, connection: Any) -> None:
        self._free.append(connection)
        self._places.release()
        if self._closed:
            self.close()

    def drop(self, connection: Any) -> None:
        """It may be broken: nobody gets it again."""
        self._places.release()
        with contextlib.suppress(Exception):
            connection.close()

    def close(self) -> None:
        """Close those that are free now, and each other one when it is given back."""
        self._closed = True
        with contextlib.suppress(IndexError):  # another thread closes too
            while self._free:
                self._free.pop().close()
