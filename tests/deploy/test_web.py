"""The web process beside slow clients, when it stops, when it is killed, and when its port cannot be used."""

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks import web_servers
from benchmarks.web import probe
from jobqueue.web.connections import MAX_BODY
from tests.baking import Bake
from tests.deploy.web_process import PRODUCTION, WebProcess
from tests.waiting import wait_until

pytestmark = pytest.mark.long

SLOW = 2.5  # seconds that a request for /slow takes
PAGE = f"""
import time
server.add_url_rule("/slow", "slow", lambda: time.sleep({SLOW}) or "done")
"""

Start = Callable[..., WebProcess]


@pytest.fixture(scope="module")
def app(bake: Bake, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("web") / "app"
    shutil.copytree(bake("blank"), folder)
    with folder.joinpath("app", "web.py").open("a") as module:
        module.write(PAGE)
    return folder


@pytest.fixture
def start(app: Path, tmp_path: Path) -> Start:
    """Return a web process, which is still to be entered."""
    return lambda **settings: WebProcess(app, tmp_path / "log", **settings)


class Slow(threading.Thread):
    """A client that asks for /slow. `status` is that of its answer, or None if it got none."""

    def __init__(self, web: WebProcess) -> None:
        super().__init__()
        self.web = web
        self.status: int | None = None
        before = busy(web)
        self.start()
        wait_until(lambda: busy(web) > before)

    def run(self) -> None:
        try:
            self.status = self.web.get("/slow", timeout=SLOW + 20)[0]
        except (OSError, http.client.HTTPException):
            self.status = None


def busy(web: WebProcess) -> int:
    """Return how many connections the processes of a web have accepted."""
    everyone = [psutil.Process(web.process.pid), *web.children()]
    return sum(
        each.status == "ESTABLISHED" and each.laddr.port == web.port
        for process in everyone
        for each in process.net_connections()
    )


def refuses(web: WebProcess) -> bool:
    """Return whether nothing listens on the port of a web."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", web.port)) != 0


# --- the stop ---


def test_a_stopping_web_says_so_and_answers_until_the_router_has_switched(start: Start) -> None:
    with start(WEB_LINGER="3") as web:
        kept = web.connect()
        kept.request("GET", "/healthz")
        assert kept.getresponse().read() == b"OK"
        web.process.terminate()
        stopped = time.monotonic()
        wait_until(lambda: web.ready()[1]["checks"]["process"] == "stopping", 1)
        slow = Slow(web)
        web.process.terminate()  # changes nothing
        kept.request("GET", "/healthz")
        answer = kept.getresponse()
        assert (answer.read(), answer.getheader("Connection")) == (b"OK", "close")
        while time.monotonic() < stopped + 2.5:
            assert web.get("/healthz")[0] == 200 and web.ready()[0] == 503
        web.process.terminate()
        slow.join()
        assert slow.status == 200
        assert web.process.wait(5) == 0
        assert 3 <= time.monotonic() - stopped < 6
        assert refuses(web)
        assert "Stopped, with 0 unfinished request(s)." in web.said()


def test_a_web_without_a_linger_finishes_what_it_has_and_accepts_no_more(start: Start) -> None:
    with start() as web:  # in development
        slow = Slow(web)
        with socket.create_connection(("127.0.0.1", web.port)) as silent, web_servers.slow_clients(web.port):
            web.process.terminate()
            wait_until(lambda: refuses(web), 2)
            slow.join()
            assert slow.status == 200
            silent.settimeout(5)
            assert silent.recv(1) == b""
        assert web.process.wait(5) == 0


def test_an_interrupt_ends_a_web_at_once(start: Start) -> None:
    for processes in "1", "2":
        with start(WEB_LINGER="5", WEB_CONCURRENCY=processes) as web:
            slow = Slow(web)
            os.killpg(web.process.pid, signal.SIGINT)  # as a terminal sends it
            assert web.process.wait(1) == -signal.SIGINT
            wait_until(lambda web=web: refuses(web), 1)  # type: ignore[misc]
            slow.join()
            assert slow.status is None


# --- several processes ---


def test_a_killed_web_leaves_no_child_that_serves(start: Start) -> None:
    with start(WEB_CONCURRENCY="2") as web:
        children = wait_until(lambda: both if len(both := web.children()) == 2 else [])
        web.process.kill()
        web.process.wait()
        wait_until(lambda: refuses(web), 1)
        assert not psutil.wait_procs(children, timeout=5)[1]


def test_a_killed_child_is_started_again_and_all_stop_as_one_does(start: Start) -> None:
    with start(WEB_CONCURRENCY="2") as web:
        first, second = wait_until(lambda: both if len(both := web.children()) == 2 else [])
        first.kill()
        wait_until(lambda: len({child.pid for child in web.children()} - {first.pid}) == 2)
        assert second.is_running() and web.answers()
        slow = Slow(web)
        os.killpg(web.process.pid, signal.SIGTERM)  # as hosts send it, to all of them
        slow.join()
        assert slow.status == 200
        assert web.process.wait(5) == 0
        assert refuses(web)


def test_an_app_that_cannot_be_imported_is_not_started_again(start: Start, app: Path) -> None:
    module = app / "app" / "web.py"
    works = module.read_text()
    try:
        module.write_text("raise RuntimeError('a mistake')\n")
        for processes in "1", "2":
            web = start(WEB_CONCURRENCY=processes)
            web.start()
            assert web.process.wait(20) == 1
            assert "RuntimeError: a mistake" in web.said()
    finally:
        module.write_text(works)


# --- the port ---


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"PORT": "", **PRODUCTION, "DATABASE_URL": "postgresql://ann@127.0.0.1:1/none"}, "PORT is not set. Set it to"),
        ({"PORT": "http"}, "PORT is 'http': Input should be a valid integer"),
        ({"PORT": "taken"}, "127.0.0.1:{port} cannot be used: Address already in use. Stop the process that uses it"),
        ({"HOST": "192.0.2.1", "PORT": "8000"}, "192.0.2.1:8000 cannot be used: Cannot assign requested address."),
    ],
    ids=["missing", "no number", "in use", "another machine's"],
)
def test_a_port_that_cannot_be_used_is_a_sentence(app: Path, settings: dict[str, str], sentence: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        told = {name: port if value == "taken" else value for name, value in settings.items()}
        app.joinpath(".env").unlink(missing_ok=True)
        ended = subprocess.run(
            [sys.executable, "-m", "app", "web"], cwd=app, env=os.environ | told, capture_output=True, text=True, timeout=30
        )  # fmt: skip
    assert ended.returncode == 2
    assert sentence.format(port=port) in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


# --- limits ---

CALLBACK = "/_dash-update-component"
JSON = {"Content-Type": "application/json"}


def test_what_is_too_large_or_no_request_is_refused_in_words_and_delays_nobody(start: Start) -> None:
    deep = b"[" * 100_000
    with start() as web:

        def answer(body: Any, **headers: str) -> tuple[int, str]:
            with closing(web.connect()) as connection:
                connection.request("POST", CALLBACK, body, JSON | headers)
                response = connection.getresponse()
                return response.status, response.read().decode()

        status, text = answer(b"1" * (MAX_BODY + 1))
        assert status == 413 and "A request may have at most 200 MB." in text
        assert answer(deep)[0] == answer(deep + b"]" * len(deep))[0] == 400
        with socket.create_connection(("127.0.0.1", web.port)) as endless:  # a chunk's first line, without an end
            endless.settimeout(10)
            endless.sendall(f"POST {CALLBACK} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
            with suppress(ConnectionError):
                for _ in range(100):
                    endless.sendall(b"1" * 10_000)
            wait_until(lambda: is_closed(endless))
        assert web.answers()


def is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(10_000) == b""
    except ConnectionError:
        return True


# --- slow clients ---


@pytest.mark.alone
def test_fifty_slow_clients_delay_nobody() -> None:
    """A third sends its headers a byte a second, a third its body, and a third nothing."""
    with web_servers.site(web_servers.SERVERS[-1]) as (port, _), web_servers.slow_clients(port):
        took = sorted(probe(port, 5.0))
    assert len(took) == 100
    assert took[94] < 200  # milliseconds
