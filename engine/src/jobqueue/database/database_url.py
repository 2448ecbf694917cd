"""The database's URL, as hosts, poolers and other frameworks write it."""

import re

import sqlalchemy as sa

from jobqueue.urls import printable, sqlite_path, stripped

MAX_PORT = 65_535
POSTGRES_PORT = "5432"

# Options of other drivers and tools. They say how these use a pooler, and libpq refuses what it does not know.
OF_OTHERS = {
    "pgbouncer", "connection_limit", "pool_timeout", "supa", "statement_cache_size", "prepared_statement_cache_size"
}  # fmt: skip
# `ssl` of other drivers -> `sslmode`
SSL_MODES = {"true": "require", "1": "require", "false": "disable", "0": "disable"}

_POSTGRES = re.compile(r"postgres(ql)?(\+\w+)?")
_HAS_NO_PASSWORD = re.compile(r"(\[[^\]]*\]|[^:/]*)(:\d*)?(/.*)?")  # host, port and database
_HOST = re.compile(r"(?P<host>\[[\da-fA-F:.]+\]|[\w.-]+)(:(?P<port>\d{1,5}))?")
_FORMS = "SQLite and Postgres are supported: sqlite:////abs/path.sqlite or postgresql://user:password@host/name"
_ENCODE = "Percent-encode special characters of the password, such as @ as %40."


def parse_url(url: str) -> sa.URL:
    """Return a database URL. A Postgres URL may name any driver, several hosts, and options of other tools.

    :raises ValueError: for an unsupported or unreadable URL. The message does not contain the password.

    >>> parse_url("postgres+asyncpg://ann@db1,db2:5433/app?ssl=require&pgbouncer=true").query
    immutabledict({'sslmode': 'require', 'port': '5432,5433'})
    """
    try:
        path = sqlite_path(url)
        if path is not None:
            url.encode()
            return sa.URL.create("sqlite", database=path)
        plain, hosts = _without_hosts(_with_plain_at_signs(stripped(url)))
        parsed = sa.make_url(plain)
    except (sa.exc.ArgumentError, ValueError):
        raise ValueError(f"database_url is not a valid URL. {_ENCODE} {_FORMS}") from None
    if parsed.get_backend_name() == "sqlite":
        return parsed
    if not _POSTGRES.fullmatch(parsed.drivername):
        raise ValueError(f"database_url is {printable(url)!r}. {_FORMS}")
    in_the_password = "@" in (parsed.host or "") or (parsed.port or 0) > MAX_PORT
    if in_the_password or (parsed.username is None and "@" in (parsed.database or "")):
        raise ValueError(f"database_url is not a valid URL. {_ENCODE} {_FORMS}")
    return _with_hosts(_for_libpq(parsed), hosts)


def _with_plain_at_signs(url: str) -> str:
    """Escape unescaped @ characters. The last @ before the path separates the password from the host.

    :raises ValueError: if they could be in the password or in an option.
    """
    scheme, separator, rest = url.partition("://")
    address, question, query = rest.partition("?")
    user, at, host = address.rpartition("@")
    if "@" in query and (at or _HAS_NO_PASSWORD.fullmatch(address)):
        if at or not all("=" in option for option in query.split("&")):
            raise ValueError("Several parts have an @.")
        query = query.replace("@", "%40")
    return f"{scheme}{separator}{user.replace('@', '%40')}{at}{host}{question}{query}"


def _without_hosts(url: str) -> tuple[str, list[tuple[str, str]]]:
    """Take several hosts out of a URL, which SQLAlchemy does not read. Return the URL, and each host with its port.

    :raises ValueError: if one of them is no host.
    """
    address = url.partition("?")[0]
    start = address.rfind("@") + 1 or address.find("://") + 3
    hosts = address[start:].partition("/")[0]
    if "," not in hosts:
        return url, []
    found = [_HOST.fullmatch(host) for host in hosts.split(",")]
    if not all(found):
        raise ValueError("One is no host.")
    pairs = [(host["host"], host["port"] or POSTGRES_PORT) for host in found if host is not None]
    return url[:start] + url[start + len(hosts) :], pairs


def _with_hosts(url: sa.URL, hosts: list[tuple[str, str]]) -> sa.URL:
    """Put several hosts in as libpq takes them: lists with commas."""
    if not hosts:
        return url
    names, ports = zip(*hosts, strict=True)
    return url.set(host=",".join(names)).update_query_dict({"port": ",".join(ports)})


def _for_libpq(url: sa.URL) -> sa.URL:
    """Leave out the options of other tools, and translate those of other drivers."""
    options = {
        name: value if isinstance(value, str) else ",".join(value)
        for name, value in url.query.items()
        if name not in OF_OTHERS
    }
    ssl = options.pop("ssl", None)
    if ssl is not None:
        options.setdefault("sslmode", SSL_MODES.get(ssl.lower(), ssl))
    return url.set(query=options)
