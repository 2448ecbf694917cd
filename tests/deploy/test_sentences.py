"""One sentence for each thing that goes wrong with a host's database: from web, worker and doctor, with an exit code and no password.

/readyz has a name for it.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from honcho.environ import parse_procfile

from tests import baking
from tests.baking import Bake
from tests.servers import FAST, PostgresServer, create_database, free_port
from tests.waiting import wait_until

pytestmark = pytest.mark.long

SECRET = "hunter2secret"
STARTS_IN = 60  # seconds, with all of them at once
# `python -m app worker`, which gives up after 3 s in place of 60.
WORKER = """
import runpy, sys
import jobqueue.consumer.consumer
jobqueue.consumer.consumer.GIVE_UP = 3.0
sys.argv = ["app", "worker"]
runpy.run_module("app", run_name="__main__")
"""


ADD_USER = """
import sys
from jobqueue import DurableHuey
from jobqueue.accounts.users import Users
Users(DurableHuey("x", sys.argv[1]), "").add("ann", "mountain river nine")
"""


@dataclass(frozen=True)
class Row:
    """A problem: the database's URL, the words of the sentence, the worker's exit code, or None if it waits or works, and the name."""

    url: str
    words: str
    worker: int | None
    name: str = "ok"


@dataclass
class Ran:
    """The outcome of a row."""

    row: Row
    web: subprocess.Popen[bytes]
    worker: subprocess.Popen[bytes]
    folder: Path

    def said(self, who: str) -> str:
        return self.folder.joinpath(who).read_text()


def rows(server: PostgresServer) -> dict[str, Row]:
    place = urlsplit(server.url).netloc.rpartition("@")[2]
    superuser = urlsplit(server.url).netloc

    def new_database(*statements: str, migrated: bool = True) -> str:
        url = create_database(server.url)
        name = urlsplit(url).path[1:]
        if migrated:
            subprocess.run([sys.executable, "-c", ADD_USER, url], check=True)
        with psycopg.connect(url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.format(name=name))
        return name

    poor, read_only, newer = (
        new_database(f"CREATE ROLE desk LOGIN PASSWORD '{SECRET}'", migrated=False),
        new_database("ALTER DATABASE {name} SET default_transaction_read_only = on"),
        new_database("UPDATE alembic_version SET version_num = '9999'"),
    )
    full = new_database(f"CREATE ROLE full_role LOGIN PASSWORD '{SECRET}' CONNECTION LIMIT 0", migrated=False)
    return {
        "no right to create tables": Row(
            f"postgresql://desk:{SECRET}@{place}/{poor}",
            "GRANT USAGE, CREATE ON SCHEMA public TO desk;",
            3,
            "no rights",
        ),
        "wrong password": Row(
            f"postgres://desk:{SECRET}x@{place}/{poor}", 'refuses role "desk" with this password', 3, "wrong password"
        ),
        "wrong password as an option": Row(
            f"postgresql://{place}/{poor}?user=desk&password={SECRET}x",
            'refuses role "desk" with this password',
            3,
            "wrong password",
        ),
        "no such role": Row(
            f"postgresql://nobody:{SECRET}@{place}/{poor}",
            'refuses role "nobody" with this password',
            3,
            "wrong password",
        ),
        "no such database": Row(
            f"postgresql://desk:{SECRET}@{place}/nowhere", "/nowhere has no such database", 3, "no such database"
        ),
        "down": Row(f"postgresql://desk:{SECRET}@127.0.0.1:{free_port()}/app", "does not answer", None, "unreachable"),
        "read-only": Row(f"postgresql://{superuser}/{read_only}", "is read-only", None, "read-only"),
        "too many connections": Row(
            f"postgresql://full_role:{SECRET}@{place}/{full}",
            "accepts no more connections: too many connections",
            None,
            "too many connections",
        ),
        "newer schema": Row(f"postgresql://{superuser}/{newer}", "9999, newer than", None),
    }


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer(FAST) as server:
        yield server


@pytest.fixture(scope="module")
def table(
    server: PostgresServer, bake: Bake, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Ran]]:
    """Return what a row brought about. Web and worker of all rows run at the same time."""
    app = tmp_path_factory.mktemp("sentences") / "app"
    shutil.copytree(bake("blank"), app)
    procfile = parse_procfile(app.joinpath("Procfile").read_text()).processes
    web = [str(baking.PROGRAMS / (words := shlex.split(procfile["web"]))[0]), *words[1:]]
    found = {}
    try:
        for name, row in rows(server).items():
            folder = app.parent / name
            folder.mkdir()
            port = free_port()
            settings = environment(row) | {"PORT": str(port)}

            def start(
                who: str, command: list[str], folder: Path = folder, settings: dict[str, str] = settings
            ) -> subprocess.Popen[bytes]:
                with folder.joinpath(who).open("wb") as log:
                    return subprocess.Popen(
                        command, cwd=app, env=settings, stdout=log, stderr=log, start_new_session=True
                    )

            found[name] = Ran(row, start("web", web), start("worker", [sys.executable, "-c", WORKER]), folder)
            (folder / "port").write_text(str(port))
        yield found.__getitem__
    finally:
        for ran in found.values():
            for process in (ran.web, ran.worker):
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def environment(row: Row) -> dict[str, str]:
    return os.environ | {
        "DATABASE_URL": row.url,
        "SECRET_KEY": "k3yTh4tNobodyGuesses-0123456789abcdefg",
        "AUTH": "accounts",
        "WEB_CONCURRENCY": "1",
    }


NAMES = ["no right to create tables", "wrong password", "wrong password as an option", "no such role", "no such database",
         "down", "read-only", "too many connections"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_worker_says_in_a_sentence_that_it_cannot_use_the_database(table: Callable[[str], Ran], name: str) -> None:
    ran = table(name)
    if ran.row.worker is None:  # it tries on for longer than those that give up, and says so once
        table("wrong password").worker.wait(STARTS_IN)
        wait_until(lambda: ran.row.words in ran.said("worker"), STARTS_IN)
        assert ran.worker.poll() is None
    else:
        assert ran.worker.wait(STARTS_IN) == ran.row.worker
    said = ran.said("worker")
    assert said.count(ran.row.words) == 1 and len(said.splitlines()) <= 3, said
    assert SECRET not in said


@pytest.mark.parametrize("name", NAMES)
def test_web_keeps_serving_and_says_in_a_sentence_that_it_cannot_use_the_database(
    table: Callable[[str], Ran], name: str
) -> None:
    ran = table(name)
    address = f"http://127.0.0.1:{(ran.folder / 'port').read_text()}"
    wait_until(lambda: is_up(address), STARTS_IN)
    started = ran.said("web")
    assert [log_in(address) for _ in range(3)] == [503, 503, 503]
    assert readiness(address) == ran.row.name
    said = ran.said("web").removeprefix(started)
    others = [
        line for line in said.splitlines() if " jobqueue.requests: " not in line
    ]  # each request has a line of its own
    assert said.count(ran.row.words) == 1 and len(others) <= 3, said
    assert SECRET not in ran.said("web")
    assert is_up(address)
    os.killpg(ran.web.pid, signal.SIGTERM)
    assert ran.web.wait(30) == 0


@pytest.mark.parametrize("name", NAMES)
def test_doctor_says_in_a_sentence_that_the_app_cannot_use_the_database(table: Callable[[str], Ran], name: str) -> None:
    ran = table(name)
    said = doctor(ran)
    assert said.returncode == 1
    (problem,) = re.findall(r"^!! database: .*(?:\n   .*)*", said.stdout, re.MULTILINE)
    assert ran.row.words in problem and len(problem.splitlines()) <= 3
    assert said.stderr == "" and SECRET not in said.stdout


def test_all_keep_working_with_the_schema_of_a_newer_release(table: Callable[[str], Ran]) -> None:
    ran = table("newer schema")
    wait_until(lambda: "process workers." in ran.said("worker"), STARTS_IN)
    address = f"http://127.0.0.1:{(ran.folder / 'port').read_text()}"
    wait_until(lambda: is_up(address), STARTS_IN)
    assert log_in(address) == 401
    assert readiness(address) == "ok"
    said = doctor(ran)
    assert said.returncode == 0, said.stdout
    assert ran.row.words in said.stdout
    assert said.stderr.count("\n") <= 1
    assert ran.said("worker").count("newer than this code's") == 1


def doctor(ran: Ran) -> subprocess.CompletedProcess[str]:
    app = ran.folder.parent / "app"
    return subprocess.run(
        [sys.executable, "-m", "app", "doctor"], cwd=app, env=environment(ran.row), capture_output=True, text=True
    )


def log_in(address: str) -> int:
    """Try to log in, which takes a database to read and to write. Return the status."""
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    browser.addheaders = [("Origin", address), ("Sec-Fetch-Site", "same-origin")]
    try:
        with browser.open(f"{address}/login", timeout=10) as form:
            token = re.search(r'name="token" value="(.*?)"', form.read().decode())
        assert token is not None
        filled = urllib.parse.urlencode({"token": token[1], "name": "ann", "password": "wrong"}).encode()
        browser.open(f"{address}/login", filled, timeout=10)
    except urllib.error.HTTPError as error:
        return error.code
    raise AssertionError("A wrong password was accepted.")


def is_up(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/healthz", timeout=10):
            return True
    except OSError:
        return False


def readiness(address: str) -> str:
    """Return the answer of /readyz about the database."""
    try:
        with urllib.request.urlopen(f"{address}/readyz", timeout=10) as answer:
            told = answer.read().decode()
    except urllib.error.HTTPError as error:
        told = error.read().decode()
    assert SECRET not in told
    return str(json.loads(told)["checks"]["database"])
