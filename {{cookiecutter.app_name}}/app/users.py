"""Who may log in: users, their passwords, and who is logged in. What a browser sees of it is in accounts.py.

A password is kept as a scrypt hash, and what a session's cookie says as a hash too: whoever reads the database can use
neither. Times are the database's, seconds since the epoch.
"""

import hashlib
import ipaddress
import math
import re
import secrets
from dataclasses import dataclass
from functools import cache

from jobqueue.database.database import Row

from app.about import about
from app.jobs import huey

NAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,63}")
SHORTEST = 12  # characters of a password
LONGEST = 1000
STRENGTH = 3  # of 4 on zxcvbn's scale: 100 million guesses
LOOKED_AT = 72  # characters of a password that zxcvbn is shown, as its time grows with them
SCRYPT = "scrypt:16384:8:5"  # 16 MB and a third of a second; one of OWASP's choices
HOUR = 3600  # seconds
FIRST_PASSWORD = 72 * HOUR  # that a password made for a user is good
IDLE = 12 * HOUR  # without a request, after which one logs in again
LONGEST_SESSION = 7 * 24 * HOUR  # after which one logs in again in any case
SEEN = 300  # seconds between two notes that a session is in use
FREE_TRIES = 10  # failed log-ins in an hour, of a name or from an address, before there is a pause after each
PAUSE = 30  # seconds

USER = "SELECT name, password, admin, first_until, NOW AS now FROM users WHERE name = :name"
USERS = "SELECT name, admin, first_until, created_at FROM users ORDER BY name"
ANY_USER = "SELECT 1 FROM users LIMIT 1"
ADD = """
INSERT INTO users (name, password, admin, first_until, created_at)
SELECT :name, :password, :admin, NOW + :good_for, NOW WHERE TRUE
ON CONFLICT (name) DO NOTHING
"""
SET_PASSWORD = "UPDATE users SET password = :password, first_until = NOW + :good_for WHERE name = :name"
REMOVE = "DELETE FROM users WHERE name = :name"

BEGIN = "INSERT INTO sessions (id, name, began_at, seen_at) VALUES (:id, :name, NOW, NOW)"
SESSION = """
SELECT users.name, users.admin, users.first_until, sessions.seen_at, NOW AS now
FROM sessions JOIN users ON users.name = sessions.name
WHERE sessions.id = :id AND sessions.began_at > NOW - :longest AND sessions.seen_at > NOW - :idle
"""
SEE = "UPDATE sessions SET seen_at = NOW WHERE id = :id"
END = "DELETE FROM sessions WHERE id = :id"
END_ALL = "DELETE FROM sessions WHERE name = :name"
FORGET_SESSIONS = "DELETE FROM sessions WHERE seen_at < NOW - :idle"

PAUSE_LEFT = """
SELECT MAX(last_at + :pause - NOW) AS seconds FROM failed_logins
WHERE key IN EACH(:keys) AND failures >= :free AND last_at > NOW - :pause
"""
COUNT_FAILURE = """
INSERT INTO failed_logins (key, failures, last_at) SELECT known.value, 1, NOW FROM EACH(:keys) AS known WHERE TRUE
ON CONFLICT (key) DO UPDATE SET last_at = NOW,
    failures = CASE WHEN failed_logins.last_at > NOW - :hour THEN failed_logins.failures + 1 ELSE 1 END
"""
UNCOUNT = "UPDATE failed_logins SET failures = failures - 1, last_at = last_at - :pause WHERE key = :key"
FORGET_FAILURES = "DELETE FROM failed_logins WHERE key = :key OR last_at < NOW - :hour"

# Only as many of the owner's latest as are allowed are looked at. A unique job is counted by its handle.
SUBMITTED = """
SELECT COUNT(*) AS jobs FROM (
    SELECT created_at, unique_key
    FROM (SELECT created_at, unique_key FROM jobs WHERE owner = :owner AND seq > 0 ORDER BY seq DESC LIMIT :most) AS own
    UNION ALL
    SELECT created_at, NULL
    FROM (SELECT created_at FROM handles WHERE owner = :owner ORDER BY seq DESC LIMIT :most) AS asked
) AS latest
WHERE unique_key IS NULL AND created_at > NOW - :seconds
"""


@dataclass(frozen=True)
class User:
    name: str
    admin: bool
    must_change: bool = False  # the password was made for the user, and is good for one thing: to set another


class WeakPassword(ValueError):
    """It is too short, or easy to guess; the message says which, and what to do."""


class TooManyFailures(Exception):
    """Nobody may try this name, or from this address, for some seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"Too many log-ins failed. Try again in {math.ceil(seconds)} seconds.")
        self.seconds = seconds


# --- users ---


def users() -> list[Row]:
    """name, admin, first_until, created_at."""
    with huey.ledger.database.statement() as tx:
        return tx.all(USERS)


def any_user() -> bool:
    with huey.ledger.database.statement() as tx:
        return tx.one(ANY_USER) is not None


def add(name: str, password: str | None, *, admin: bool = False) -> str:
    """Without a password one is made, and has to be changed when the user first logs in. Returns the password.

    Raises ValueError for a name that cannot be or is there already, WeakPassword.
    """
    if not NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} cannot be a name: take up to 64 of a-z, 0-9 and . _ @ + -, a letter or digit first."
        )
    given = _checked(name, password)
    values = {"name": name, "password": hashed(given), "admin": admin, "good_for": _good_for(password)}
    with huey.ledger.database.transaction() as tx:
        if not tx.run(ADD, **values):
            raise ValueError(f"There is a user {name!r} already. To set another password: users passwd {name}")
    return given


def set_password(name: str, password: str | None) -> str:
    """As `add`. Whoever was logged in under this name is not any more. Raises LookupError where there is no such user."""
    given = _checked(name, password)
    with huey.ledger.database.transaction() as tx:
        if not tx.run(SET_PASSWORD, name=name, password=hashed(given), good_for=_good_for(password)):
            raise LookupError(f"There is no user {name!r}.")
        tx.run(END_ALL, name=name)
        tx.run(FORGET_FAILURES, key=_of_name(name), hour=HOUR)
    return given


def remove(name: str) -> bool:
    """And end whatever session there is. The user's jobs stay."""
    with huey.ledger.database.transaction() as tx:
        tx.run(END_ALL, name=name)
        return bool(tx.run(REMOVE, name=name))


def _checked(name: str, password: str | None) -> str:
    if password is None:
        return secrets.token_urlsafe(15)  # 20 characters
    if not SHORTEST <= len(password) <= LONGEST:
        raise WeakPassword(
            f"A password has {SHORTEST} characters or more (up to {LONGEST}). Take some words, for example."
        )
    from zxcvbn import zxcvbn  # compares with 30,000 common passwords, and with what people make of them

    found = zxcvbn(password[:LOOKED_AT], [name, about.name, about.title])
    if found["score"] < STRENGTH:
        why = found["feedback"]["warning"] or "It is easy to guess."
        raise WeakPassword(f"{why} Take some words that do not belong together, for example.")
    return password


def _good_for(password: str | None) -> float | None:
    return FIRST_PASSWORD if password is None else None


def hashed(password: str) -> str:
    from werkzeug.security import generate_password_hash

    return generate_password_hash(password, SCRYPT)


@cache
def _nobodys_hash() -> str:
    return hashed(secrets.token_urlsafe())


# --- logging in ---


def authenticate(name: str, password: str, address: str) -> User | None:
    """The user of this name and password. None for a wrong name as for a wrong password, and after as much work.

    Raises TooManyFailures.
    """
    from werkzeug.security import check_password_hash

    name = name.strip().lower()
    known = name if NAME.fullmatch(name) else ""
    keys = [_of_name(known), _of_address(address)]
    with huey.ledger.database.transaction() as tx:
        left = tx.one(PAUSE_LEFT, keys=keys, free=FREE_TRIES, pause=PAUSE)
        if left is not None and left["seconds"] is not None:
            raise TooManyFailures(left["seconds"])
        tx.run(COUNT_FAILURE, keys=keys, hour=HOUR)  # before it is known, so that many at once are counted
        row = tx.one(USER, name=known)
    right = check_password_hash(_nobodys_hash() if row is None else row["password"], password)
    if row is None or not right or (row["first_until"] is not None and row["first_until"] < row["now"]):
        return None
    with huey.ledger.database.transaction() as tx:
        tx.run(FORGET_FAILURES, key=_of_name(known), hour=HOUR)
        tx.run(UNCOUNT, key=_of_address(address), pause=PAUSE)  # not forgotten: others may be guessed at from there
    return _user(row)


def begin_session(name: str) -> str:
    """What the cookie is to say: 256 random bits."""
    token = secrets.token_urlsafe(32)
    with huey.ledger.database.transaction() as tx:
        tx.run(FORGET_SESSIONS, idle=IDLE)
        tx.run(BEGIN, id=_digest(token), name=name)
    return token


def of_session(token: str) -> User | None:
    """Whose session it is, if it has neither been ended nor grown old."""
    with huey.ledger.database.statement() as tx:
        row = tx.one(SESSION, id=_digest(token), longest=LONGEST_SESSION, idle=IDLE)
    if row is None:
        return None
    if row["seen_at"] < row["now"] - SEEN:
        with huey.ledger.database.statement() as tx:
            tx.run(SEE, id=_digest(token))
    return _user(row)


def end_session(token: str) -> None:
    with huey.ledger.database.statement() as tx:
        tx.run(END, id=_digest(token))


def submitted(name: str, seconds: float, most: int) -> int:
    """How many jobs the user has submitted in these seconds; `most` at least where there are more."""
    with huey.ledger.database.statement() as tx:
        row = tx.one(SUBMITTED, owner=name, most=most, seconds=seconds)
    return int(row["jobs"]) if row else 0


def _user(row: Row) -> User:
    return User(row["name"], bool(row["admin"]), row["first_until"] is not None)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def _of_name(name: str) -> str:
    return f"name {name}"


def _of_address(address: str) -> str:
    """An IPv6 address stands for its network, of which one subscriber has all."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "address unknown"
    if parsed.version == 6:
        return f"address {ipaddress.ip_network((parsed, 64), strict=False)}"
    return f"address {parsed}"
