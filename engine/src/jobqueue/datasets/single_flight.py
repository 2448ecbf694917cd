"""A question that many threads have at the same time is asked once, and each gets an answer younger than its question.

While one is asked, whoever comes waits for the next: what is under way may be answered with what was before they came. So a
question costs its database no more for twenty threads than for two.
"""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from jobqueue import interrupts
from jobqueue.database.database import DatabaseUnavailable

T = TypeVar("T")


class _Call(Generic[T]):
    def __init__(self) -> None:
        self.over = threading.Event()
        self.answer: T
        self.error: BaseException | None = None


class SingleFlight(Generic[T]):
    """`question` is asked by one thread at a time. What it raises, all raise who waited for that answer."""

    def __init__(self, question: Callable[[], T]) -> None:
        self._question = question
        self._lock = threading.Lock()
        self._now: _Call[T] | None = None  # who asked it has not got the answer yet
        self._next: _Call[T] | None = None

    def get(self) -> T:
        with interrupts.deferred():  # others wait for what this thread has begun
            with self._lock:
                before = self._now
                mine = self._next if before is not None else None
                first = mine is None
                if mine is None:
                    mine = _Call()
                    if before is None:
                        self._now = mine
                    else:
                        self._next = mine
            if first:
                self._answer(mine, before)
            else:
                mine.over.wait()
        if mine.error is not None:
            raise mine.error
        return mine.answer

    def _answer(self, mine: _Call[T], before: _Call[T] | None) -> None:
        """Ask, when the question before is over."""
        mine.error = DatabaseUnavailable("Whoever asked was interrupted.")
        try:
            if before is not None:
                before.over.wait()
            mine.answer = self._question()
            mine.error = None
        except Exception as error:
            mine.error = error
        finally:
            with self._lock:
                if self._now is mine:
                    self._now, self._next = self._next, None
                else:  # interrupted before its turn
                    self._next = None
            mine.over.set()
