"""Database problems: a short name for programs, and a sentence for operators that says what to do.

A name holds no host, role or database, so it may be shown to anybody. A sentence names them, but no password.
"""

import logging
import re
import time
from dataclasses import dataclass

from jobqueue.urls import printable, without_secrets

TOLD_AGAIN = 60.0  # seconds after which a problem that lasts is logged again
LONGEST = 400  # characters of a driver's text

READ_ONLY = "read-only"
NO_RIGHTS = "no rights"
TOO_MANY = "too many connections"
UNREACHABLE = "unreachable"
POOLER = "pooler"
STATEMENT_POOLING = "statement pooling"
EARLY_COMMITS = "early commits"
_LASTING = {"wrong password", "no such role", "no such database", NO_RIGHTS, POOLER, STATEMENT_POOLING, EARLY_COMMITS}

# By SQLSTATE, and by the text of a failed connection, for which the driver has no SQLSTATE.
_BY_STATE = {
    "25006": READ_ONLY,
    "26000": POOLER,
    "28000": "wrong password",
    "28P01": "wrong password",
    "3D000": "no such database",
    "3F000": NO_RIGHTS,
    "42501": NO_RIGHTS,
    "42P05": POOLER,
    "53300": TOO_MANY,
}
_BY_TEXT = {
    r"password authentication failed|no password supplied": "wrong password",
    r'role ".*" does not exist|role ".*" is not permitted to log in': "no such role",
    r'database ".*" does not exist': "no such database",
    r"permission denied for database": NO_RIGHTS,
    r"too many (clients|connections)|remaining connection slots|no more connections allowed": TOO_MANY,
    r"not allowed in statement pooling": STATEMENT_POOLING,
    r"synchronous_commit is off": EARLY_COMMITS,
    r"attempt to write a readonly database": READ_ONLY,
}
_SENTENCES = {
    "wrong password": '{where} refuses role "{role}" with this password. Set DATABASE_URL to the right role and password.',
    "no such role": '{where} has no role "{role}" that may log in. Create it, or correct DATABASE_URL.',
    "no such database": "{where} has no such database. Create it, or correct DATABASE_URL.",
    NO_RIGHTS: 'The role "{role}" lacks a right on {where}: {text}. {advice}',
    READ_ONLY: "{where} is read-only, as a standby is after a failover. Point DATABASE_URL at the primary, or end the read-only mode.",
    POOLER: (
        "{where} is a pooler that changes the connection between two statements: {text}. "
        "Set DATABASE_POOLING to transaction-unprepared, or use its session mode."
    ),
    STATEMENT_POOLING: (
        "{where} is a pooler in statement mode, which allows no transactions. Set its pool_mode to transaction or session."
    ),
    EARLY_COMMITS: (
        "{where} is a pooler in transaction mode, and {text}. Each client would have to turn it on, which such a pooler "
        "prevents, so a job could be lost. Run, as the role of this app: ALTER ROLE CURRENT_USER SET synchronous_commit = on; "
        "and restart the pooler."
    ),
    TOO_MANY: (
        "{where} accepts no more connections: {text}. Lower WORKERS, stop other clients, or raise the limit of the database."
    ),
    UNREACHABLE: "{where} does not answer: {text}",
}


@dataclass(frozen=True)
class Problem:
    """A reason for which the database cannot be used.

    :param name: one of a small set, such as "read-only". It holds no names of hosts, roles or databases.
    :param sentence: says to an operator what is wrong and what to do.
    """

    name: str
    sentence: str

    @property
    def lasts(self) -> bool:
        """Return whether only a person can end the problem, so that waiting does not help."""
        return self.name in _LASTING


def classify(error: BaseException, url: str) -> Problem:
    """Return the problem that an error of the driver stands for.

    :param url: the URL of the database, with its password, which the sentence does not contain.

    >>> classify(OSError("no route to host"), "postgresql://ann:hunter2@host/app").sentence
    'postgresql://host/app does not answer: no route to host'
    """
    text = str(error)
    name = _BY_STATE.get(getattr(error, "sqlstate", None) or "")
    name = name or next((name for pattern, name in _BY_TEXT.items() if re.search(pattern, text)), UNREACHABLE)
    role = _role(text, url)
    if name != UNREACHABLE:  # without the driver's words around the server's
        text = re.sub(r"^.*?FATAL: +| at character \d+|\n(LINE|DETAIL).*", "", text, flags=re.DOTALL)
    short = " ".join(without_secrets(text, url).split()).rstrip(".")[:LONGEST]
    where = printable(url).replace("+psycopg", "", 1)
    sentence = _SENTENCES[name].format(where=where, role=role, text=short, advice=_advice(text, role))
    return Problem(name, sentence)


class Reminder:
    """Logs a problem when it begins, and once a minute while it lasts."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._told_at: dict[tuple[str, str], float] = {}  # time.monotonic() by the text and the problem's name

    def warn(self, text: str, *args: object, about: str = "") -> None:
        """Log a warning, unless the same text was logged about the same problem within the last minute."""
        now = time.monotonic()
        if now >= self._told_at.get((text, about), -TOLD_AGAIN) + TOLD_AGAIN:
            self._told_at[text, about] = now
            self._logger.warning(text, *args)


def _role(text: str, url: str) -> str:
    """Return the role that a connection logs in as: from the server's text, or else from the URL."""
    named = re.search(r'(?:user|role) "(.*?)"', text)
    if named is not None:
        return without_secrets(named[1], url)
    user = re.match(r"[\w+]+://([^:@/?#]*)(?::[^@]*)?@", url) or re.search(r"[?&]user=([^&]*)", url)
    return user[1] if user is not None and user[1] else "of this app"


def _advice(text: str, role: str) -> str:
    """Return the statement that gives a role the right that it lacks."""
    if "must be owner" in text:
        return "Set DATABASE_URL to the role that owns the tables."
    named = re.search(r'for (schema|database|table) "?([^"\s]*)', text)
    kind, name = (named[1], named[2]) if named is not None else ("schema", "public")
    what = {
        "schema": f"USAGE, CREATE ON SCHEMA {_identifier(name)}",
        "database": f"CONNECT ON DATABASE {_identifier(name)}",
        "table": "ALL ON ALL TABLES IN SCHEMA public",
    }[kind]
    return f"Run, as the owner of the database: GRANT {what} TO {_identifier(role)};"


def _identifier(name: str) -> str:
    return name if re.fullmatch(r"[a-z_][a-z0-9_]*", name) else '"' + name.replace('"', '""') + '"'
