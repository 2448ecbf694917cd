"""Crash points: named places between two writes, and processes that die there.

A place is "before" a statement of an operation (a method of the ledger, whose statements have the names of
`tests.statements`), or "after" its last one, when that is committed. A process with `install` dies at the places that
are armed, once at each: a file says that a place is armed, and is removed by whoever dies of it. What an operation
executed to its end is recorded. After an operation's last statement, a process may lose the answer instead: it goes on, and
does not know that this is committed.
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

from jobqueue.database.database import Database, DatabaseUnavailable
from jobqueue.ledger.attempts import Attempts
from jobqueue.ledger.consumers import Consumers
from jobqueue.ledger.dataset_versions import DatasetVersions
from jobqueue.ledger.entries import Entries
from jobqueue.ledger.ledger import Ledger
from jobqueue.ledger.reading import Reading
from jobqueue.ledger.records import ClaimRequest, NewJob
from jobqueue.ledger.retention import Retention
from jobqueue.schedules.timetable import Timetable
from tests import statements

DIED = 9  # the exit code

ARMED, RECORDED, CLAIMED = "armed", "recorded.txt", "claimed.txt"
A_JOB = "a job"  # the key of a claim that is given one
TEMPLATE = re.compile(r"\{[a-z_]+\}")


# Whose methods are operations, and what stands before their names.
OWNERS: dict[type, str] = {
    Ledger: "",
    Timetable: "",
    Attempts: "attempts.",
    Consumers: "consumers.",
    DatasetVersions: "versions.",
    Entries: "entries.",
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
    """Between two statements there is one."""
    names = numbered(executed)
    return [*(Place(method, "before", name) for name in names), Place(method, "after", names[-1])]


def numbered(executed: Sequence[str]) -> list[str]:
    """The second INSERT of an operation is "INSERT 2"."""
    times = [executed[: i + 1].count(name) for i, name in enumerate(executed)]
    return [name if n == 1 else f"{name} {n}" for name, n in zip(executed, times, strict=True)]


def arm(folder: Path, place: Place, key: str = "", act: Act = "dies") -> None:
    """Let the next process that comes there die, or lose the answer. `key`: only with that key, mostly a job's id."""
    (folder / ARMED).mkdir(exist_ok=True)
    _file(folder, str(place), key).write_text(act)


def armed(folder: Path) -> set[str]:
    """The places where nobody has died yet."""
    return set(os.listdir(folder / ARMED))


def recorded(folder: Path) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Method, key and statements of each operation that was executed to its end, or died or lost its answer when it had committed."""
    for line in (folder / RECORDED).read_text().splitlines():
        method, key, executed = json.loads(line)
        yield method, key, tuple(executed)


def claimed_by_the_dead(folder: Path) -> list[str]:
    """The ids of jobs that were claimed by who died at once."""
    path = folder / CLAIMED
    return path.read_text().splitlines() if path.exists() else []


def _file(folder: Path, place: str, key: str) -> Path:
    return folder / ARMED / f"{place} {key}".strip()


class _Operation(threading.local):
    """The operation that this thread is in."""

    def __init__(self) -> None:
        self.method = ""
        self.key = ""
        self.claimed = ""  # the id of a job, if this was given one
        self.executed: list[str] = []


def install(folder: Path) -> None:
    """This process, and those that it forks, may die from now on."""
    here = _Operation()

    def visit(when: Literal["before", "after"], statement: str) -> None:
        place = str(Place(here.method, when, statement))
        for key in {"", here.key}:
            file = _file(folder, place, key)
            with suppress(FileNotFoundError):
                act = file.read_text()
                file.unlink()
                if when == "after":
                    record()
                    if act == "loses the answer":
                        raise DatabaseUnavailable("The answer got lost.")
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
            outer = vars(here).copy()  # a signal may come amid another operation, and look whether the claim holds
            here.method, here.key, here.claimed, here.executed = name, _key(*args), "", []
            try:
                answer = method(owner, *args, **kwargs)
                record()
                return answer
            finally:
                vars(here).update(outer)

        return run

    class Watched:
        """A cursor; before each statement there is a place."""

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
            if here.method and not name.startswith("SELECT pg_notify"):  # a ring, which says nothing
                here.executed.append(name)
                visit("before", numbered(here.executed)[-1])

        def fetchall(self) -> list[Any]:
            rows: list[Any] = self._cursor.fetchall()
            if rows and here.executed and "CLAIM" in here.executed[-1]:
                here.claimed = rows[0]["id"] or ""  # an end may come without
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
    """Return the subject of an operation: a job (the first of several), a key or a consumer; "" for any job."""
    if isinstance(first, ClaimRequest):
        return ""
    if isinstance(first, list | tuple):
        return first[0].handle or first[0].id if first and isinstance(first[0], NewJob) else ""
    return str(first)


def _names(database: Database) -> dict[str, str]:
    """The names of statements as this database is told them."""
    named = {database.dialect.compile(sql): name for name, sql in named_statements().items()}
    return named | {database.dialect.begin: "BEGIN"}


def named_statements() -> dict[str, str]:
    """Return the statements that the engine executes as they stand: neither a part of one nor a template."""
    return {name: sql for name, sql in statements.BY_NAME.items() if name[0] != "_" and not TEMPLATE.search(sql)}
