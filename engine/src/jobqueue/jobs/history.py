"""The history of a job: its attempts, where and when each ran, and why it ended."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from jobqueue.database.database import Row
from jobqueue.database.times import utc
from jobqueue.ledger.states import State
from jobqueue.ledger.submitting import request_of


@dataclass(frozen=True, kw_only=True)
class Event:
    """An event in a job's history."""

    name: str  # "submitted", "first version" (of a dataset), or an event of docs/states.md, such as "claimed" or "lost"
    at: datetime  # the database's time, aware, in UTC
    attempt: int  # number of the current or last attempt; 0 before the first
    host: str | None = None  # the host of that attempt
    worker: str | None = None  # the worker of that attempt
    state: State | None = None  # the state in which an attempt ended
    error: str = ""  # a sentence for people; "" if nothing went wrong
    traceback: str = ""  # of the error; of a long one only the end
    request: str | None = None  # the id of the request that submitted the job


def events(row: Row) -> list[Event]:
    """Return a job's events, oldest first. Of a long history the ledger keeps only the submit and the newest events."""
    return list(_events(row["created_at"], row["events"]))


def _events(created_at: float, lines: str) -> Iterator[Event]:
    yield Event(name="submitted", at=utc(created_at), attempt=0, request=request_of(lines))
    claimed: dict[int, dict[str, str]] = {}  # host and worker of each attempt
    for line in lines.split("\n"):
        try:
            name, at, attempt, *pairs = json.loads(line)
        except ValueError:  # the first line, if it was cut off
            continue
        texts = dict(zip(pairs[::2], pairs[1::2], strict=True))
        if name == "submitted":
            continue
        if name == "claimed":
            claimed[attempt] = texts
        where = claimed.get(attempt, {})
        yield Event(
            name=name,
            at=utc(at),
            attempt=attempt,
            host=where.get("host"),
            worker=where.get("worker"),
            state=State(texts["state"]) if "state" in texts else None,
            error=texts.get("error", ""),
            traceback=texts.get("traceback", ""),
        )
