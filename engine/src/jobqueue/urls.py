"""Database and Redis URLs for people: `printable` is the one function that prints a URL. Nothing else may.

A URL can hold a password in its user name, after it, and in any option. With special characters that are not percent-encoded, a
part of the password is read as the host, the port or the path. So only what is certain to be an address is printed.
"""

import re
from urllib.parse import parse_qsl, unquote, unquote_plus

HIDDEN = "***"
SHORTEST = 4  # characters; a shorter password is found in ordinary words

_HOST = r"(?:[\w.-]+|\[[\da-fA-F:.]+\])?(?::\d{1,5})?"
_ADDRESS = re.compile(
    rf"(?P<scheme>[\w+]+://)(?:[^/?#]*@)?(?P<address>{_HOST}(?:,{_HOST})*(?:/[\w./ ~-]*)?)(?:[?#][^@]*)?"
)
_SCHEME = re.compile(r"[\w+]+://")
_SQLITE = re.compile(r"sqlite(?:\+pysqlite)?:///(?P<path>.*)", re.DOTALL)
_OPTIONS = re.compile(r"\?\w+=")


def printable(url: str) -> str:
    """Return a URL without user, password and options. Hide the address too if a part of the password may have got there.

    >>> printable("postgresql://ann:hunter2@host:5432/app?sslpassword=hunter2")
    'postgresql://host:5432/app'
    """
    if _SQLITE.fullmatch(url):
        before, _, after = url.partition("?")
        return before if "@" in after else _OPTIONS.split(url)[0]  # the URL of a server, with another scheme
    found = _ADDRESS.fullmatch(url)
    if found is not None:
        return found["scheme"] + found["address"]
    scheme = _SCHEME.match(url)
    return (scheme[0] if scheme else "") + HIDDEN


def sqlite_path(url: str) -> str | None:
    """Return the path in the URL of a SQLite file, letter by letter. Return None for any other URL.

    Nothing in it is percent-decoded, and a `?` or `#` is part of it. Only options at its end are left out: SQLite has none.

    >>> sqlite_path("sqlite:////srv/What now?/50%25 off/jobs.sqlite?timeout=5")
    '/srv/What now?/50%25 off/jobs.sqlite'
    """
    found = _SQLITE.fullmatch(url)
    return re.split(rf"{_OPTIONS.pattern}[^/]*$", found["path"])[0] if found else None


def stripped(url: str) -> str:
    """Return the URL of a server without spaces and line ends around it.

    :raises ValueError: for a control character inside, which parsers of URLs leave out.
    """
    url = url.strip()
    if not url.isprintable():
        raise ValueError("The URL has a control character.")
    return url


def without_secrets(text: object, url: str) -> str:
    """Return a text, such as an error of a driver, without the passwords and the unknown options of a URL."""
    hidden = str(text).replace(url, printable(url))
    for secret in sorted(_secrets(url), key=len, reverse=True):
        if len(secret) >= SHORTEST:
            hidden = hidden.replace(secret, HIDDEN)
    return hidden


def _secrets(url: str) -> set[str]:
    before, _, options = url.partition("://")[2].partition("?")
    password = before.rpartition("@")[0].partition(":")[2]
    values = [value for part in options.split("&") if _is_secret(part) for value in part.split("=", 1)[1:]]
    values += [value for name, value in parse_qsl(options) if _is_secret(name)]
    if _ADDRESS.fullmatch(url) is None:  # a part of the password may be the path, which drivers print
        values += [before.partition(":")[2].strip("/"), before.partition("/")[2]]
    values += [value.partition("#")[0] for value in [password, *values]]  # what follows may be read as a fragment
    return {form for value in [password, *values] for form in (value, unquote(value), unquote_plus(value))}


def _is_secret(option: str) -> bool:
    return re.match(r"\w*(pass|secret|token|key)", option, re.IGNORECASE) is not None
