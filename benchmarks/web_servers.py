"""Web servers beside each other: how many requests they answer, what slow clients cost, and how they stop.

`python -m benchmarks.web_servers [--quick]`, run by `make bench`. Each serves the app of benchmarks/watched.py in one process, and
answers its quick callback. Prints the figures of docs/deploy.md: requests and memory as shares of the first server's.
"""

import argparse
import contextlib
import multiprocessing
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks.web import ENGINE, KIT, STARTS_IN, UPDATE, answers, as_bytes, body, probe
from tests.servers import free_port
from tests.waiting import wait_until

CLIENTS = 8  # that ask one request after the other, to count the requests a second
SLOW = 50  # clients, a third of each kind
SWITCH = 1.0  # seconds from SIGTERM until the host's router sends no more
APP = "benchmarks.watched:server"


class Server(NamedTuple):
    """A web server, as a command. {port} is filled in."""

    name: str
    command: str


SERVERS = (
    Server("gunicorn, 8 threads", f"gunicorn {APP} --bind 127.0.0.1:{{port}} --threads 8 --no-control-socket"),
    Server("gunicorn, 40 threads", f"gunicorn {APP} --bind 127.0.0.1:{{port}} --threads 40 --no-control-socket"),
    Server("granian, 8 threads", f"granian {APP} --interface wsgi --host 127.0.0.1 --port {{port}} --blocking-threads 8"),
    Server("granian, 40 threads", f"granian {APP} --interface wsgi --host 127.0.0.1 --port {{port}} --blocking-threads 40"),
    Server("waitress, 8 threads", f"waitress --listen 127.0.0.1:{{port}} --threads 8 {APP}"),
    Server("jobqueue.web: waitress, 16 threads", f"jobqueue.web {APP}"),
)  # fmt: skip


class Measured(NamedTuple):
    """The figures of a server."""

    requests: float  # answered a second
    p99: float  # milliseconds of a quick callback beside the slow clients; infinite if one was not answered
    memory: float  # MB, with what processes share counted once
    failed: int  # requests after SIGTERM, until the switch
    left: int  # processes that serve after kill -9 of the first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="for a short time, to see that all of it works")
    parser.add_argument("--only", default="", help="a part of the names of the servers to measure")
    asked = parser.parse_args()
    seconds = 2.0 if asked.quick else 10.0
    print(
        "| server | requests a second | p99 beside 50 slow clients | memory | failed in a stop | left after kill -9 |"
    )
    print("|---|---|---|---|---|---|")
    first: Measured | None = None
    for server in [server for server in SERVERS if asked.only in server.name]:
        found = measure(server, seconds)
        first = first or found
        p99 = f"{found.p99:.0f} ms" if found.p99 < 1000 * STARTS_IN else "no answer"
        print(
            f"| {server.name} | {found.requests / first.requests:.2f} | {p99} | {found.memory / first.memory:.2f} "
            f"| {found.failed} | {found.left} |",
            flush=True,
        )


def measure(server: Server, seconds: float) -> Measured:
    with site(server) as (port, process):
        requests = busy(port, seconds)
        memory = sum(each.memory_full_info().pss for each in [process, *process.children(recursive=True)]) / 1e6
        with slow_clients(port):
            p99 = percentile(port, seconds)
        failed = stop(port, process)
    with site(server) as (port, process):
        children = process.children(recursive=True)
        process.kill()
        process.wait()
        _, left = psutil.wait_procs(children, timeout=5)
        for child in left:
            child.kill()
    return Measured(requests, p99, memory, failed, len(left))


@contextlib.contextmanager
def site(server: Server) -> Iterator[tuple[int, psutil.Process]]:
    """Start a server on a free port. It is gone in the end."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(map(str, [KIT, ENGINE])),
            "MANAGER": "huey",
            "FOLDER": folder,
            "DATABASE_URL": f"sqlite:///{folder}/jobs.sqlite",
            "PORT": str(port),
            "WEB_LINGER": "5",
        }
        command = [sys.executable, "-m", *server.command.format(port=port).split()]
        with Path(folder, "log").open("w") as log:
            program = subprocess.Popen(command, cwd=KIT, env=environment, stdout=log, stderr=log)
        process = psutil.Process(program.pid)
        try:
            wait_until(lambda: answers(port) or program.poll() is not None, STARTS_IN)
            if program.poll() is not None:
                raise RuntimeError(Path(folder, "log").read_text()[-3000:])
            yield port, process
        finally:
            if program.poll() is None:
                for each in [*process.children(recursive=True), process]:
                    each.kill()
            program.wait()


def busy(port: int, seconds: float) -> float:
    """Return the requests that a server answers a second when clients ask one after the other."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(CLIENTS // 4) as pool:
        return sum(pool.starmap(ask_for, [(port, seconds)] * (CLIENTS // 4))) / seconds


def ask_for(port: int, seconds: float) -> int:
    """Ask with four clients for some seconds. Return the number of answers."""
    request = as_bytes(UPDATE, body("quickly", "quick", "children"))
    counts = [0] * 4
    end = time.monotonic() + seconds

    def client(number: int) -> None:
        connection: socket.socket | None = None
        while time.monotonic() < end:
            connection = connection or socket.create_connection(("127.0.0.1", port), timeout=STARTS_IN)
            stays = exchange(connection, request)
            counts[number] += 1
            if not stays:
                connection.close()
                connection = None

    run_all([lambda number=number: client(number) for number in range(4)])  # type: ignore[misc]
    return sum(counts)


def exchange(connection: socket.socket, request: bytes) -> bool:
    """Send a request and read its response. Return whether the connection stays open."""
    connection.sendall(request)
    with connection.makefile("rb") as stream:
        if b" 200 " not in stream.readline():
            raise ConnectionError("The server did not answer with 200.")
        headers = dict(line.lower().strip().split(b": ", 1) for line in iter(stream.readline, b"\r\n"))
        stream.read(int(headers[b"content-length"]))
    return headers.get(b"connection") != b"close"


@contextlib.contextmanager
def slow_clients(port: int) -> Iterator[None]:
    """Connect clients that send their headers or their body a byte a second, or nothing."""
    over = threading.Event()
    request = as_bytes(UPDATE, body("quickly", "quick", "children"))
    head = request.index(b"\r\n\r\n") + 4

    def client(number: int) -> None:
        begun = [0, head, 0][number % 3]  # headers, body, silence
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(request[:begun])
            while number % 3 != 2 and begun < len(request) and not over.wait(1.0):
                connection.sendall(request[begun : begun + 1])
                begun += 1
            over.wait()

    clients = [threading.Thread(target=client, args=(number,)) for number in range(SLOW)]
    for each in clients:
        each.start()
    time.sleep(2.0)  # until each has sent something
    try:
        yield
    finally:
        over.set()
        for each in clients:
            each.join()


def percentile(port: int, seconds: float) -> float:
    """Return the 99th percentile of a quick callback's milliseconds. Infinite if the server did not answer one in 10 s."""
    took: list[float] = []

    def ask() -> None:
        with contextlib.suppress(OSError):
            took.extend(probe(port, seconds))

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(seconds + 10)
    return float("inf") if asking.is_alive() or len(took) < 2 else statistics.quantiles(took, n=100)[-1]


def stop(port: int, process: psutil.Process) -> int:
    """Send SIGTERM while clients ask on new connections. Return how many requests fail until the switch."""
    request = as_bytes(UPDATE, body("quickly", "quick", "children"))
    failed = [0] * CLIENTS
    end = time.monotonic() + 0.5 + SWITCH

    def client(number: int) -> None:
        while time.monotonic() < end:
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                    exchange(connection, request)
            except (OSError, KeyError, ValueError):
                failed[number] += 1
            time.sleep(0.05)

    timer = threading.Timer(0.5, process.send_signal, [signal.SIGTERM])
    timer.start()
    run_all([lambda number=number: client(number) for number in range(CLIENTS)])  # type: ignore[misc]
    process.wait(60)
    return sum(failed)


def run_all(functions: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
