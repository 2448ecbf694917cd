"""PgBouncer for the tests: a server in a mode, and its program, which is installed where the system has none that is new enough.

Before 1.21, PgBouncer did not know prepared statements. On an older Debian, Debian 13's packages are unpacked into a folder and run
with their own libraries.
"""

import os
import re
import shutil
import signal
import subprocess
import tempfile
from fcntl import LOCK_EX, flock
from functools import cache
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import urlsplit

from tests.servers import HOST, Server, nobody, shared_server

Mode = Literal["session", "transaction", "transaction-unprepared", "statement"]

CLIENT_MODES: list[Mode] = [mode for mode in get_args(Mode) if mode != "statement"]  # that the engine works through

NEWEST_DEBIAN = "trixie"
SOURCES = Path("/etc/apt/sources.list.d/debian.sources")
UNPACKED = Path(__file__).parents[1] / "build" / f"pgbouncer-{NEWEST_DEBIAN}"
PACKAGES = ["pgbouncer", "libc6", "libcares2", "libevent-2.1-7t64", "libpam0g", "libssl3t64", "libsystemd0", "libaudit1", "libcap-ng0",
            "libcap2", "libzstd1", "zlib1g", "libgcc-s1"]  # fmt: skip

CONFIGURATION = """
[databases]
* = host={postgres.hostname} port={postgres.port}

[pgbouncer]
listen_addr = {host}
listen_port = {port}
unix_socket_dir =
auth_type = plain
auth_file = {users}
pool_mode = {mode}
max_prepared_statements = {prepared}
max_client_conn = 2000
server_login_retry = 1
"""


class PgBouncerServer(Server):
    """A PgBouncer before a Postgres.

    :param postgres: the URL of the Postgres, which any of its databases may be reached through.
    :param settings: more settings of PgBouncer, such as default_pool_size.
    """

    stop_signal = signal.SIGQUIT  # at once, with its connections

    def __init__(self, postgres: str, mode: Mode, users: Path | None = None, **settings: object) -> None:
        super().__init__(users)
        self.postgres = urlsplit(postgres)
        self.configuration = self.folder / "pgbouncer.ini"
        self.configuration.write_text(
            CONFIGURATION.format(
                postgres=self.postgres,
                host=HOST,
                port=self.port,
                users=self.folder / "users.txt",
                mode=mode.partition("-")[0],
                prepared=0 if mode == "transaction-unprepared" else 200,
            )
            + "".join(f"{name} = {value}\n" for name, value in settings.items())
        )
        (self.folder / "users.txt").write_text(f'"{self.postgres.username}" "{self.postgres.password}"\n')
        if os.geteuid() == 0:  # it refuses to run as root
            self.account = nobody()
            for path in (self.folder, *self.folder.iterdir()):
                os.chown(path, self.account["user"], self.account["group"])

    @property
    def url(self) -> str:
        return on_server(f"//{HOST}:{self.port}", self.postgres.geturl())

    def command(self) -> list[str]:
        return [*program(self.folder), str(self.configuration)]


@cache
def shared_pgbouncer(run: Path, postgres: str, mode: Mode) -> str:
    """Return the URL of this run's PgBouncer in a mode. The first process that needs it starts it."""
    return shared_server(run / f"pgbouncer-{mode}", lambda users: PgBouncerServer(postgres, mode, users=users))


def on_server(pooler: str, database_url: str) -> str:
    """Return the URL of a database through the pooler of this URL."""
    at, parts = urlsplit(pooler), urlsplit(database_url)
    return parts._replace(netloc=f"{parts.username}:{parts.password}@{at.hostname}:{at.port}").geturl()


def program(folder: Path) -> list[str]:
    """Return the command of a PgBouncer that knows prepared statements. If it was unpacked, copy it into this folder.

    Only root may be able to read the kit's own folder.
    """
    system = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if system is not None and version(system) >= (1, 21):
        return [system]
    if not shutil.which("apt-get") or not SOURCES.exists():
        raise RuntimeError(
            "The tests of poolers need PgBouncer 1.21 or newer. Install it: it is in most systems' packages."
        )
    UNPACKED.parent.mkdir(exist_ok=True)
    with UNPACKED.with_suffix(".lock").open("w") as lock:
        flock(lock, LOCK_EX)
        if not UNPACKED.exists():
            unpack(UNPACKED)
    copy = folder / "programs"
    shutil.copytree(UNPACKED, copy, symlinks=True, dirs_exist_ok=True)
    libraries = next(copy.glob("usr/lib/*/libevent-*.so.*")).parent
    loader = next(libraries.glob("ld-linux*"))
    return [str(loader), "--library-path", str(libraries), str(copy / "usr/sbin/pgbouncer")]


def version(path: str) -> tuple[int, ...]:
    printed = subprocess.check_output([path, "--version"], text=True)
    found = re.search(r"PgBouncer (\d+)\.(\d+)", printed)
    assert found is not None, printed
    return tuple(map(int, found.groups()))


def unpack(folder: Path) -> None:
    """Download the packages with this machine's own sources, and unpack them."""
    with tempfile.TemporaryDirectory() as name:
        apt = Path(name)
        (apt / "lists" / "partial").mkdir(parents=True)
        first, *_ = SOURCES.read_text().split("\n\n")
        (apt / "newest.sources").write_text(re.sub(r"(?m)^Suites:.*", f"Suites: {NEWEST_DEBIAN}", first))
        places = {"Etc::sourcelist": "/dev/null", "Etc::sourceparts": apt, "State::lists": apt / "lists"}
        options = [f"--option=Dir::{of}={place}" for of, place in places.items()]
        options += ["--option=Dir::Cache::pkgcache=", "--option=Dir::Cache::srcpkgcache=", "--quiet"]
        for command in (["update"], ["download", *PACKAGES]):
            subprocess.run(["apt-get", *options, *command], cwd=apt, check=True, capture_output=True)
        draft = apt / "draft"
        for package in apt.glob("*.deb"):
            subprocess.run(["dpkg-deb", "--extract", package, draft], check=True)
        shutil.move(draft, folder)
