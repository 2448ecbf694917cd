"""Huey's key/value store: entries, locks that belong to a claim, and counters."""

from collections.abc import Sequence

from jobqueue.database.database import Database, Transaction

PUT_ENTRY = """
INSERT INTO entries (key, value) VALUES (:key, :value)
ON CONFLICT (key) DO UPDATE SET value = excluded.value, holder = NULL, expires_at = NULL
"""

TAKE_NEW_KEY = """
INSERT INTO entries (key, value, holder, expires_at) VALUES (:key, :value, :holder, NOW + :ttl)
ON CONFLICT (key) DO NOTHING
"""

LOCK_KEY = "SELECT 1 FROM entries WHERE key = :key FOR UPDATE"

TAKE_FREE_KEY = """
UPDATE entries SET value = :value, holder = :holder, expires_at = NOW + :ttl
WHERE key = :key
  AND (expires_at < NOW
       OR :again AND holder = :holder
       OR holder IS NOT NULL AND NOT EXISTS (SELECT 1 FROM jobs WHERE token = entries.holder))
"""

PEEK_ENTRIES = """
SELECT key, value FROM entries
WHERE key IN EACH(:keys)
  AND (expires_at IS NULL OR expires_at >= NOW)
  AND (holder IS NULL OR EXISTS (SELECT 1 FROM jobs WHERE token = entries.holder))
"""

POP_ENTRY = "DELETE FROM entries WHERE key = :key RETURNING value"
DELETE_ENTRY = "DELETE FROM entries WHERE key = :key"

RELEASE_LOCK = """
DELETE FROM entries
WHERE key = :key
  AND (holder IS NULL OR holder = :holder
       OR NOT EXISTS (SELECT 1 FROM jobs WHERE token = entries.holder))
"""

DELETE_STALE_LOCK = """
DELETE FROM entries
WHERE key = :key
  AND (holder IS NULL OR NOT EXISTS (SELECT 1 FROM jobs WHERE token = entries.holder))
"""

ENTRIES = "SELECT key, value FROM entries"

ADD_TO_COUNTER = """
INSERT INTO counters (key, value) VALUES (:key, :amount)
ON CONFLICT (key) DO UPDATE SET value = counters.value + excluded.value
RETURNING value
"""

# The last addition of a claim, by the id that the caller gave it. Nothing changes if it is this one.
NOTE_ADDITION = """
INSERT INTO entries (key, value, holder, expires_at) VALUES (:key, :addition, :holder, NOW + :ttl)
ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at
WHERE entries.value <> excluded.value
"""

DELETE_COUNTER = "DELETE FROM counters WHERE key = :key"
RESULT_IDS = "SELECT job_id FROM results"
FLUSH_RESULTS = "DELETE FROM results"
FLUSH_ENTRIES = "DELETE FROM entries"
FLUSH_COUNTERS = "DELETE FROM counters"


ADDITION_KEPT = 24 * 3600  # seconds in which an addition to a counter may be repeated


class Entries:
    """The entries and counters of one database.

    A lock is an entry whose `holder` is the token of a claim. It becomes free when that claim is over. So a worker that dies leaves no
    lock behind.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    # --- entries ---

    def put(self, key: str, value: bytes) -> None:
        """Set an entry, without a holder or an expiry."""
        with self.database.statement() as tx:
            tx.run(PUT_ENTRY, key=key, value=value)

    def put_if_free(self, key: str, value: bytes, holder: str | None, ttl: float | None, again: bool = False) -> bool:
        """Set an entry if its key is free: absent, expired, or a lock whose claim is over. Return whether it was set.

        :param holder: the token of the claim that takes a lock; None for another entry.
        :param ttl: seconds until it expires; None for never.
        :param again: whether an earlier try got no answer, so that this holder may have the key already.
        """
        with self.database.transaction() as tx:
            taken = {"key": key, "value": value, "holder": holder, "ttl": ttl}
            if tx.run(TAKE_NEW_KEY, **taken):
                return True
            tx.one(LOCK_KEY, key=key)  # lock the row before the check of its holder
            return bool(tx.run(TAKE_FREE_KEY, again=again, **taken))

    def peek(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Return the entries with these keys that are neither expired nor locks of a claim that is over."""
        with self.database.statement() as tx:
            return {row["key"]: row["value"] for row in tx.all(PEEK_ENTRIES, keys=list(keys))}

    def pop(self, key: str) -> bytes | None:
        """Delete an entry and return its value, or None if there is none."""
        with self.database.statement() as tx:
            row = tx.one(POP_ENTRY, key=key)
            return None if row is None else row["value"]

    def delete(self, key: str) -> bool:
        """Delete an entry. Return whether it existed."""
        with self.database.statement() as tx:
            return bool(tx.run(DELETE_ENTRY, key=key))

    def all(self) -> dict[str, bytes]:
        """Return all entries, including expired ones."""
        with self.database.statement() as tx:
            return {row["key"]: row["value"] for row in tx.all(ENTRIES)}

    # --- locks ---

    def release_lock(self, key: str, token: str) -> bool:
        """Delete a lock, unless another live claim holds it. Return whether it was deleted."""
        with self.database.transaction() as tx:
            tx.one(LOCK_KEY, key=key)
            return bool(tx.run(RELEASE_LOCK, key=key, holder=token))

    def delete_stale_lock(self, key: str) -> bool:
        """Delete a lock, unless a live claim holds it. Return whether it was deleted."""
        with self.database.transaction() as tx:
            tx.one(LOCK_KEY, key=key)
            return bool(tx.run(DELETE_STALE_LOCK, key=key))

    # --- counters ---

    def add(self, key: str, amount: int) -> int:
        """Add to a counter, which starts at 0. Return its new value."""
        with self.database.statement() as tx:
            return _add(tx, key, amount)

    def add_once(self, key: str, amount: int, holder: str, addition: bytes) -> int:
        """Add to a counter as `add` does, but nothing if the last addition of this holder has the same id.

        :param holder: the token of the claim that adds.
        :param addition: a unique id of the addition, the same when it is repeated because no answer came.
        """
        noted = {"key": f"added:{holder}", "addition": addition, "holder": holder, "ttl": ADDITION_KEPT}
        with self.database.transaction() as tx:
            return _add(tx, key, amount if tx.run(NOTE_ADDITION, **noted) else 0)

    def delete_counter(self, key: str) -> None:
        """Delete a counter."""
        with self.database.statement() as tx:
            tx.run(DELETE_COUNTER, key=key)

    # --- for Huey's storage interface ---

    def result_ids(self) -> list[str]:
        """Return the ids of all jobs with a result."""
        with self.database.statement() as tx:
            return [row["job_id"] for row in tx.all(RESULT_IDS)]

    def flush_results(self) -> None:
        """Delete all results and all entries, which Huey keeps together."""
        with self.database.transaction() as tx:
            tx.run(FLUSH_RESULTS)
            tx.run(FLUSH_ENTRIES)

    def flush_counters(self) -> None:
        """Delete all counters."""
        with self.database.statement() as tx:
            tx.run(FLUSH_COUNTERS)


def _add(tx: Transaction, key: str, amount: int) -> int:
    row = tx.one(ADD_TO_COUNTER, key=key, amount=amount)
    assert row is not None
    return int(row["value"])
