"""Jobs that ended long ago, or so many jobs ago, are deleted, with all that was kept of them.

Every consumer does a piece with each sweep: a look at so many rows, or the deletion of so many jobs. None takes long, and
none waits for another's.
"""

import sys
import time
from collections.abc import Generator, Iterator

from jobqueue.ledger import Ledger

KEEP_DAYS = 30  # after a job's end
KEEP_JOBS = 1_000_000  # the newest, whatever their state
COUNTED = 10_000  # jobs that are counted at a time
LEAST_BATCH, BATCH = 32, 512  # jobs that are looked at, and deleted, at a time: at first and at least, and at most
LONG = 0.05  # seconds that a batch may take: then the next is smaller, else larger, as jobs may have many steps
REST = 300.0  # seconds from the end of the history to another look from its beginning
DAY = 24 * 3600.0


class Pruner:
    """What a consumer does of it. 0 or None keeps them all."""

    def __init__(self, ledger: Ledger, keep_days: float | None, keep_jobs: int | None) -> None:
        self._ledger = ledger
        self._keep_s = keep_days * DAY if keep_days else float("inf")
        self._keep_jobs = keep_jobs or sys.maxsize
        self._pieces: Iterator[int] | None = None
        self._due_at = 0.0  # by time.monotonic()

    def piece(self) -> int:
        """Do the next piece, if one is due. Returns how many jobs it deleted. Raises DatabaseUnavailable."""
        if self._pieces is None:
            if time.monotonic() < self._due_at:
                return 0
            self._pieces = self.pieces()
        try:
            return next(self._pieces)
        except StopIteration:
            self._pieces = None
            self._due_at = time.monotonic() + REST
            return 0
        except BaseException:
            self._pieces = None
            raise

    def pieces(self) -> Iterator[int]:
        """Once through the history, from its beginning."""
        oldest = yield from self._oldest_kept()
        after: int | None = 0
        batch = LEAST_BATCH
        while after is not None:
            began = time.monotonic()
            after, deleted = self._ledger.prune(after, batch, self._keep_s, oldest)
            # Where each statement takes long, over a slow network, few jobs take as long as many, and more would come than go.
            batch = max(LEAST_BATCH, batch // 2) if time.monotonic() - began > LONG else min(BATCH, batch * 2)
            yield deleted
        self._ledger.prune_entries(BATCH)

    def _oldest_kept(self) -> Generator[int, None, int]:
        """Returns the `seq` of the oldest of so many jobs as are kept; 0 where there are not so many."""
        oldest, left = sys.maxsize, self._keep_jobs
        if left == sys.maxsize:
            return 0
        while left > 0:
            count, before = self._ledger.step_back(oldest, min(left, COUNTED))
            if before is None or count < min(left, COUNTED):
                return 0
            oldest, left = before, left - count
            yield 0
        return oldest
