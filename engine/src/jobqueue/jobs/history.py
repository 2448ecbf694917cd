"""What happened to a job: its attempts, where and when each ran, and why it ended."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from jobqueue.database.database import Row
from jobqueue.ledger.states import State


@dataclass(frozen=True, kw_only=True)
class Event:
    """One thing that happened to a job."""

    name: str  # "submitted", or an event of docs/states.md: "claimed", "retried", "lost", ...
    at: datetime  # aware, in UTC, by the database's clock
    attempt: int  # the one that it belongs to, or that was the last; 0 before the first
    host: str | None = None  # where that attempt runs or ran
    worker: str | None = None
    state: State | None = None  # how an attempt ended
    error: str = ""  # a sentence for people; "" where nothing went wrong
    traceback: str = ""  # what is behind it; of a long one the end


def events(row: Row) -> list[Event]:
    """Oldest first. Of a job with hundreds only the newest, after its submit."""
    return list(_events(row["created_at"], row["events"]))


def _events(created_at: float, lines: str) -> Iterator[Event]:
    yield Event(name="submitted", at=datetime.fromtimestamp(created_at, UTC), attempt=0)
    claimed: dict[int, dict[str, str]] = {}  # where each attempt ran
    for line in lines.split("\n"):
        try:
            name, at, attempt, *pairs = json.loads(line)
        except ValueError:  # the first, of which only the end is left
            continue
        texts = dict(zip(pairs[::2], pairs[1::2], strict=True))
        if name == "claimed":
            claimed[attempt] = texts
        where = claimed.get(attempt, {})
        yield Event(
            name=name,
            at=datetime.fromtimestamp(at, UTC),
            attempt=attempt,
            host=where.get("host"),
            worker=where.get("worker"),
            state=State(texts["state"]) if "state" in texts else None,
            error=texts.get("error", ""),
            traceback=texts.get("traceback", ""),
        )
