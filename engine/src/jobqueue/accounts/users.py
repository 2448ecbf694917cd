"""Users and their passwords. A password is kept as a scrypt hash. Times are the database's, in seconds since the epoch."""

import re
import secrets
from dataclasses import dataclass
from functools import cache

from jobqueue.accounts import passwords, throttle
from jobqueue.accounts.devices import Device
from jobqueue.accounts.throttle import HOUR, Limit
from jobqueue.database.database import Database, Row
from jobqueue.huey import DurableHuey

NAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,63}")
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


class Users:
    """The users of one queue's database.

    :param title: the app's title, which is no password.
    """

    def __init__(self, huey: DurableHuey, title: str = "") -> None:
        self.huey = huey
        self.title = title

    def database(self) -> Database:
        return self.huey.ledger.database  # immediate mode swaps it

    def all(self) -> list[Row]:
        """Return name, admin, first_until and created_at of every user, by name."""
        with self.database().statement() as tx:
            return tx.all(LIST)

    def get(self, name: str) -> User | None:
        """Return a user, or None if there is no such user."""
        with self.database().statement() as tx:
            row = tx.one(FIND, name=name)
        return None if row is None else User.of(row)

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
            throttle.forget_failures(tx, self._limit_of(name))
        return given

    def remove(self, name: str) -> bool:
        """Remove a user and end the user's sessions. The user's jobs stay. Return False if there is no such user."""
        with self.database().transaction() as tx:
            tx.run(END_SESSIONS, name=name)
            return bool(tx.run(REMOVE, name=name))

    def authenticate(self, name: str, password: str, address: str, device: Device | None = None) -> User | None:
        """Return the user, or None if the name or the password is wrong. Both take the same work.

        :param address: of the client. Failures are counted for it and for the name.
        :param device: the known browser. For its user, only failures in it count.

        Raises TooManyFailures.
        """
        from werkzeug.security import check_password_hash

        name = name.strip().lower()
        known = name if NAME.fullmatch(name) else ""
        if device is not None and device.name == known:
            limits = [throttle.limit_of_browser(device.id)]
        else:
            limits = [throttle.limit_of_address(address), self._limit_of(known)]
        with self.database().transaction() as tx:
            throttle.count_attempt(tx, limits)
            row = tx.one(FIND, name=known)
        right = check_password_hash(_nobodys_hash(SCRYPT) if row is None else row["password"], password)
        if row is None or not right or (row["first_until"] is not None and row["first_until"] < row["now"]):
            return None
        with self.database().transaction() as tx:
            throttle.count_success(tx, limits)
        return User.of(row)

    def _limit_of(self, name: str) -> Limit:
        return throttle.limit_of_name(name, self.huey.serializer.derived("throttle")[0])

    def _checked(self, name: str, password: str | None) -> str:
        if password is None:
            return secrets.token_urlsafe(15)  # 20 characters
        passwords.check(password, [name, self.huey.name, self.title])
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
