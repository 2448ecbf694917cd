"""Huey's storage interface on the ledger.

DurableHuey submits, claims and ends jobs on the ledger directly. The rest of Huey uses this interface: results, revocations,
locks, rate limits, counters and flushes. Reading a result never removes it.
"""

import itertools
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from huey.constants import EmptyData
from huey.storage import BaseStorage

from jobqueue.datasets.cache import DatasetCache
from jobqueue.execution.current_job import current_job
from jobqueue.ledger.ledger import Ledger
from jobqueue.ledger.states import State
from jobqueue.notifier.notifier import Notifier

SHORTEST_POLL, LONGEST_POLL = 0.005, 0.25  # seconds between two queries for a result, at first and later


class LedgerStorage(BaseStorage):
    """Huey's storage, backed by the ledger.

    :param as_result: returns a job's result in Huey's serialized form, or EmptyData.
    :param submit: accepts a message with its priority and the time to run it.
    :param claim: claims the next job, and returns its message or None.
    """

    blocking = True
    priority = True

    def __init__(
        self,
        name: str,
        ledger: Ledger,
        notifier: Notifier,
        as_result: Callable[[str], Any],
        submit: Callable[[bytes, float | None, datetime | None], None],
        claim: Callable[[], bytes | None],
        dataset_cache: DatasetCache | None = None,
    ) -> None:
        super().__init__(name)
        self.ledger = ledger
        self.notifier = notifier
        self.dataset_cache = dataset_cache
        self._adding = threading.Lock()
        self._as_result = as_result
        self._submit = submit
        self._claim = claim

    def close(self) -> None:
        self.notifier.close()
        if self.dataset_cache is not None:
            self.dataset_cache.close()
        self.ledger.database.close()

    # --- the queue and the schedule: states of jobs ---

    def enqueue(self, data: bytes, priority: float | None = None) -> None:
        self._submit(data, priority, None)

    def dequeue(self) -> bytes | None:
        return self._claim()

    def queue_size(self) -> int:
        return self.ledger.reading.count(State.QUEUED)

    def enqueued_items(self, limit: int | None = None) -> list[bytes]:
        return self.ledger.reading.messages(State.QUEUED, limit)

    def flush_queue(self) -> None:
        self._cancel_all(State.QUEUED)

    def add_to_schedule(self, data: bytes, ts: datetime) -> None:
        self._submit(data, None, ts)

    def read_schedule(self, ts: datetime) -> list[bytes]:
        """Return no messages. A consumer's sweep queues due jobs in the ledger."""
        return []

    def schedule_size(self) -> int:
        return self.ledger.reading.count(State.SCHEDULED)

    def scheduled_items(self, limit: int | None = None) -> list[bytes]:
        return self.ledger.reading.messages(State.SCHEDULED, limit)

    def flush_schedule(self) -> None:
        self._cancel_all(State.SCHEDULED)

    def _cancel_all(self, state: State) -> None:
        while ids := self.ledger.reading.ids(state):  # a cancel may queue the next job of a pipeline
            for job_id in ids:
                self.ledger.cancel(job_id, "Flushed.")

    # --- keys and values: a key may be a job's id, whose value is its result ---

    def put_data(self, key: str, value: bytes, is_result: bool = False) -> None:
        self.ledger.entries.put(key, value)

    def peek_data(self, key: str) -> Any:
        value = self.ledger.entries.peek([key]).get(key)
        return self._as_result(key) if value is None else value

    def peek_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        return current_job().patiently(lambda: self.ledger.entries.peek(keys))

    def pop_data(self, key: str) -> Any:
        value = self.ledger.entries.pop(key)
        return self._as_result(key) if value is None else value

    def delete_data(self, key: str) -> bool:
        return self.ledger.entries.delete(key)

    def has_data_for_key(self, key: str) -> bool:
        return self.peek_data(key) is not EmptyData

    def put_if_empty(self, key: str, value: bytes, ttl: float | None = None) -> bool:
        """Take a lock. It belongs to the claim of the calling job, and is free again when that claim ends."""
        job, tries = current_job(), itertools.count()
        return job.patiently(lambda: self.ledger.entries.put_if_free(key, value, job.token, ttl, again=next(tries) > 0))

    def wait_result(
        self, key: str, timeout: float | None = None, backoff: float = 1.15, max_delay: float = 1.0
    ) -> bool:
        until = None if timeout is None else time.monotonic() + timeout
        delay = SHORTEST_POLL
        try:
            while not (self.ledger.reading.has_ended(key) or self.has_data_for_key(key)):
                left = max_delay if until is None else until - time.monotonic()
                if left <= 0:
                    return False
                if self.notifier.sees_commits:
                    self.notifier.wait(min(left, max_delay))
                else:
                    time.sleep(min(left, delay))
                    delay = min(delay * backoff, max_delay, LONGEST_POLL)
            return True
        finally:
            if self.notifier.sees_commits:
                self.notifier.close()  # free the connection: many short-lived threads may wait

    def result_store_size(self) -> int:
        return len(self.ledger.entries.result_ids()) + len(self.ledger.entries.all())

    def result_items(self) -> dict[str, bytes]:
        return {
            job_id: self._as_result(job_id) for job_id in self.ledger.entries.result_ids()
        } | self.ledger.entries.all()

    def flush_results(self) -> None:
        self.ledger.entries.flush_results()

    # --- counters ---

    def incr(self, key: str, amount: int = 1) -> int:
        """Add to a counter. A running job repeats this until the database answers; the amount is added once."""
        job, entries = current_job(), self.ledger.entries
        if (token := job.token) is None:
            return entries.add(key, amount)
        addition = uuid.uuid4().bytes
        with self._adding:  # the ledger knows the last addition of a claim
            return job.patiently(lambda: entries.add_once(key, amount, token, addition))

    def delete_counter(self, key: str) -> None:
        self.ledger.entries.delete_counter(key)

    def flush_counters(self) -> None:
        self.ledger.entries.flush_counters()
