"""Jobs by any filter, newest first, a page at a time, and figures of what goes on: what a person looks at.

Nothing here reads all there is: a page is bounded, counts stop at a limit, and percentiles are of samples.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import quantiles
from typing import Any

from jobqueue import listing_statements as sql
from jobqueue.database import Database, Row, Transaction, storable
from jobqueue.ledger import State

DAY = 24 * 3600.0  # seconds
DEEPEST = 10_000  # jobs that can be paged through; an owner's of which are looked at for figures, and among shared runs
MOST = 100_000  # that are counted
TASKS = 200  # names that are listed, and looked through for a text
WITHOUT_WORDS = 30 * DAY  # seconds, of whose errors a text is looked for where the database has no index of words
ERRORS = 5_000  # in which a text is looked for: the newest of all, and any of those with its words
SHORTEST_WORD = 3  # characters that an index of words can look for
SAMPLE = 50  # jobs of a stretch whose times stand for all


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which jobs. None, and an empty text, leave that open."""

    state: State | None = None
    task: str | None = None  # as Huey registers it
    owner: str | None = None
    queue: str | None = None
    text: str = ""  # in an error or a task's name, or an id or its beginning; in small or capital letters
    age_s: float | None = None  # submitted since so many seconds


@dataclass(frozen=True, kw_only=True)
class Page:
    """`rows` have what SHOWN names, and `now`."""

    rows: list[Row]
    more: bool  # come after these
    errors_of_days: float | None = None  # a text was looked for in the errors of these days alone


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What goes on. A count of MOST is of that many or more."""

    queued: int
    running: int
    failed: int  # in the last 24 hours
    waits_s: float | None  # the job that has waited the longest in a queue, if there is one


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """What ended in a stretch of time. Seconds; None where nothing did."""

    since: float  # seconds since the epoch
    succeeded: int
    failed: int
    waited: tuple[float, float] | None  # p50 and p95 of the last of them that succeeded
    ran: tuple[float, float] | None


class Listing:
    """Reads one ledger's database. Raises DatabaseUnavailable when it does not answer."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def page(self, wanted: Filter, limit: int, offset: int = 0) -> Page:
        """So many jobs after the first `offset` of them, of which there are DEEPEST at most."""
        offset = max(0, min(offset, DEEPEST - limit))
        upto = offset + limit + 1  # the last says that there are more
        asked: dict[str, Any] = {
            name: storable(value)
            for name in ("state", "task", "owner", "queue", "text")
            if (value := getattr(wanted, name))
        }
        with self.database.statement() as tx:
            if wanted.age_s is not None:
                asked |= {"age": wanted.age_s, "first": _first_since(tx, wanted.age_s)}
            if "text" in asked:
                asked |= _text(asked["text"], self._tasks(tx))
            shared: list[Row] = []
            if wanted.owner is not None:
                statement = sql.PAGE_OF_HANDLES.format(conditions=_all(sql.CONDITIONS_OF_HANDLES, asked))
                shared = tx.all(statement, **asked, upto=upto, newest=DEEPEST)
            part = {"upto": upto, "offset": 0 if shared else offset}
            days = None
            if "text" in asked:
                words = len(wanted.text) >= SHORTEST_WORD and self._has_words(tx)
                days = None if words else WITHOUT_WORDS / DAY
                rows = self._of_text(tx, asked, words, part)
            else:
                found = sql.FOUND.format(conditions=_all(sql.CONDITIONS, asked))
                rows = tx.all(sql.PAGE.format(found=found), **asked, **part)
        if shared:
            rows = sorted([*rows, *shared], key=lambda row: float(row["created_at"]), reverse=True)[offset:]
        return Page(rows=rows[:limit], more=len(rows) > limit, errors_of_days=days)

    @staticmethod
    def _of_text(tx: Transaction, asked: dict[str, Any], words: bool, part: dict[str, int]) -> list[Row]:
        """Where the newest errors do not fill the page, the index of words is asked, if there is one."""
        conditions = _all(sql.CONDITIONS, asked)
        since = 0 if words else _first_since(tx, WITHOUT_WORDS)

        def found(errors: str, most: int) -> list[Row]:
            statement = sql.FOUND_BY_TEXT.format(conditions=conditions, errors=errors.format(conditions=conditions))
            return tx.all(sql.PAGE.format(found=statement), **asked, **part, errors_since=since, errors=most)

        rows = found(sql.NEWEST_ERRORS, ERRORS if words else MOST)
        if words and len(rows) < part["upto"] - part["offset"]:
            rows = found(sql.ERRORS_BY_WORDS, ERRORS)
        return rows

    def _has_words(self, tx: Transaction) -> bool:
        if self.database.dialect.one_writer:
            return False
        row = tx.one(sql.WORDS)
        return row is not None and bool(row["there"])

    def tasks(self) -> list[str]:
        """Of which there are jobs: the first TASKS by name."""
        with self.database.statement() as tx:
            return self._tasks(tx)

    @staticmethod
    def _tasks(tx: Transaction) -> list[str]:
        return [row["task"] for row in tx.all(sql.TASKS, limit=TASKS)]

    def states(self, ids: Sequence[str]) -> dict[str, Row]:
        """`state` and `error` of those of these jobs that there are."""
        with self.database.statement() as tx:
            return {row["id"]: row for row in tx.all(sql.STATES, ids=list(ids))}

    def steps(self, job_id: str, limit: int) -> list[Row]:
        """`name`, `saved_at` and `bytes` of what a job has saved, the last first."""
        with self.database.statement() as tx:
            run = tx.one(sql.RUN_OF, id=job_id)
            return tx.all(sql.STEPS, id=job_id if run is None else run["id"], limit=limit)

    def figures(self, owner: str | None = None) -> Figures:
        """Of all jobs, or of an owner's: there of the newest DEEPEST."""
        with self.database.statement() as tx:
            if owner is not None:
                row = tx.one(sql.OF_OWNER, owner=owner, age=DAY, newest=DEEPEST)
                assert row is not None
                counts = {name: int(row[name] or 0) for name in ("queued", "running", "failed")}
                return Figures(**counts, waits_s=row["waits"])
            waits = tx.one(sql.WAITS_SINCE)
            return Figures(
                queued=_count(tx.one(sql.IN_STATE, state=State.QUEUED, most=MOST)),
                running=_count(tx.one(sql.IN_STATE, state=State.RUNNING, most=MOST)),
                failed=_count(tx.one(sql.FAILED_SINCE, state=State.FAILED, age=DAY, most=MOST)),
                waits_s=None if waits is None else waits["seconds"],
            )

    def stretches(self, until: float, width_s: float, count: int) -> list[Stretch]:
        """So many stretches of time, one after the other up to a moment, in seconds since the epoch."""
        starts = [until - width_s * n for n in range(count, 0, -1)]
        with self.database.statement() as tx:
            counts = tx.all(sql.ENDED_IN_EACH, stretches=[str(start) for start in starts], width=width_s, most=MOST)
            samples = [
                tx.all(sql.SOME_ENDED, state=State.SUCCEEDED, since=start, until=start + width_s, some=SAMPLE)
                if row["succeeded"]
                else []
                for start, row in zip(starts, counts, strict=True)
            ]
        return [
            Stretch(
                since=start,
                succeeded=int(row["succeeded"]),
                failed=int(row["failed"]),
                waited=_percentiles([some["waited"] for some in sample]),
                ran=_percentiles([some["ran"] for some in sample]),
            )
            for start, row, sample in zip(starts, counts, samples, strict=True)
        ]


def _all(conditions: dict[str, str], asked: dict[str, Any]) -> str:
    return " AND ".join(condition for name, condition in conditions.items() if name in asked) or "TRUE"


def _first_since(tx: Transaction, age_s: float) -> int:
    """The `seq` of the first job that is no older: as jobs are in the order of their submits, halving finds it."""
    ends = tx.one(sql.ENDS)
    if ends is None or ends["first"] is None:
        return 0
    low, high = ends["first"], ends["last"] + 1
    while low < high:
        middle = (low + high) // 2
        row = tx.one(sql.AT, seq=middle, age=age_s)
        if row is not None and row["older"]:
            low = row["seq"] + 1
        else:
            high = middle
    return int(low)


def _text(text: str, known: Sequence[str]) -> dict[str, Any]:
    """What the statements that look for a text are given, besides; `known`: the names of all tasks."""
    tasks = [task for task in known if text.lower() in task.lower()] or [""]  # which none is called
    pattern, beginning = f"%{_plain(text.lower())}%", f"{_plain(text)}%"
    ends = f"{text}~"  # after all ids that begin so
    return {"tasks": tasks, "pattern": pattern, "beginning": beginning, "text_ends": ends}


def _plain(text: str) -> str:
    """As a part of a pattern of LIKE."""
    return re.sub(r"([\\%_])", r"\\\1", text)


def _count(row: Row | None) -> int:
    return 0 if row is None else int(row["n"])


def _percentiles(seconds: Sequence[float | None]) -> tuple[float, float] | None:
    known = sorted(max(0.0, value) for value in seconds if value is not None)
    if not known:
        return None
    if len(known) == 1:
        return known[0], known[0]
    cuts = quantiles(known, n=20, method="inclusive")
    return cuts[9], cuts[18]
