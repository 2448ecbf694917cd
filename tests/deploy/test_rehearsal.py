"""git push, rehearsed: pushes of a baked app under load lose nothing, and a push that cannot work is refused."""

import math
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg.rows import dict_row

from jobqueue import DurableHuey
from jobqueue.accounts.users import Users
from tests.deploy.host import Release
from tests.deploy.load import Load
from tests.deploy.pushing import Pushed, assert_accepted, hosted
from tests.deploy.web_process import KEY, PRODUCTION
from tests.end_to_end.running import PASSWORD
from tests.proxy import Proxy
from tests.servers import HOST, PostgresServer, ValkeyServer, fresh_database
from tests.waiting import wait_until

pytestmark = [pytest.mark.long, pytest.mark.alone]

PUSHES = int(os.environ.get("PUSHES", "10"))
KILLS = {3 * PUSHES // 10, 7 * PUSHES // 10}  # pushes that kill the old release at the switch
USERS = 20
FAILS = 0.5  # seconds from a kill until the last request that may fail begins
FAILS_SOON = 5.0  # seconds that a request may take to fail
MANY_SUBMITS = PRODUCTION | {"SUBMITS": "1000"}  # a user of the load starts jobs faster than a person


@pytest.fixture
def settings(postgres: PostgresServer, valkey: ValkeyServer) -> Iterator[dict[str, str]]:
    """Return the settings that a host's add-ons make. Redis has a certificate that nobody has signed."""
    with fresh_database(postgres.url) as url, Proxy(valkey.port, tls="redis") as tls:
        redis_url = f"rediss://:{valkey.password}@{HOST}:{tls.port}"
        yield MANY_SUBMITS | {"DATABASE_URL": url.replace("postgresql:", "postgres:"), "REDIS_URL": redis_url}


def test_pushes_under_load_lose_nothing(
    source: Path, tmp_path: Path, environments: Path, settings: dict[str, str]
) -> None:
    many = {"WORKERS": str(USERS + 5), "QUEUES": f"beats,default:{USERS + 4}"}
    with hosted(source, tmp_path, environments, settings | many) as pushed:
        assert_accepted(pushed)
        rehearse(pushed, settings["DATABASE_URL"], job_s=3.0)


def test_pushes_without_redis_and_with_twenty_connections_lose_nothing(
    source: Path, tmp_path: Path, environments: Path, postgres: PostgresServer
) -> None:
    """Push with as many workers as `doctor` names. More than 20 connections are refused."""
    with small_database(postgres) as url:
        with hosted(source, tmp_path, environments, MANY_SUBMITS | {"DATABASE_URL": url, "WORKERS": "9"}) as pushed:
            assert_accepted(pushed)
            advice = re.search(
                r"Set WORKERS to (\d+)", pushed.host.run("python -m app doctor", capture_output=True).stdout
            )
            assert advice is not None
            pushed.host.set(WORKERS=advice[1], QUEUES=f"beats,default:{int(advice[1]) - 1}")
            assert_accepted(pushed)
            pushed.host.wait_for_retired()  # it had more workers
            rehearse(pushed, url, job_s=0.5)
            logs = [log.read_text() for log in pushed.host.folder.glob("releases/*/*.log")]
            assert not [
                line for log in logs for line in log.splitlines() if "connections" in line and "WARNING" in line
            ]


def rehearse(pushed: Pushed, url: str, job_s: float) -> None:
    """Push under load. Check that every request was answered, and every job, callback and fire succeeded once.

    :param job_s: the length of a job in seconds.
    """
    with Load(pushed.port, accounts(url), job_s) as answers:
        for number in range(PUSHES):
            pushed.kill_at_the_switch(number in KILLS)
            assert_accepted(pushed)
    events = pushed.host.events()
    kills = [event["at"] for event in events if event["what"] == "killed"]
    assert len(kills) == len(KILLS)
    assert "killed late" not in {event["what"] for event in events}
    after_kills = [  # seconds from a kill to the begin of a request that failed; one that was on its way began before
        min((failure.began - kill for kill in kills if failure.ended > kill), default=math.inf)
        for failure in answers.failures
    ]
    print(
        f"{dict(answers.count)}, {len(after_kills)} failed, begun until {max(after_kills, default=0):.2f} s after a kill"
    )
    assert not answers.wrong
    assert all(after <= FAILS for after in after_kills), answers.failures
    assert all(failure.ended - failure.began < FAILS_SOON for failure in answers.failures), answers.failures
    assert min(answers.count[what] for what in ("job", "background", "quick")) >= USERS

    rows = ended_jobs(url)
    assert {row["state"] for row in rows} == {"succeeded"}
    assert {row["events"].count('["ended"') for row in rows} == {1}
    due = [row["due_at"] for row in rows if row["due_at"] is not None]
    assert sorted(due) == [min(due) + second for second in range(len(due))]
    started = {row["id"] for row in rows if row["task"].endswith(".square")}
    assert set(answers.jobs) <= started
    assert len(started) - len(answers.jobs) <= len(answers.failures)  # its user has pressed the button again
    print(f"{len(rows)} jobs, {len(due)} of them fires; {sum(row['losses'] for row in rows)} lost their worker")


def ended_jobs(url: str) -> list[dict[str, Any]]:
    """Wait until all jobs have ended, but for those that fires add meanwhile. Return their rows."""
    until_now = "FROM jobs WHERE coalesce(due_at, 0) < %s"
    with psycopg.connect(url, row_factory=dict_row) as connection:
        now = [time.time() - 1]
        running = f"SELECT 1 {until_now} AND state NOT IN ('succeeded', 'failed', 'cancelled')"
        wait_until(lambda: not connection.execute(running, now).fetchall(), 60)
        return connection.execute(f"SELECT id, task, state, due_at, losses, events {until_now}", now).fetchall()


def accounts(url: str) -> list[str]:
    """Add an account for each user of the load. Return their names."""
    huey = DurableHuey("accounts", url)
    names = [f"user{number}" for number in range(USERS)]
    for name in names:
        Users(huey).add(name, PASSWORD)
    huey.storage.close()
    return names


@contextmanager
def small_database(server: PostgresServer) -> Iterator[str]:
    """Yield the URL of an empty database, as one of a host's smallest plan: a role of its own, and 20 connections."""
    with fresh_database(server.url) as url, psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE small LOGIN PASSWORD '{KEY}' CONNECTION LIMIT 20")
        admin.execute("GRANT CREATE ON SCHEMA public TO small")
        yield urlsplit(url)._replace(scheme="postgres", netloc=f"small:{KEY}@{HOST}:{server.port}").geturl()


def append(file: str, text: str) -> Callable[[Path], None]:
    def change(clone: Path) -> None:
        with clone.joinpath(file).open("a") as opened:
            opened.write(text)

    return change


def with_a_wrong_hash(clone: Path) -> None:
    requirements = clone / "requirements.txt"
    text, count = re.subn(r"(\.whl \\\n +--hash=sha256:)\w+", rf"\g<1>{'0' * 64}", requirements.read_text())
    assert count == 1
    requirements.write_text(text)


def with_an_unknown_command(clone: Path) -> None:
    procfile = clone / "Procfile"
    procfile.write_text(procfile.read_text().replace("app worker", "app walker"))


def without_its_database(clone: Path) -> None:
    """Nothing but the running release can tell. It is asked each second, 15 times."""
    jobs, hosts = clone / "app" / "jobs" / "__init__.py", clone / "app.json"
    jobs.write_text(jobs.read_text().replace("**settings.for_queue()", f"**settings.for_queue() | {NOWHERE}"))
    hosts.write_text(hosts.read_text().replace('"attempts": 20, "wait": 3', '"attempts": 15, "wait": 1'))


NOWHERE = {"database_url": "postgresql://desk@127.0.0.1:1/desk"}
REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "wrong hash": (with_a_wrong_hash, "(?i)hash mismatch|do not match the hashes"),
    "syntax error in a page": (append("app/pages/hello.py", "def\n"), r"app/pages/hello\.py, line \d+: SyntaxError"),
    "import error that only a job meets": (
        append("app/jobs/nightly.py", "import nothing_of_this_name\n"),
        r"app/jobs/nightly\.py, line 1: ModuleNotFoundError: No module named 'nothing_of_this_name'",
    ),
    "a worker that ends": (with_an_unknown_command, "No such command 'walker'"),
    "a web that never becomes ready": (without_its_database, '/readyz was not 200 .* "database": "unreachable"'),
}


def test_a_push_that_cannot_work_is_refused_while_the_old_release_serves(
    source: Path, tmp_path: Path, environments: Path, settings: dict[str, str]
) -> None:
    with hosted(source, tmp_path, environments, settings | {"WORKERS": "5"}) as pushed:
        assert_accepted(pushed)
        serving, commit = pushed.host.running(), pushed.commit()
        with Load(pushed.port, accounts(settings["DATABASE_URL"])[:2], 0.5) as answers:
            for change, reason in REFUSED.values():
                change(pushed.clone)
                push = pushed.push()
                assert push.returncode == 1 and "pre-receive hook declined" in push.stdout
                said = [line for line in push.stdout.splitlines() if line.startswith("remote: ")]
                assert re.search(reason, "\n".join(said[-5:])), push.stdout
                assert pushed.git("ls-remote", "host", "main").split()[0] == commit
                assert (pushed.host.running(), pushed.served()) == (serving, commit)
                pushed.git("reset", "--quiet", "--hard", "HEAD^")
        assert not answers.failures and not answers.wrong
        started = [Release(**event["release"]) for event in pushed.host.events() if event["what"] == "started"]
        assert [release for release in started if release.processes()] == [serving]
