"""Users and their passwords. A password is kept as a scrypt hash. Times are the database's, in seconds since the epoch."""

import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from jobqueue.accounts.throttle import HOUR, count_attempt, count_success, forget_failures
from jobqueue.database.database import Database, Row

NAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,63}")
SHORTEST = 12  # characters of a password
LONGEST = 1000
STRENGTH = 3  # of 4 on zxcvbn's scale: 100 million guesses
RATED = 72  # characters of a password that zxcvbn rates: its time grows with them
SCRYPT = "scrypt:16384:8:5"  # 16 MB and a third of a second; one of OWASP's choices
FIRST_PASSWORD = 72 * HOUR  # seconds for which a generated password is valid

FIND = "SELECT name, password, admin, first_until, NOW AS now FROM users WHERE name = :name"
LIST = "SELECT name, admin, first_until, created_at FROM users ORDER BY name"
ANY = "SELECT 1 FROM users LIMIT 1"
ADD = """
INSERT INTO users (name, password, admin, first_until, created_at)
SELECT :name, :password, :admin, NOW + :valid_s, NOW WHERE TRUE
ON CONFLICT (name) DO NOTHING
"""
SET_PASSWORD = "UPDATE users SET password = :password, first_until = NOW + :valid_s WHERE name = :name"
REMOVE = "DELETE FROM users WHERE name = :name"
END_SESSIONS = "DELETE FROM sessions WHERE name = :name"


@dataclass(frozen=True)
class User:
    name: str
    admin: bool
    must_change: bool = False  # the password was generated: it only allows to set another

    @classmethod
    def of(cls, row: Row) -> "User":
        return cls(row["name"], bool(row["admin"]), row["first_until"] is not None)


class WeakPassword(ValueError):
    """The password is too short, too long or easy to guess. The message says which, and what to do."""


class Users:
    """The users of one database.

    :param database: a callable, because immediate mode swaps the queue's database.
    :param guessable: words that make a password weak, as the app's name.
    """

    def __init__(self, database: Callable[[], Database], guessable: Sequence[str] = ()) -> None:
        self.database = database
        self.guessable = guessable

    def all(self) -> list[Row]:
        """Return name, admin, first_until and created_at of every user, by name."""
        with self.database().statement() as tx:
            return tx.all(LIST)

    def any(self) -> bool:
        with self.database().statement() as tx:
            return tx.one(ANY) is not None

    def add(self, name: str, password: str | None, *, admin: bool = False) -> str:
        """Add a user and return the password. None generates one, which the user has to change at the first log-in.

        Raises ValueError if the name is malformed or taken, WeakPassword.
        """
        if not NAME.fullmatch(name):
            raise ValueError(
                f"{name!r} cannot be a user's name. Use up to 64 of a-z, 0-9 and . _ @ + -, starting with a letter or digit."
            )
        given = self._checked(name, password)
        values = {"name": name, "password": hashed(given), "admin": admin, "valid_s": _valid_s(password)}
        with self.database().transaction() as tx:
            if not tx.run(ADD, **values):
                raise ValueError(f"There is already a user {name!r}. To change the password: users passwd {name}")
        return given

    def set_password(self, name: str, password: str | None) -> str:
        """Set a user's password, end the user's sessions, and return the password; see `add`. Raises LookupError too."""
        given = self._checked(name, password)
        with self.database().transaction() as tx:
            if not tx.run(SET_PASSWORD, name=name, password=hashed(given), valid_s=_valid_s(password)):
                raise LookupError(f"There is no user {name!r}.")
            tx.run(END_SESSIONS, name=name)
            forget_failures(tx, name)
        return given

    def remove(self, name: str) -> bool:
        """Remove a user and end the user's sessions. The user's jobs stay. Return False if there is no such user."""
        with self.database().transaction() as tx:
            tx.run(END_SESSIONS, name=name)
            return bool(tx.run(REMOVE, name=name))

    def authenticate(self, name: str, password: str, address: str) -> User | None:
        """Return the user, or None if the name or the password is wrong. Both take the same work. Raises TooManyFailures."""
        from werkzeug.security import check_password_hash

        name = name.strip().lower()
        known = name if NAME.fullmatch(name) else ""
        with self.database().transaction() as tx:
            count_attempt(tx, known, address)
            row = tx.one(FIND, name=known)
        right = check_password_hash(_nobodys_hash(SCRYPT) if row is None else row["password"], password)
        if row is None or not right or (row["first_until"] is not None and row["first_until"] < row["now"]):
            return None
        with self.database().transaction() as tx:
            count_success(tx, known, address)
        return User.of(row)

    def _checked(self, name: str, password: str | None) -> str:
        if password is None:
            return secrets.token_urlsafe(15)  # 20 characters
        if not SHORTEST <= len(password) <= LONGEST:
            raise WeakPassword(
                f"A password needs {SHORTEST} to {LONGEST} characters; this one has {len(password)}. Try several words."
            )
        from zxcvbn import zxcvbn  # compares with 30,000 common passwords and their variations

        found = zxcvbn(password[:RATED], [name, *self.guessable])
        if found["score"] < STRENGTH:
            why = found["feedback"]["warning"] or "This password is easy to guess."
            raise WeakPassword(f"{why} Try several words that do not belong together.")
        return password


def hashed(password: str) -> str:
    from werkzeug.security import generate_password_hash

    return generate_password_hash(password, SCRYPT)


@cache
def _nobodys_hash(method: str) -> str:
    """Return the hash that the password of an unknown name is compared with, once for each method."""
    return hashed(secrets.token_urlsafe())


def _valid_s(password: str | None) -> float | None:
    return FIRST_PASSWORD if password is None else None
