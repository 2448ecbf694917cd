"""Crash points: named places between two writes, at which processes die.

An operation is a method of the ledger. A place is "before" one of its statements, or "after" its last one has been
committed. The statements have their names from `tests.statements`. A file says that a place is armed. A process that
has called `install` dies at each armed place and removes the file, so it dies there once. At a place "after" an
operation, it may lose the answer instead: it continues, but does not know about the commit. The statements of completed
operations are recorded.
"""

import functools
import json
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

from jobqueue.database import sqlite
from jobqueue.database.database import Database, DatabaseUnavailable
from jobqueue.ledger.attempts import Attempts
from jobqueue.ledger.consumers import Consumers
from jobqueue.ledger.dataset_versions import DatasetVersions
from jobqueue.ledger.entries import Entries
from jobqueue.ledger.housekeeping import Housekeeping
from jobqueue.ledger.ledger import Ledger
from jobqueue.ledger.reading import Reading
from jobqueue.ledger.records import ClaimRequest, NewJob
from jobqueue.ledger.retention import Retention
from jobqueue.schedules.timetable import Timetable
from tests import statements

DIED = 9  # the exit code

ARMED, RECORDED, CLAIMED = "armed", "recorded.txt", "claimed.txt"
A_JOB = "a job"  # the key of a claim that returns a job
TEMPLATE = re.compile(r"\{[a-z_]+\}")


# Class whose methods are operations -> prefix of their names
OWNERS: dict[type, str] = {
    Ledger: "",
    Timetable: "",
    Attempts: "attempts.",
    Consumers: "consumers.",
    DatasetVersions: "versions.",
    Entries: "entries.",
    Housekeeping: "housekeeping.",
    Reading: "reading.",
    Retention: "retention.",
}


Act = Literal["dies", "loses the answer"]


class Place(NamedTuple):
    method: str
    when: Literal["before", "after"]
    statement: str

    def __str__(self) -> str:
        return f"{self.method} {self.when} {self.statement}"


def places(method: str, executed: Sequence[str]) -> list[Place]:
    """Return the places of an operation: before each statement, and after the last one."""
    names = numbered(executed)
    return [*(Place(method, "before", name) for name in names), Place(method, "after", names[-1])]


def numbered(executed: Sequence[str]) -> list[str]:
    """Return the names of statements, numbered where one repeats: the second INSERT is "INSERT 2"."""
    times = [executed[: i + 1].count(name) for i, name in enumerate(executed)]
    return [name if n == 1 else f"{name} {n}" for name, n in zip(executed, times, strict=True)]


def arm(folder: Path, place: Place, key: str = "", act: Act = "dies") -> None:
    """Let the next process that reaches the place die or lose the answer.

    key: Limit this to operations with this key, mostly a job's id.
    """
    (folder / ARMED).mkdir(exist_ok=True)
    _file(folder, str(place), key).write_text(act)


def armed(folder: Path) -> set[str]:
    """Return the places at which no process has died yet."""
    return set(os.listdir(folder / ARMED))


def recorded(folder: Path) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield method, key and statements of each operation that was completed or committed."""
    for line in (folder / RECORDED).read_text().splitlines():
        method, key, executed = json.loads(line)
        yield method, key, tuple(executed)


def claimed_by_the_dead(folder: Path) -> list[str]:
    """Return the ids of jobs whose worker died right after the claim."""
    path = folder / CLAIMED
    return path.read_text().splitlines() if path.exists() else []


def _file(folder: Path, place: str, key: str) -> Path:
    return folder / ARMED / f"{place} {key}".strip()


class _Operation(threading.local):
    """The operation that the current thread executes."""

    def __init__(self) -> None:
        self.method = ""
        self.key = ""
        self.claimed = ""  # the id of the job that this operation claimed
        self.executed: list[str] = []


def install(folder: Path) -> None:
    """Enable the crash points in this process and its forks."""
    here = _Operation()

    def visit(when: Literal["before", "after"], statement: str) -> None:
        place = str(Place(here.method, when, statement))
        for key in {"", here.key}:
            file = _file(folder, place, key)
            with suppress(FileNotFoundError):
                act = file.read_text()
                if when == "after":
                    record()  # first, because a test may kill this process once the file is gone
                file.unlink()
                if when == "after":
                    if act == "loses the answer":
                        raise DatabaseUnavailable("The answer was lost.")
                    if here.claimed:
                        add(CLAIMED, here.claimed)
                os._exit(DIED)

    def record() -> None:
        add(RECORDED, json.dumps([here.method, here.key, here.executed]))

    def add(name: str, line: str) -> None:
        descriptor = os.open(folder / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, f"{line}\n".encode())
        os.close(descriptor)

    def operation(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def run(owner: object, *args: Any, **kwargs: Any) -> Any:
            outer = vars(here).copy()  # a signal handler may check the claim in the middle of another operation
            here.method, here.key, here.claimed, here.executed = name, _key(*args), "", []
            try:
                answer = method(owner, *args, **kwargs)
                record()
                return answer
            finally:
                vars(here).update(outer)

        return run

    class Watched:
        """A cursor with a place before each statement."""

        def __init__(self, cursor: Any, names: dict[str, str]) -> None:
            self._cursor = cursor
            self._names = names

        def execute(self, sql: str, *params: Any) -> None:
            self._visit(sql)
            self._cursor.execute(sql, *params)

        def executemany(self, sql: str, rows: Any) -> None:
            self._visit(sql)
            self._cursor.executemany(sql, rows)

        def _visit(self, sql: str) -> None:
            name = self._names.get(sql, sql)
            if here.method and not name.startswith("SELECT pg_notify"):  # a notification writes nothing
                here.executed.append(name)
                visit("before", numbered(here.executed)[-1])

        def fetchall(self) -> list[Any]:
            rows: list[Any] = self._cursor.fetchall()
            if rows and here.executed and "CLAIM" in here.executed[-1]:
                here.claimed = rows[0]["id"] or ""  # an end may claim no job
                here.key = here.key or A_JOB
            return rows

        def __getattr__(self, name: str) -> Any:
            return getattr(self._cursor, name)

    cursor_of = Database._cursor

    @contextmanager
    def watched(database: Database) -> Iterator[Any]:
        before = len(here.executed)
        with cursor_of(database) as cursor:
            yield Watched(cursor, _names(database))
        if here.method and len(here.executed) > before:
            visit("after", numbered(here.executed)[-1])

    Database._cursor = watched  # type: ignore[assignment, method-assign]
    for owner, prefix in OWNERS.items():
        for name, method in list(vars(owner).items()):
            if callable(method) and not name.startswith("_"):
                setattr(owner, name, operation(prefix + name, method))


def _key(first: Any = "", *_: Any) -> str:
    """Return the subject of an operation: a job (the first of several), a key or a consumer. "" stands for any job."""
    if isinstance(first, ClaimRequest):
        return ""
    if isinstance(first, list | tuple):
        return first[0].handle or first[0].id if first and isinstance(first[0], NewJob) else ""
    return str(first)


def _names(database: Database) -> dict[str, str]:
    """Return the names of statements by their text in this database's dialect."""
    named = {database.dialect.compile(sql): name for name, sql in named_statements().items()}
    return named | {sqlite.BEGIN: "BEGIN", database.dialect.connections: "USED"}


@functools.cache
def named_statements() -> dict[str, str]:
    """Return the statements that the engine executes as they are, without parts of statements and templates.

    The first call imports Dash. Call it before a fork, so that the children need not.
    """
    return {name: sql for name, sql in statements.by_name().items() if name[0] != "_" and not TEMPLATE.search(sql)}
