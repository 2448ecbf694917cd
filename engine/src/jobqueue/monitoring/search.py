"""Search: a page of jobs by any filter, newest first.

`returns >= 0` and `seq > 0` are true for every job. They tell the planner which indexes it may use: `jobs_listed` contains
every column that a filter may name, so a scan of all jobs reads that index alone. With `seq > 0` the indexes of one column
serve too.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jobqueue.database.database import Database, Row, Transaction
from jobqueue.ledger.sql import STATE_OF_HANDLE
from jobqueue.ledger.states import State
from jobqueue.text import LISTED, STEP, storable

DAY = 24 * 3600.0  # seconds
DEEPEST = 10_000  # jobs that can be paged through; for an owner, also the newest jobs and handles that are read
MOST = 100_000  # largest count; more jobs are counted as this many
MAX_TASKS = 200  # task names to list, and to search for a text
RECENT_ERRORS = 30 * DAY  # seconds; without an index of words, only errors of jobs this recent are searched
ERRORS = 5_000  # errors to search with an index of words: the newest of all, and any with the words
SHORTEST_WORD = 3  # characters; an index of words cannot find shorter texts


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Conditions that jobs must meet. None or an empty text matches every job."""

    state: State | None = None
    task: str | None = None  # its full name
    owner: str | None = None
    queue: str | None = None
    text: str = (
        ""  # part of an error or of a task's name, or the beginning of an id; case does not matter in the first two
    )
    age_s: float | None = None  # submitted at most this many seconds ago


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page of jobs. The rows have the columns of SHOWN, and `now`, the database's time."""

    rows: list[Row]
    more: bool  # whether more jobs follow
    errors_of_days: float | None = None  # if the text was searched only in errors of the last days: their number


TASK_NAMES = """
WITH RECURSIVE known (task, n) AS (
    SELECT min(task), 1 FROM jobs WHERE seq > 0
    UNION ALL
    SELECT (SELECT min(task) FROM jobs WHERE seq > 0 AND task > known.task), n + 1 FROM known
    WHERE known.task IS NOT NULL AND n < :limit)
SELECT task FROM known WHERE task IS NOT NULL
"""  # one index lookup for each task

STATES = f"SELECT id, state, substr(error, 1, {LISTED}) AS error FROM jobs WHERE id IN EACH(:ids)"
STEPS = f"SELECT substr(name, 1, {STEP}) AS name, saved_at, length(body) AS bytes FROM steps WHERE job_id = :id ORDER BY saved_at DESC LIMIT :limit"
RUN_OF = "SELECT COALESCE((SELECT job_id FROM handles WHERE id = :id), :id) AS id"


class Listing:
    """Lists the jobs of one database. Every method raises DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def page(self, wanted: Filter, limit: int, offset: int = 0) -> Page:
        """Return at most `limit` jobs that match a filter, after the first `offset`. Only the first DEEPEST can be reached."""
        offset = max(0, min(offset, DEEPEST - limit))
        upto = offset + limit + 1  # one more than is shown, to see whether more jobs follow
        asked: dict[str, Any] = {
            name: storable(value)
            for name in ("state", "task", "owner", "queue", "text")
            if (value := getattr(wanted, name))
        }
        days = None
        with self.database.statement() as tx:
            if wanted.age_s is not None:
                asked |= {"age": wanted.age_s, "first": _first_since(tx, wanted.age_s)}
            if "text" in asked:
                asked |= _text_parameters(asked["text"], _task_names(tx))
            shared = [] if wanted.owner is None else _shared_runs(tx, asked, upto)
            part = {"upto": upto, "offset": 0 if shared else offset}
            if "text" in asked:
                by_words = len(wanted.text) >= SHORTEST_WORD and self._has_word_index(tx)
                days = None if by_words else RECENT_ERRORS / DAY
                rows = _jobs_by_text(tx, asked, by_words, part)
            else:
                rows = _jobs(tx, asked, part)
        if shared:
            rows = sorted([*rows, *shared], key=lambda row: float(row["created_at"]), reverse=True)[offset:]
        return Page(rows=rows[:limit], more=len(rows) > limit, errors_of_days=days)

    def tasks(self) -> list[str]:
        """Return the full names of tasks that have jobs: the first MAX_TASKS in alphabetical order."""
        with self.database.statement() as tx:
            return _task_names(tx)

    def states(self, ids: Sequence[str]) -> dict[str, Row]:
        """Return `state` and `error` of jobs by id. Leave out jobs that do not exist."""
        with self.database.statement() as tx:
            return {row["id"]: row for row in tx.all(STATES, ids=list(ids))}

    def steps(self, job_id: str, limit: int) -> list[Row]:
        """Return `name`, `saved_at` and `bytes` of a job's saved steps, the latest first."""
        with self.database.statement() as tx:
            run = tx.one(RUN_OF, id=job_id)
            return tx.all(STEPS, id=job_id if run is None else run["id"], limit=limit)

    def _has_word_index(self, tx: Transaction) -> bool:
        if self.database.dialect.one_writer:
            return False
        row = tx.one(WORD_INDEX)
        return row is not None and bool(row["found"])


def _task_names(tx: Transaction) -> list[str]:
    return [row["task"] for row in tx.all(TASK_NAMES, limit=MAX_TASKS)]


# --- jobs by their columns ---

_READ = LISTED + 1  # characters of an error or a note; one more than is shown, to see whether more follow

_REST = f"""
jobs.task, jobs.queue, jobs.attempt, jobs.queued_at, jobs.run_at, jobs.claimed_at, jobs.done, jobs.total,
substr(jobs.note, 1, {_READ}) AS note, NOW AS now
""".strip()

SHOWN = (
    f"jobs.id, jobs.state, jobs.owner, jobs.created_at, jobs.ended_at, substr(jobs.error, 1, {_READ}) AS error, {_REST}"
)

CONDITIONS = {
    "state": "state = :state",
    "task": "task = :task",
    "queue": "queue = :queue",
    "owner": "owner = :owner AND unique_key IS NULL",  # an owner has handles of shared runs
    "first": "seq >= :first",
}

_NEWEST = "ORDER BY seq DESC LIMIT :upto"
FOUND = f"SELECT seq FROM jobs WHERE {{conditions}} AND seq > 0 AND returns >= 0 {_NEWEST} OFFSET :offset"
PAGE = f"SELECT {SHOWN} FROM jobs WHERE seq IN ({{found}}) ORDER BY seq DESC"


def _jobs(tx: Transaction, asked: dict[str, Any], part: dict[str, int]) -> list[Row]:
    found = FOUND.format(conditions=_all(CONDITIONS, asked))
    return tx.all(PAGE.format(found=found), **asked, **part)


def _all(conditions: dict[str, str], asked: dict[str, Any]) -> str:
    """Return the conjunction of the conditions that the filter asks for."""
    return " AND ".join(condition for name, condition in conditions.items() if name in asked) or "TRUE"


# --- an owner's handles of shared runs ---

SHOWN_OF_HANDLE = f"""
handles.id, {STATE_OF_HANDLE} AS state, handles.owner, handles.created_at, {_REST},
COALESCE(handles.let_go_at, jobs.ended_at) AS ended_at,
CASE WHEN handles.let_go_at IS NULL THEN substr(jobs.error, 1, {_READ}) ELSE 'Cancelled.' END AS error
""".strip()

CONDITIONS_OF_HANDLES = {
    "state": f"{STATE_OF_HANDLE} = :state",
    "task": "jobs.task = :task",
    "queue": "jobs.queue = :queue",
    "age": "handles.created_at > NOW - :age",
    "text": r"""
    (jobs.id = :text OR handles.id = :text OR jobs.task IN EACH(:tasks) OR lower(jobs.error) LIKE :pattern ESCAPE '\')
    """.strip(),
}

PAGE_OF_HANDLES = f"""
SELECT {SHOWN_OF_HANDLE}
FROM (SELECT * FROM handles WHERE owner = :owner ORDER BY seq DESC LIMIT :newest) AS handles
JOIN jobs ON jobs.id = handles.job_id
WHERE {{conditions}} ORDER BY handles.seq DESC LIMIT :upto
"""


def _shared_runs(tx: Transaction, asked: dict[str, Any], upto: int) -> list[Row]:
    statement = PAGE_OF_HANDLES.format(conditions=_all(CONDITIONS_OF_HANDLES, asked))
    return tx.all(statement, **asked, upto=upto, newest=DEEPEST)


# --- jobs by a text: in an id, a task's name or an error ---

WORD_INDEX = "SELECT to_regclass('jobs_words') IS NOT NULL AS found"

NEWEST_ERRORS = r"""
SELECT seq
FROM (SELECT seq, state, task, queue, owner, unique_key, error FROM jobs
      WHERE error <> '' AND returns >= 0 AND seq >= :errors_since ORDER BY seq DESC LIMIT :errors) AS newest
WHERE lower(error) LIKE :pattern ESCAPE '\' AND {conditions}
"""

ERRORS_BY_WORDS = r"""
SELECT seq
FROM (SELECT seq, state, task, queue, owner, unique_key FROM jobs
      WHERE error <> '' AND lower(error) LIKE :pattern ESCAPE '\' LIMIT :errors) AS some_of_them
WHERE {conditions}
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
    {NEWEST_ERRORS}) AS found
{_NEWEST}
"""

SEQS = "SELECT CAST(value AS bigint) FROM EACH(:seqs) AS found"


def _jobs_by_text(tx: Transaction, asked: dict[str, Any], by_words: bool, part: dict[str, int]) -> list[Row]:
    """Search the newest errors first. If they do not fill the page, use the index of words, if there is one."""
    conditions, upto = _all(CONDITIONS, asked), part["upto"]
    since = 0 if by_words else _first_since(tx, RECENT_ERRORS)

    def find(statement: str, most: int) -> set[int]:
        found = tx.all(statement.format(conditions=conditions), **asked, upto=upto, errors_since=since, errors=most)
        return {row["seq"] for row in found}

    found = find(FOUND_BY_TEXT, ERRORS if by_words else MOST)
    if by_words and len(found) < upto:
        found |= find(ERRORS_BY_WORDS, ERRORS)
    shown = sorted(found, reverse=True)[part["offset"] : upto]
    return tx.all(PAGE.format(found=SEQS), seqs=[str(seq) for seq in shown])


def _text_parameters(text: str, task_names: Sequence[str]) -> dict[str, Any]:
    """Return the parameters of a text search, besides the text itself."""
    tasks = [task for task in task_names if text.lower() in task.lower()] or [""]  # no task has an empty name
    pattern, beginning = f"%{_escaped(text.lower())}%", f"{_escaped(text)}%"
    ends = f"{text}~"  # sorts after every id that begins with the text
    return {"tasks": tasks, "pattern": pattern, "beginning": beginning, "text_ends": ends}


def _escaped(text: str) -> str:
    """Escape a text for a LIKE pattern."""
    return re.sub(r"([\\%_])", r"\\\1", text)


# --- jobs by age ---

ENDS = """
SELECT (SELECT min(seq) FROM jobs WHERE seq > 0) AS first, (SELECT max(seq) FROM jobs WHERE seq > 0) AS last
"""

OLDER_AT = "SELECT seq, created_at < NOW - :age AS older FROM jobs WHERE seq >= :seq ORDER BY seq LIMIT 1"


def _first_since(tx: Transaction, age_s: float) -> int:
    """Return the `seq` of the oldest job submitted in the last `age_s` seconds, by bisection.

    Jobs are numbered in the order in which they were submitted.
    """
    ends = tx.one(ENDS)
    if ends is None or ends["first"] is None:
        return 0
    low, high = ends["first"], ends["last"] + 1
    while low < high:
        middle = (low + high) // 2
        row = tx.one(OLDER_AT, seq=middle, age=age_s)
        if row is not None and row["older"]:
            low = row["seq"] + 1
        else:
            high = middle
    return int(low)
