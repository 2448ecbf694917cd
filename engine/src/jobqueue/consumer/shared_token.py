"""A token in shared memory: a worker writes it, and its consumer's main process reads it."""

import multiprocessing

TOKEN = 32  # characters in a token


class SharedToken:
    """A token that one process writes and others read. Empty at first.

    A reader gets a token that was written, never parts of two. There is no lock, because a worker may be killed at any moment:
    a write goes to the place that no reader looks at, and then the number of writes says where to look.
    """

    def __init__(self) -> None:
        self._places = [multiprocessing.RawArray("c", TOKEN) for _ in range(2)]
        self._writes = multiprocessing.RawValue("Q", 0)

    @property
    def value(self) -> str:
        while True:
            writes = self._writes.value
            token: bytes = self._places[writes % 2].value
            if self._writes.value == writes:  # otherwise the next write may have changed it meanwhile
                return token.decode()

    @value.setter
    def value(self, token: str) -> None:
        writes = self._writes.value + 1
        self._places[writes % 2].value = token.encode()
        self._writes.value = writes
