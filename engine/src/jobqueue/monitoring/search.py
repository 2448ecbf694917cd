"""The SQL of listing.py: jobs by any filter, newest first, and figures of what goes on. As in statements.py.

`returns >= 0` and `seq > 0` are true of every job, and say which indexes may serve: `jobs_listed` has in it all that a filter
may name, so that to look through all jobs is to look through that index; with `seq > 0` those of one column do too.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jobqueue.database.database import Database, Row, Transaction, storable
from jobqueue.ledger.sql import STATE_OF_HANDLE
from jobqueue.ledger.states import State

_REST = """
jobs.task, jobs.queue, jobs.attempt, jobs.queued_at, jobs.run_at, jobs.claimed_at, jobs.done, jobs.total, jobs.note, NOW AS now
""".strip()

SHOWN = f"jobs.id, jobs.state, jobs.owner, jobs.created_at, jobs.ended_at, jobs.error, {_REST}"

SHOWN_OF_HANDLE = f"""
handles.id, {STATE_OF_HANDLE} AS state, handles.owner, handles.created_at, {_REST},
COALESCE(handles.let_go_at, jobs.ended_at) AS ended_at,
CASE WHEN handles.let_go_at IS NULL THEN jobs.error ELSE 'Cancelled.' END AS error
""".strip()

# Conditions are put in by what is asked for: of CONDITIONS those that are.
CONDITIONS = {
    "state": "state = :state",
    "task": "task = :task",
    "queue": "queue = :queue",
    "owner": "owner = :owner AND unique_key IS NULL",  # of shared runs an owner has handles
    "first": "seq >= :first",
}

CONDITIONS_OF_HANDLES = {
    "state": f"{STATE_OF_HANDLE} = :state",
    "task": "jobs.task = :task",
    "queue": "jobs.queue = :queue",
    "age": "handles.created_at > NOW - :age",
    "text": r"""
    (jobs.id = :text OR handles.id = :text OR jobs.task IN EACH(:tasks) OR lower(jobs.error) LIKE :pattern ESCAPE '\')
    """.strip(),
}

_NEWEST = "ORDER BY seq DESC LIMIT :upto"
FOUND = f"SELECT seq FROM jobs WHERE {{conditions}} AND seq > 0 AND returns >= 0 {_NEWEST} OFFSET :offset"

# A text is one of an id, or its beginning; of a task; or of an error: one of the newest, or any that an index of words leads to.
NEWEST_ERRORS = r"""
SELECT seq
FROM (SELECT seq, state, task, queue, owner, unique_key, error FROM jobs
      WHERE error <> '' AND returns >= 0 AND seq >= :errors_since ORDER BY seq DESC LIMIT :errors) AS newest
WHERE lower(error) LIKE :pattern ESCAPE '\' AND {conditions}
"""

ERRORS_BY_WORDS = rf"""
{NEWEST_ERRORS} UNION SELECT seq
FROM (SELECT seq, state, task, queue, owner, unique_key FROM jobs
      WHERE error <> '' AND lower(error) LIKE :pattern ESCAPE '\' LIMIT :errors) AS some_of_them
WHERE {{conditions}}
"""

FOUND_BY_TEXT = rf"""
SELECT seq FROM (
    SELECT seq FROM (
        SELECT seq FROM jobs
        WHERE seq IN (SELECT seq FROM jobs WHERE id >= :text AND id < :text_ends ORDER BY id LIMIT 1000)
          AND id LIKE :beginning ESCAPE '\' AND {{conditions}}
        {_NEWEST}) AS of_id
    UNION
    SELECT seq FROM (
        SELECT seq FROM jobs
        WHERE task IN EACH(:tasks) AND {{conditions}} AND seq > 0 AND returns >= 0 {_NEWEST}) AS of_task
    UNION
    {{errors}}) AS found
{_NEWEST} OFFSET :offset
"""

PAGE = f"SELECT {SHOWN} FROM jobs WHERE seq IN ({{found}}) ORDER BY seq DESC"

PAGE_OF_HANDLES = f"""
SELECT {SHOWN_OF_HANDLE}
FROM (SELECT * FROM handles WHERE owner = :owner ORDER BY seq DESC LIMIT :newest) AS handles
JOIN jobs ON jobs.id = handles.job_id
WHERE {{conditions}} ORDER BY handles.seq DESC LIMIT :upto
"""

# Jobs are in the order of their submits: when the first was made that is no older, a few looks by `seq` tell.
ENDS = """
SELECT (SELECT min(seq) FROM jobs WHERE seq > 0) AS first, (SELECT max(seq) FROM jobs WHERE seq > 0) AS last
"""

AT = "SELECT seq, created_at < NOW - :age AS older FROM jobs WHERE seq >= :seq ORDER BY seq LIMIT 1"

TASK_NAMES = """
WITH RECURSIVE known (task, n) AS (
    SELECT min(task), 1 FROM jobs WHERE seq > 0
    UNION ALL
    SELECT (SELECT min(task) FROM jobs WHERE seq > 0 AND task > known.task), n + 1 FROM known
    WHERE known.task IS NOT NULL AND n < :limit)
SELECT task FROM known WHERE task IS NOT NULL
"""  # a step of the index a task

WORDS = "SELECT to_regclass('jobs_words') IS NOT NULL AS there"
STATES = "SELECT id, state, error FROM jobs WHERE id IN EACH(:ids)"
STEPS = "SELECT name, saved_at, length(body) AS bytes FROM steps WHERE job_id = :id ORDER BY saved_at DESC LIMIT :limit"
RUN_OF = "SELECT COALESCE((SELECT job_id FROM handles WHERE id = :id), :id) AS id"

DAY = 24 * 3600.0  # seconds
DEEPEST = 10_000  # jobs that can be paged through; an owner's of which are looked at for figures, and among shared runs
MOST = 100_000  # that are counted
MAX_TASKS = 200  # names that are listed, and looked through for a text
WITHOUT_WORDS = 30 * DAY  # seconds, of whose errors a text is looked for where the database has no index of words
ERRORS = 5_000  # in which a text is looked for: the newest of all, and any of those with its words
SHORTEST_WORD = 3  # characters that an index of words can look for


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
                statement = PAGE_OF_HANDLES.format(conditions=_all(CONDITIONS_OF_HANDLES, asked))
                shared = tx.all(statement, **asked, upto=upto, newest=DEEPEST)
            part = {"upto": upto, "offset": 0 if shared else offset}
            days = None
            if "text" in asked:
                words = len(wanted.text) >= SHORTEST_WORD and self._has_words(tx)
                days = None if words else WITHOUT_WORDS / DAY
                rows = self._of_text(tx, asked, words, part)
            else:
                found = FOUND.format(conditions=_all(CONDITIONS, asked))
                rows = tx.all(PAGE.format(found=found), **asked, **part)
        if shared:
            rows = sorted([*rows, *shared], key=lambda row: float(row["created_at"]), reverse=True)[offset:]
        return Page(rows=rows[:limit], more=len(rows) > limit, errors_of_days=days)

    @staticmethod
    def _of_text(tx: Transaction, asked: dict[str, Any], words: bool, part: dict[str, int]) -> list[Row]:
        """Where the newest errors do not fill the page, the index of words is asked, if there is one."""
        conditions = _all(CONDITIONS, asked)
        since = 0 if words else _first_since(tx, WITHOUT_WORDS)

        def found(errors: str, most: int) -> list[Row]:
            statement = FOUND_BY_TEXT.format(conditions=conditions, errors=errors.format(conditions=conditions))
            return tx.all(PAGE.format(found=statement), **asked, **part, errors_since=since, errors=most)

        rows = found(NEWEST_ERRORS, ERRORS if words else MOST)
        if words and len(rows) < part["upto"] - part["offset"]:
            rows = found(ERRORS_BY_WORDS, ERRORS)
        return rows

    def _has_words(self, tx: Transaction) -> bool:
        if self.database.dialect.one_writer:
            return False
        row = tx.one(WORDS)
        return row is not None and bool(row["there"])

    def tasks(self) -> list[str]:
        """Of which there are jobs: the first MAX_TASKS by name."""
        with self.database.statement() as tx:
            return self._tasks(tx)

    @staticmethod
    def _tasks(tx: Transaction) -> list[str]:
        return [row["task"] for row in tx.all(TASK_NAMES, limit=MAX_TASKS)]

    def states(self, ids: Sequence[str]) -> dict[str, Row]:
        """`state` and `error` of those of these jobs that there are."""
        with self.database.statement() as tx:
            return {row["id"]: row for row in tx.all(STATES, ids=list(ids))}

    def steps(self, job_id: str, limit: int) -> list[Row]:
        """`name`, `saved_at` and `bytes` of what a job has saved, the last first."""
        with self.database.statement() as tx:
            run = tx.one(RUN_OF, id=job_id)
            return tx.all(STEPS, id=job_id if run is None else run["id"], limit=limit)


def _all(conditions: dict[str, str], asked: dict[str, Any]) -> str:
    return " AND ".join(condition for name, condition in conditions.items() if name in asked) or "TRUE"


def _first_since(tx: Transaction, age_s: float) -> int:
    """The `seq` of the first job that is no older: as jobs are in the order of their submits, halving finds it."""
    ends = tx.one(ENDS)
    if ends is None or ends["first"] is None:
        return 0
    low, high = ends["first"], ends["last"] + 1
    while low < high:
        middle = (low + high) // 2
        row = tx.one(AT, seq=middle, age=age_s)
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
