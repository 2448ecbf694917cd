"""A program that makes the old ledger: a database of an earlier version of the engine, for test_old_ledger.py.

Run it from the kit's folder, with the kit's environment: `python -m tests.faults.old_ledger.make`. It writes three
files here:

- `engine.tar.xz`: the engine's source at COMMIT. It is made if it is not there.
- `ledger.sqlite.xz`: the ledger that this engine wrote on SQLite. The code from the archive runs, not today's.
- `ledger.sql`: the ledger that it wrote on Postgres, as plain SQL, without settings that only some versions of Postgres know.

These files stand for users' data. If a test fails on them, an upgrade loses data: fix the engine, and do not make the
files again. Make them again at a later COMMIT, when nobody upgrades from this version any more.

The ledger has jobs in every state. A first consumer runs some jobs to their end, and is stopped while it runs another.
A second one is killed while it runs two. The other jobs are submitted when no consumer runs. Most jobs have an id that
says their purpose. Some are due up to a minute later, so tests of new files fail until then.
"""

import json
import lzma
import os
import signal
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.servers import PostgresServer
from tests.waiting import wait_until

if TYPE_CHECKING:
    from tests.faults.old_ledger.processes import Page, Web

COMMIT = "56ad81cf0021406ea5b155852af0faac6ea1e68e"
PACKAGE = "{{cookiecutter.app_name}}/jobqueue"  # the engine's folder at that commit
HERE = Path(__file__).parent
KIT = HERE.parents[2]
ENGINE, SQLITE, POSTGRES = HERE / "engine.tar.xz", HERE / "ledger.sqlite.xz", HERE / "ledger.sql"
HOST = "old-host"  # host name in the ledger, instead of this machine's
# Code that runs a module as `python -m` does, on a machine with that name.
ON_HOST = f"import runpy, socket, sys; socket.gethostname = lambda: {HOST!r}; runpy.run_module(sys.argv.pop(1), None, '__main__', True)"
PROCESSES, MAKE = "tests.faults.old_ledger.processes", "tests.faults.old_ledger.make"


def main() -> None:
    if not ENGINE.exists():
        archive_engine()
    with tempfile.TemporaryDirectory(prefix="old-ledger-") as name:
        folder = Path(name)
        unpack_engine(folder / "engine")
        (folder / "kit").symlink_to(KIT)  # so that tracebacks in the ledger name no folder of this machine
        fill_with_old_engine(f"sqlite:///{folder}/ledger.sqlite", folder)
        save_sqlite(folder / "ledger.sqlite")
        with PostgresServer() as server:
            fill_with_old_engine(server.url, folder)
            save_postgres(server)


# --- the engine ---


def archive_engine() -> None:
    """Write the engine's source at COMMIT. One version of xz always writes the same bytes."""
    git = ["git", "-C", str(KIT)]
    listed = subprocess.run(
        [*git, "ls-tree", "-r", "--name-only", COMMIT, f"{PACKAGE}/"], stdout=subprocess.PIPE, text=True, check=True
    )
    with tarfile.open(ENGINE, "w:xz", preset=9) as file:
        for path in sorted(listed.stdout.splitlines()):
            source = subprocess.run([*git, "show", f"{COMMIT}:{path}"], stdout=subprocess.PIPE, check=True).stdout
            entry = tarfile.TarInfo(str(Path(path).relative_to(Path(PACKAGE).parent)))  # dated 1970
            entry.size = len(source)
            file.addfile(entry, BytesIO(source))


def unpack_engine(folder: Path) -> Path:
    """Unpack the package `jobqueue` into a folder. Return the folder."""
    with tarfile.open(ENGINE) as file:
        file.extractall(folder, filter="data")
    return folder


def environment_of(engine: Path, kit: Path = KIT, **variables: str) -> dict[str, str]:
    """Return environment variables of a process that imports the engine from one folder and the tests from another."""
    return os.environ | {"PYTHONPATH": f"{engine}{os.pathsep}{kit}", "PYTHONUNBUFFERED": "1"} | variables


# --- the files ---


def fill_with_old_engine(database_url: str, folder: Path) -> None:
    """Run `fill` in a process of the old engine."""
    variables = {"NOTES": str(folder / "notes"), "HOLD": str(folder / "hold")}
    subprocess.run(
        [sys.executable, "-c", ON_HOST, MAKE, database_url],
        env=environment_of(folder / "engine", folder / "kit", **variables),
        cwd=folder,
        check=True,
    )


def save_sqlite(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("VACUUM")
    SQLITE.write_bytes(lzma.compress(path.read_bytes(), preset=9))


def save_postgres(server: PostgresServer) -> None:
    """Write the output of `pg_dump`, without comments, settings and commands of psql."""
    options = ["--no-owner", "--no-privileges", "--no-comments", "--column-inserts"]
    command = [str(server.programs / "pg_dump"), *options, server.url]
    dump = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    left_out = ("--", "\\", "SET ", "SELECT pg_catalog.set_config(")
    lines = [line for line in dump.splitlines() if line and not line.startswith(left_out)]
    POSTGRES.write_text("\n".join(lines) + "\n")


# --- the contents; the code below runs under the old engine ---


def fill(database_url: str) -> None:
    from tests.faults.old_ledger.old_jobs import open_ledger
    from tests.faults.old_ledger.processes import Web

    huey = open_ledger(database_url)
    huey.migrate()
    web, hold = Web(huey), Path(os.environ["HOLD"])
    hold.touch()
    with consumer(database_url, grace_s=0.2) as process:
        pages = {"ended": jobs_that_end(web)}
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    with consumer(database_url, queues="default"):  # it does not claim the job that the first one released
        pages["killed"] = jobs_that_are_interrupted(web)
    pages["queued"] = jobs_that_wait(web)
    huey.put("pages", pages)  # the data of three browsers while the old code is replaced
    for job in huey.jobs(limit=1000):
        print(f"{job.state:10} {job.task:30} {job.id}")
    huey.storage.close()
    hold.unlink()


@contextmanager
def consumer(database_url: str, queues: str | None = None, **settings: Any) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a consumer during the block. Kill it and its workers at the end, if it still runs."""
    asked = {"options": {"database_url": database_url} | settings, "queues": queues}
    process = subprocess.Popen(
        [sys.executable, "-c", ON_HOST, PROCESSES, "consumer", json.dumps(asked)], start_new_session=True
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def jobs_that_end(web: "Web") -> "Page":
    """Submit jobs and wait until they have ended. Return a page's data about its callback, with the answer unread."""
    from huey import chord

    from jobqueue import State
    from tests.faults.old_ledger.old_jobs import FOR_EVER
    from tests.faults.old_ledger.processes import job_of

    huey, tasks = web.huey, web.tasks
    page = web.call("double", "number", 21)
    huey.enqueue(tasks.add.s(1, 2, id="sum"))
    huey.enqueue(tasks.table.s(id="table"))
    huey.enqueue(tasks.fail.s("on purpose", id="failed"))
    huey.enqueue(tasks.add.s(1, delay=3600, id="cancelled"))
    huey.job("cancelled").cancel()
    huey.enqueue(tasks.add.s(1, id="done-1").then(tasks.add.s(2, id="done-2")))
    huey.enqueue(tasks.fail.s("on purpose", id="failed-1").then(tasks.add.s(2, id="abandoned-2")))
    huey.enqueue(tasks.share.using(cache_for=FOR_EVER).s("cached", id="cached"))
    members = [tasks.add.s(1, id="half-1"), tasks.add.s(2, delay=45, id="half-2")]
    huey.enqueue(chord(members, tasks.collect.s(id="half-callback")))
    for _ in range(2):
        tasks.prices.refresh().get(blocking=True, timeout=10)
    ended = ["sum", "table", "failed", "cancelled", "done-2", "abandoned-2", "cached", "half-1", job_of(page)]
    wait_until(lambda: all(huey.look(job).state.ended for job in ended))
    wait_until(lambda: huey.jobs(tasks.beat, State.SUCCEEDED))
    huey.pause_schedule("beat")

    huey.enqueue(tasks.walk.using(queue="slow").s(3, id="released"))
    wait_until(lambda: huey.look("released").progress)
    return page


def jobs_that_are_interrupted(web: "Web") -> "Page":
    """Submit jobs and wait until two run and one waits for its retry. Return a page's data about its callback."""
    from jobqueue import State
    from tests.faults.old_ledger.processes import job_of

    huey, tasks = web.huey, web.tasks
    huey.enqueue(tasks.fail_once.s(id="paused"))
    wait_until(lambda: huey.look("paused").attempt == 1 and huey.look("paused").state is State.SCHEDULED)
    huey.enqueue(tasks.walk.using(owner="ann").s(3, id="killed"))
    page = web.call("tell", "word", "hello")
    wait_until(lambda: huey.look("killed").progress)
    wait_until(lambda: "progress" in web.poll(page))
    assert huey.look(job_of(page)).state is State.RUNNING
    return page


def jobs_that_wait(web: "Web") -> "Page":
    """Submit jobs that no consumer runs. Return a page's data about its callback."""
    from huey import chord

    from tests.faults.old_ledger.old_jobs import values_of_the_engine

    huey, tasks = web.huey, web.tasks
    huey.enqueue(tasks.add.s(1, 1, id="queued"))
    huey.enqueue(tasks.add.s(2, 2, priority=5, id="urgent"))
    huey.enqueue(tasks.add.using(owner="ann", queue="other").s(3, 3, id="of-ann"))
    huey.enqueue(tasks.describe.s(*values_of_the_engine(tasks.prices.info()), id="described"))
    huey.enqueue(tasks.add.s(4, 4, delay=1, id="delayed"))
    huey.enqueue(tasks.add.s(5, 5, eta=datetime.now() + timedelta(seconds=1), id="at-a-time"))
    huey.enqueue(tasks.add.s(1, expires=1, id="expired"))
    huey.enqueue(tasks.add.s(1, id="revoked"))
    huey.revoke_by_id("revoked")
    first, second, third = (tasks.add.s(number, id=f"pipeline-{number}") for number in (1, 2, 3))
    huey.enqueue(first.then(second).then(third))
    members = [tasks.add.s(1, id="member-1"), tasks.fail.s("on purpose", id="member-2")]
    huey.enqueue(chord(members, tasks.collect.s(id="callback")))
    huey.enqueue(tasks.fail.s("on purpose", id="handled").error(tasks.handle_error.s("told")))
    for owner in ("ann", "bob"):
        huey.enqueue(tasks.share.using(unique=True, owner=owner).s("shared", id=f"shared-by-{owner}"))
    return web.call("double", "number", 4)


if __name__ == "__main__":
    fill(sys.argv[1]) if sys.argv[1:] else main()
