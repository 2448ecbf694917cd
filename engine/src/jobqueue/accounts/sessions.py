"""Sessions: random tokens in browsers' cookies, of which the database holds hashes. A stolen database opens none."""

import hashlib
import secrets
from collections.abc import Callable

from jobqueue.accounts.users import User
from jobqueue.database.database import Database

HOUR = 3600  # seconds
IDLE = 12 * HOUR  # without a request, after which a session ends
LONGEST_SESSION = 7 * 24 * HOUR  # after which a session ends in any case
SEEN = 300  # seconds between two writes that a session is in use

BEGIN = "INSERT INTO sessions (id, name, began_at, seen_at) VALUES (:id, :name, NOW, NOW)"
FIND = """
SELECT users.name, users.admin, users.first_until, sessions.seen_at, NOW AS now
FROM sessions JOIN users ON users.name = sessions.name
WHERE sessions.id = :id AND sessions.began_at > NOW - :longest AND sessions.seen_at > NOW - :idle
"""
NOTE_USE = "UPDATE sessions SET seen_at = NOW WHERE id = :id"
END = "DELETE FROM sessions WHERE id = :id"
PRUNE = "DELETE FROM sessions WHERE seen_at < NOW - :idle"


class Sessions:
    """The sessions of one database. `database` is a callable: immediate mode swaps the queue's."""

    def __init__(self, database: Callable[[], Database]) -> None:
        self.database = database

    def begin(self, name: str) -> str:
        """Begin a session of a user, and return its token for the cookie: 256 random bits."""
        token = secrets.token_urlsafe(32)
        with self.database().transaction() as tx:
            tx.run(PRUNE, idle=IDLE)
            tx.run(BEGIN, id=_digest(token), name=name)
        return token

    def user(self, token: str) -> User | None:
        """Return a session's user, or None if the session is unknown, has ended or has expired."""
        with self.database().statement() as tx:
            row = tx.one(FIND, id=_digest(token), longest=LONGEST_SESSION, idle=IDLE)
        if row is None:
            return None
        if row["seen_at"] < row["now"] - SEEN:
            with self.database().statement() as tx:
                tx.run(NOTE_USE, id=_digest(token))
        return User.of(row)

    def end(self, token: str) -> None:
        with self.database().statement() as tx:
            tx.run(END, id=_digest(token))


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
