"""A password in a URL is never printed: not by an error, a log line, `doctor`, or a repr, wherever the URL holds it."""

import logging
import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from urllib.parse import quote, quote_plus

import psycopg
import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from jobqueue import DurableHuey
from jobqueue.cli import commands
from jobqueue.database.database import Database, DatabaseUnavailable
from jobqueue.notifier.notifier import RedisNotifier
from jobqueue.settings import Settings, SettingsError, load
from jobqueue.urls import printable, without_secrets

CORE = "hunter2secret"  # part of every password; no other part of a URL has it
CLOSED = "127.0.0.1:1"  # nothing listens there


def quoted(text: str) -> str:
    return quote(text, safe="")


# Passwords with special characters on either side, in any encoding: unescaped ones break the URL apart.
PASSWORDS = st.tuples(
    st.text(st.sampled_from("aB3 @:/?#[]%&=+;,'\"\\$*é\t"), max_size=3),
    st.text(st.sampled_from("aB3 @:/?#[]%&=+;,'\"\\$*é\t"), max_size=3),
).map(CORE.join)
ENCODERS: st.SearchStrategy[Callable[[str], str]] = st.sampled_from([str, quoted, quote_plus])
OPTIONS = st.sampled_from(["password", "sslpassword", "passfile", "sslkey", "oauth_client_secret", "PASSWORD", "pass"])
SCHEMES = [
    "postgresql",
    "postgres",
    "postgresql+psycopg",
    "mysql",
    "mssql+pyodbc",
    "http",
    "sqlite",
    "redis",
    "rediss",
    "unix",
]


@st.composite
def urls(draw: st.DrawFn, schemes: list[str]) -> str:
    """Draw a URL with a password in one or more of its parts. Many are malformed."""
    scheme, password, option = draw(st.sampled_from(schemes)), draw(PASSWORDS), draw(OPTIONS)
    secret = draw(ENCODERS)(password)
    host = draw(st.sampled_from([CLOSED, "127.0.0.1:99999999", "127.0.0.1:", "[::1]:1", "127.0.0.1:x"]))
    form = draw(
        st.sampled_from(
            [
                "{scheme}://ann:{secret}@{host}/app",
                "{scheme}://:{secret}@{host}/0",
                "{scheme}://ann:{secret}@{host}/app?sslmode=disable&{option}={secret}",
                "{scheme}://{host}/app?{option}={secret}",
                "{scheme}://{host}?{option}={secret}&sslmode=none",
                "{scheme}://{host}/app?sslmode=disable&user=ann&{option}={secret}#{secret}",
                "{scheme}:///ann:{secret}@{host}/app",
                "{scheme}:///app?{option}={secret}&host=127.0.0.1&port=1",
                "{scheme}://ann:{secret}",
                "{scheme}://ann:{secret}/app",
                "{scheme}:ann:{secret}@{host}",
                "ann:{secret}@{host}",
                "{scheme}://ann:{secret}@[{host}/app",
                "{scheme}://ann:x@y:{secret}@{host}/app",
                "{scheme}://ann:{secret}@{host}/app?{option}",
            ]
        )
    )
    assume("@" not in secret or "?" in form or "@" in form)  # else what follows the @ is the host
    url = form.format(scheme=scheme, secret=secret, host=host, option=option)
    assume("@" in url or not re.match(rf"{re.escape(scheme)}://ann:\d+/", url))  # there it is a database, after a port
    assume(not url.startswith("sqlite:///") or CORE not in url.partition("?")[0])  # there it is the name of a file
    return url


@contextmanager
def everything_printed() -> Iterator[list[str]]:
    """Collect what is logged, with tracebacks, and what is written to stderr."""
    printed: list[str] = []
    lines = StringIO()
    handler = logging.StreamHandler(lines)
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        with redirect_stderr(lines):
            yield printed
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
        printed.append(lines.getvalue())


def described(error: BaseException) -> list[str]:
    """Return an error as handlers, logs and notebooks print it."""
    return [str(error), repr(error), *traceback.format_exception(error)]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(urls(SCHEMES))
@example(f"postgresql://{CLOSED}/app?password={CORE}")
@example(f"postgresql://{CLOSED}/app?password=p@{CORE}")
@example(f"postgresql://{CLOSED}/app?password=a&{CORE}=1")
@example(f"postgresql://ann:/{CORE}")
@example(f"postgresql://[::1]:1/app?password=@{CORE}")
def test_no_password_of_a_database_is_printed(url: str) -> None:
    with everything_printed() as printed:
        printed += settings_with("DATABASE_URL", url)
        try:
            huey = DurableHuey("tests", url, secret_key="a key for tests")
        except ValueError as error:
            printed += described(error)
        else:
            printed += map(repr, (huey, huey.storage, huey.ledger.database, huey.ledger.database.address))
            if huey.ledger.database.url.get_backend_name() == "postgresql":  # a SQLite file would be created
                with pytest.raises(DatabaseUnavailable) as refused:
                    huey.task(name="nothing")(lambda: None)()
                printed += described(refused.value)
                printed += map(repr, huey.check())
    assert not [text for text in printed if CORE in text]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(urls(["redis", "rediss", "unix", "http"]))
@example(f"redis://{CLOSED}?password={CORE}")
@example(f"redis://:12?34@{CORE}")
@example(f"redis://{CLOSED}?password=a&{CORE}=1")
@example(f"redis://{CLOSED}?db={CORE}")
@example(f"unix://ann:/{CORE}")
@example(f"unix://ann:pw/{CORE}/app")
@example(f"unix://ann:/{CORE}#")
@example(f"unix://ann:/\t{CORE}")
def test_no_password_of_redis_is_printed(url: str) -> None:
    with everything_printed() as printed:
        printed += settings_with("REDIS_URL", url)
        try:
            notifier = RedisNotifier(url, "tests")
        except ValueError as error:
            printed += described(error)
        else:
            notifier.notify(["default"])
            printed += [notifier.check() or "", repr(notifier), repr(vars(notifier))]
    assert not [text for text in printed if CORE in text]


def settings_with(name: str, url: str) -> list[str]:
    """Return what the settings print with a variable that has this value."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SECRET_KEY", CORE * 3)
        try:
            patch.setenv(name, url)
            return [repr(load(Settings)), str(load(Settings))]
        except SettingsError as error:
            return described(error)


@settings(max_examples=300, deadline=None)
@given(urls(SCHEMES))
@example(f"sqlite:///ann:?{CORE}@127.0.0.1:1/app")
def test_printable_url_has_no_part_of_a_password(url: str) -> None:
    assert CORE not in printable(url)


@pytest.mark.parametrize(
    ("url", "printed"),
    [
        ("postgresql://ann:pw@db.example.com:5432/app?sslmode=require", "postgresql://db.example.com:5432/app"),
        ("postgresql://ann:p%40w@one:1,two:2/app", "postgresql://one:1,two:2/app"),
        ("postgresql:///app?host=/run/postgresql", "postgresql:///app"),
        ("redis://:pw@[::1]:6379/0", "redis://[::1]:6379/0"),
        ("unix://:pw@/run/redis.sock?db=1", "unix:///run/redis.sock"),
        ("sqlite:////home/ann@work/my app.sqlite?timeout=5", "sqlite:////home/ann@work/my app.sqlite"),
        ("sqlite:////srv/What now?/jobs.sqlite?password=pw", "sqlite:////srv/What now?/jobs.sqlite"),
        ("sqlite://", "sqlite://"),
        ("postgresql://ann:p/w@host/app", "postgresql://***"),
        ("redis://ann:12345678/0", "redis://***"),
        ("ann:pw@host", "***"),
    ],
)
def test_address_is_printed_if_it_is_certain_to_be_one(url: str, printed: str) -> None:
    assert printable(url) == printed


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann:p%40ss@host:5432/app?sslmode=require&sslpassword=p@ss",
        "postgresql://ann:p@s?s@host/app",
        "postgresql://ann:1234?s@host/app",
        "postgresql:///ann:pw@host/app",
        "postgresql://ann:12345678/app",
    ],
)
def test_url_whose_password_may_be_read_as_another_part_is_refused(url: str) -> None:
    with pytest.raises(
        ValueError, match="not a valid URL. Percent-encode special characters of the password, such as @ as %40"
    ):
        Database(url)


@pytest.mark.parametrize(
    ("url", "password"),
    [
        ("postgresql://ann:p@ss@host/app", "p@ss"),
        ("postgresql://ann:p?ss@host/app", "p?ss"),
        ("postgresql://ann:p/ss@host/app", "p/ss"),
        ("postgresql://host:5432/app?password=p@ss", None),
        ("postgresql://host/app?password=p@ss", None),
    ],
)
def test_unescaped_password_that_can_only_be_one_is_accepted(url: str, password: str | None) -> None:
    read = Database(url).url
    assert (read.password, read.host, read.database) == (password, "host", "app")
    assert password is not None or read.query["password"] == "p@ss"


def test_doctor_prints_no_option_of_a_server_that_answers(fresh_postgres: str, fresh_valkey: str) -> None:
    address = sa.make_url(fresh_postgres)
    assert isinstance(address.password, str)
    without = f"postgresql://{address.username}@{address.host}:{address.port}/{address.database}"
    options = f"password={address.password}&sslpassword={CORE}&passfile=/no/{CORE}"
    huey = DurableHuey(
        "tests",
        f"{without}?{options}",
        f"redis://:{CORE}@{fresh_valkey.rpartition('@')[2]}",
        secret_key="a key for tests",
    )
    with everything_printed() as printed:
        checks = {check.name: check for check in huey.check()}
        doctor = CliRunner().invoke(commands(huey, load(Settings)), ["doctor"]).output
    huey.storage.close()
    assert checks["database"].ok and f"{address.host}:{address.port}/{address.database}" in doctor
    assert not checks["redis"].ok and "!! redis: does not answer: invalid" in doctor
    for text in (*printed, *map(repr, checks.values()), doctor):
        assert CORE not in text and address.password not in text


@pytest.mark.parametrize(
    "error",
    [
        psycopg.OperationalError(f'missing "=" after "postgresql://ann:{CORE}@host/app" in connection info string'),
        psycopg.OperationalError(f'password file "/no/{CORE}" is not a plain file'),
        sa.exc.OperationalError(
            "SELECT 1",
            {},
            psycopg.OperationalError(f"postgresql://ann:{CORE}@{CLOSED}/app?sslkey=%2Fno%2F{CORE} is away"),
        ),
        OSError(f"/no/{CORE} cannot be read"),
    ],
    ids=str,
)
def test_error_of_a_driver_that_quotes_the_url_is_printed_without_its_secrets(error: Exception) -> None:
    url = f"postgresql://ann:{CORE}@{CLOSED}/app?sslkey=%2Fno%2F{CORE}"
    assert CORE not in without_secrets(error, url)
    database = Database(url)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(DatabaseUnavailable) as refused:
        patch.setattr(database.dialect, "connect", lambda: (_ for _ in ()).throw(error))
        database.connect()
    assert not [text for text in described(refused.value) if CORE in text]
