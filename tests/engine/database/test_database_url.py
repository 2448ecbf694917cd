"""Database URLs as hosts, poolers and other frameworks write them: the engine understands each, and connects."""

from urllib.parse import urlsplit

import pytest

from jobqueue import DurableHuey
from jobqueue.database.database import Database
from jobqueue.database.database_url import parse_url
from tests.servers import free_port

# After "postgres": the host, the port, the database and the options that libpq gets.
FORMS: dict[str, tuple[str | None, int | None, str, dict[str, str]]] = {
    "://ann:x@db:5433/app": ("db", 5433, "app", {}),
    "ql+psycopg2://ann:x@db/app": ("db", None, "app", {}),
    "ql+asyncpg://ann:x@db/app": ("db", None, "app", {}),
    "+psycopg://ann:x@db/app": ("db", None, "app", {}),
    "ql://ann:x@db/app?pgbouncer=true&connection_limit=1": ("db", None, "app", {}),
    "://ann:x@db/app?supa=base-pooler.x&sslmode=require": ("db", None, "app", {"sslmode": "require"}),
    "ql+asyncpg://ann:x@db/app?ssl=require": ("db", None, "app", {"sslmode": "require"}),
    "ql://ann:x@db/app?ssl=true": ("db", None, "app", {"sslmode": "require"}),
    "ql://ann:x@db/app?ssl=false": ("db", None, "app", {"sslmode": "disable"}),
    "ql://ann:x@db/app?ssl=true&sslmode=verify-full": ("db", None, "app", {"sslmode": "verify-full"}),
    "ql://ann:x@db/app?options=-csearch_path%3Ddesk": ("db", None, "app", {"options": "-csearch_path=desk"}),
    "ql://ann:x@db1:5433,db2/app?target_session_attrs=read-write": (
        "db1,db2", None, "app", {"target_session_attrs": "read-write", "port": "5433,5432"},
    ),
    "ql://ann:x@[::1]:5433,10.0.0.2:5434/app": ("[::1],10.0.0.2", None, "app", {"port": "5433,5434"}),
    "ql://db1,db2/app": ("db1,db2", None, "app", {"port": "5432,5432"}),
    "ql:///app?host=db1:5433&host=db2:5434": (None, None, "app", {"host": "db1:5433,db2:5434"}),
    "ql://ann:a,b@db/app": ("db", None, "app", {}),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("around", ["", " ", "\n"], ids=["alone", "space", "newline"])
def test_each_form_of_a_url_is_understood(form: str, around: str) -> None:
    url = parse_url(f"{around}postgres{form}{around}")
    assert (url.host, url.port, url.database, dict(url.query)) == FORMS[form]


REFUSED = [
    "ql://ann:x@db1,:5432/app",
    "ql://ann:x@db1,db2:x/app",
    "ql://ann:x@db1,d b2/app",
    "ql+psycopg2",
    "x://db/app",
]


@pytest.mark.parametrize("form", REFUSED)
def test_other_forms_are_refused(form: str) -> None:
    with pytest.raises(ValueError, match="^database_url is "):
        parse_url(f"postgres{form}")


def test_the_engine_connects_with_each_form(fresh_postgres: str) -> None:
    """Run a job on the database of a URL with all of it: a stray newline, a driver, two hosts, options of other tools."""
    parts = urlsplit(fresh_postgres)
    user = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    hosts = f"127.0.0.1:{free_port()},{parts.hostname}:{parts.port}"  # nothing listens on the first
    options = "pgbouncer=true&ssl=false&target_session_attrs=read-write"
    url = f" postgres+asyncpg://{user}{hosts}{parts.path}?{options}\n"
    huey = DurableHuey("forms", url, secret_key="a key for tests")
    try:
        huey.migrate()

        @huey.task()
        def add(a: int, b: int) -> int:
            return a + b

        handle = add(1, 2)
        task = huey.dequeue()
        assert task is not None
        huey.execute(task)
        assert handle.get() == 3
    finally:
        huey.storage.close()
    database = Database(fresh_postgres)
    with database.statement() as tx:
        assert tx.one("SELECT state FROM jobs") == {"state": "succeeded"}
    database.close()
