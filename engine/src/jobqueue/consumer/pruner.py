"""The pruner: it deletes old jobs with everything that belongs to them, and files that no job names.

A job is old when it ended `keep_days` ago, or when `keep_jobs` newer jobs exist. The consumer that does the housekeeping prunes in
small batches with pauses between them, because they share the database's processors and disk with the workers. No batch waits for
another consumer's.
"""

import sys
import time
from collections.abc import Generator, Iterator

from jobqueue.ledger.retention import Retention

KEEP_DAYS = 30  # days after a job's end
KEEP_JOBS = 1_000_000  # number of the newest jobs to keep, in any state
COUNTED = 10_000  # jobs to count at a time
BATCH = 64  # jobs to check and delete at a time
PAUSE = 10  # pause after a batch, as a multiple of the time that the batch took
LONGEST_PAUSE = 1.0  # seconds; the limit lets pruning keep up with new jobs even over a slow network
REST = 300.0  # seconds between the end of one pass through the history and the start of the next
DAY = 24 * 3600.0


class Pruner:
    """Prunes one ledger in batches.

    :param keep_days: days after its end for which a job is kept. 0 or None: no limit.
    :param keep_jobs: number of the newest jobs to keep. 0 or None: no limit.
    """

    def __init__(self, retention: Retention, keep_days: float | None, keep_jobs: int | None) -> None:
        self._retention = retention
        self._keep_s = keep_days * DAY if keep_days else float("inf")
        self._keep_jobs = keep_jobs or sys.maxsize
        self._batches: Iterator[int] | None = None
        self._due_at = 0.0  # by time.monotonic()

    def prune_batch(self) -> int:
        """Prune the next batch, if one is due. Return the number of deleted jobs. Raises DatabaseUnavailable."""
        began = time.monotonic()
        if began < self._due_at:
            return 0
        self._due_at = began + LONGEST_PAUSE
        if self._batches is None:
            self._batches = self.batches()
        try:
            deleted = next(self._batches)
        except StopIteration:
            self._batches = None
            self._due_at = began + REST
            return 0
        except BaseException:
            self._batches = None
            raise
        ended = time.monotonic()
        self._due_at = ended + min(PAUSE * (ended - began), LONGEST_PAUSE)
        return deleted

    def batches(self) -> Iterator[int]:
        """Go through the jobs and then the files once, oldest first. Yield the number of jobs that each batch deleted."""
        oldest = yield from self._oldest_kept()
        after: int | None = 0
        while after is not None:
            after, deleted = self._retention.prune_jobs(after, BATCH, self._keep_s, oldest)
            yield deleted
        while self._retention.prune_entries(BATCH) == BATCH:
            yield 0
        after = 0
        while after is not None:
            after, unused = self._retention.files.next_unused(after)
            for file_id in unused:
                while self._retention.files.delete_batch(file_id):
                    yield 0
            yield 0

    def _oldest_kept(self) -> Generator[int, None, int]:
        """Return the `seq` of the oldest of the `keep_jobs` newest jobs, or 0 if fewer jobs exist."""
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
