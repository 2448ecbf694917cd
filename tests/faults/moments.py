"""Faults at one moment of a ledger's work. A fault happens once, to the first process that reaches the moment."""

import os
import signal
from collections.abc import Callable
from typing import Any

import psycopg
from redis.connection import AbstractConnection

from jobqueue.database.database import DatabaseUnavailable, Transaction
from jobqueue.database.postgres import Connection
from jobqueue.ledger.ledger import Ledger
from tests import statements
from tests.faults.fault_jobs import wait_for

MEGABYTE = 1_000_000  # bytes


def at(moment: str, act: str, place: str) -> None:
    """Make this process, or a fork of it, do `act` when it reaches the moment.

    moment: "claiming" (before any request for a job) or "claimed"; "ending" or "ended" (before and after an end is written,
        with or without a claim); "listened" (for notifications); "copying" (half of a dataset has been sent to Redis); or the
        name of a statement that has changed rows, while its transaction is still open.
    act: One of ACTS.
    place: A path. The process that reaches the moment creates a file there with its process id.
    """

    def come(connection: Any = None) -> None:
        if is_first(place):
            ACTS[act](place, connection)

    claim, end, end_and_claim = Ledger.claim, Ledger.end, Ledger.end_and_claim
    execute, ask = Transaction._execute, Connection.execute
    send = AbstractConnection.send_packed_command

    def claimed(self: Ledger, *args: Any, **kwargs: Any) -> Any:
        row = claim(self, *args, **kwargs)
        if row is not None:
            come()
        return row

    def claimed_at_an_end(self: Ledger, *args: Any, **kwargs: Any) -> Any:
        written, row = end_and_claim(self, *args, **kwargs)
        if row is not None:
            come()
        return written, row

    def before(method: Callable[..., Any]) -> Any:
        def first(self: Ledger, *args: Any, **kwargs: Any) -> Any:
            come()
            return method(self, *args, **kwargs)

        return first

    def after(method: Callable[..., Any]) -> Any:
        def ended(self: Ledger, *args: Any, **kwargs: Any) -> Any:
            answer = method(self, *args, **kwargs)
            come()
            return answer

        return ended

    def executed(self: Transaction, sql: str, params: dict[str, Any]) -> None:
        execute(self, sql, params)
        if sql is statement and self._cursor.rowcount > 0:
            come(self._cursor.connection)

    def listened(self: Connection, query: Any, *args: Any, **kwargs: Any) -> Any:
        cursor = ask(self, query, *args, **kwargs)
        if str(query).startswith("LISTEN"):
            come(self)
        return cursor

    def copying(self: Any, command: Any, *args: Any, **kwargs: Any) -> None:
        data = command if isinstance(command, bytes) else b"".join(command)
        if len(data) > MEGABYTE and not os.path.exists(place):
            self._sock.sendall(data[: len(data) // 2])
            come()
        send(self, command, *args, **kwargs)

    statement = getattr(statements, moment, None)
    match moment:
        case "claiming":
            Ledger.claim = before(claim)  # type: ignore[method-assign]
        case "claimed":
            Ledger.claim, Ledger.end_and_claim = claimed, claimed_at_an_end  # type: ignore[method-assign]
        case "ending":
            Ledger.end, Ledger.end_and_claim = before(end), before(end_and_claim)  # type: ignore[method-assign]
        case "ended":
            Ledger.end, Ledger.end_and_claim = after(end), after(end_and_claim)  # type: ignore[method-assign]
        case "copying":
            AbstractConnection.send_packed_command = copying  # type: ignore[method-assign]
        case "listened":
            Connection.execute = listened  # type: ignore[assignment, method-assign]
        case _ if statement is not None:
            Transaction._execute = executed  # type: ignore[method-assign]
        case _:
            raise ValueError(f"{moment!r} is neither a moment nor a statement of the engine.")


def is_first(place: str) -> bool:
    try:
        descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    except FileExistsError:
        return False
    os.write(descriptor, str(os.getpid()).encode())
    os.close(descriptor)
    return True


def waits(place: str, connection: Any) -> None:
    """Wait until the file exists whose name is the place's plus `.go`."""
    wait_for(f"{place}.go")


def stops(place: str, connection: Any) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def dies(place: str, connection: Any) -> None:
    os._exit(9)


def hears_nothing(place: str, connection: Any) -> None:
    """Break the connection after the statement was executed and before its answer arrives."""
    if connection is None:
        raise DatabaseUnavailable("The answer was lost.")
    connection.pgconn.finish()
    raise psycopg.OperationalError("The answer was lost.")


def waits_and_hears_nothing(place: str, connection: Any) -> None:
    waits(place, connection)
    hears_nothing(place, connection)


def waits_and_dies(place: str, connection: Any) -> None:
    waits(place, connection)
    dies(place, connection)


ACTS: dict[str, Callable[[str, Any], None]] = {
    act.__name__.replace("_", " "): act
    for act in (waits, stops, dies, hears_nothing, waits_and_hears_nothing, waits_and_dies)
}
