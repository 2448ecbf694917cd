"""Jobs that ended long ago, or so many jobs ago, are deleted, with all that was kept of them.

Every consumer does a piece now and then: a look at so many rows, or the deletion of so many jobs. None takes long, and none
waits for another's. Pieces are small, as whoever works meanwhile shares the database's processors with them, and its disk.
"""

import sys
import time
from collections.abc import Generator, Iterator

from jobqueue.ledger.retention import Retention

KEEP_DAYS = 30  # after a job's end
KEEP_JOBS = 1_000_000  # the newest, whatever their state
COUNTED = 10_000  # jobs that are counted at a time
BATCH = 64  # jobs that are looked at, and deleted, at a time
PAUSE = 10  # times as long as a piece took, before the next
LONGEST_PAUSE = 1.0  # seconds: over a slow network too as many go as come
REST = 300.0  # seconds from the end of the history to another look from its beginning
DAY = 24 * 3600.0


class Pruner:
    """What a consumer does of it. 0 or None keeps them all."""

    def __init__(self, retention: Retention, keep_days: float | None, keep_jobs: int | None) -> None:
        self._retention = retention
        self._keep_s = keep_days * DAY if keep_days else float("inf")
        self._keep_jobs = keep_jobs or sys.maxsize
        self._pieces: Iterator[int] | None = None
        self._due_at = 0.0  # by time.monotonic()

    def piece(self) -> int:
        """Do the next piece, if one is due. Returns how many jobs it deleted. Raises DatabaseUnavailable."""
        began = time.monotonic()
        if began < self._due_at:
            return 0
        self._due_at = began + LONGEST_PAUSE
        if self._pieces is None:
            self._pieces = self.pieces()
        try:
            deleted = next(self._pieces)
        except StopIteration:
            self._pieces = None
            self._due_at = began + REST
            return 0
        except BaseException:
            self._pieces = None
            raise
        ended = time.monotonic()
        self._due_at = ended + min(PAUSE * (ended - began), LONGEST_PAUSE)
        return deleted

    def pieces(self) -> Iterator[int]:
        """Once through the history, from its beginning."""
        oldest = yield from self._oldest_kept()
        after: int | None = 0
        while after is not None:
            after, deleted = self._retention.prune_jobs(after, BATCH, self._keep_s, oldest)
            yield deleted
        while self._retention.prune_entries(BATCH) == BATCH:
            yield 0

    def _oldest_kept(self) -> Generator[int, None, int]:
        """Returns the `seq` of the oldest of so many jobs as are kept; 0 where there are not so many."""
        oldest, left = sys.maxsize, self._keep_jobs
        if left == sys.maxsize:
            return 0
        while left > 0:
            count, before = self._retention.step_back(oldest, min(left, COUNTED))
            if before is None or count < min(left, COUNTED):
                return 0
            oldest, left = before, left - count
            yield 0
        return oldest
