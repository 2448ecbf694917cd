"""Errors: sent to a real HTTP server that speaks Sentry's envelope endpoint, and without what nobody should see."""

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from typing import Any

import pytest

from tests.engine.consumers import environment, wait_until
from tests.engine.telemetry.conftest import StartConsumer

SECRET = "planted-secret"


class Sink:
    """A server that keeps the events of the envelopes that it gets."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.bodies: list[str] = []
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                module = {"gzip": "gzip", "br": "brotli"}[self.headers["Content-Encoding"]]  # brotli if it is installed
                text = import_module(module).decompress(body).decode()
                sink.bodies.append(f"{self.path} {text}")
                items = text.splitlines()[1:]
                for header, payload in zip(items[::2], items[1::2], strict=True):
                    if json.loads(header)["type"] == "event":
                        sink.events.append(json.loads(payload))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.dsn = f"http://key@127.0.0.1:{self.server.server_port}/7"


@pytest.fixture
def sink() -> Iterator[Sink]:
    sink = Sink()
    thread = threading.Thread(target=sink.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield sink
    sink.server.shutdown()
    thread.join()
    sink.server.server_close()


def test_error_of_the_last_attempt_is_sent_once(module: Any, start_consumer: StartConsumer, sink: Sink) -> None:
    from jobqueue import logs

    with logs.bound(request="request-8"):
        job = module.fail(SECRET)
    with start_consumer(SENTRY_DSN=sink.dsn, GIT_REV="abc123"):
        wait_until(lambda: sink.events, timeout=30)
        module.greet(SECRET)
        wait_until(lambda: not [one for one in module.huey.jobs() if not one.state.ended], timeout=30)
    (event,) = sink.events
    (raised,) = event["exception"]["values"]
    assert (raised["type"], raised["value"]) == ("ValueError", "no such price")
    assert event["release"] == "abc123"
    assert event["tags"] == {
        "job": job.id,
        "task": "queue_to_watch.fail",
        "attempt": "2",
        "queue": "default",
        "request": "request-8",
    }
    assert SECRET not in "".join(sink.bodies)
    assert sink.bodies[0].startswith("/api/7/envelope/")


WEB = """
import sys
import dash, flask
from werkzeug.test import Client
from jobqueue import DurableHuey
from jobqueue.settings import Settings
from jobqueue.telemetry import watch

server = flask.Flask("app")

@server.post("/broken")
def broken():
    password = flask.request.form["password"]
    raise ZeroDivisionError("a mistake")

watch(server, DurableHuey("tests", "sqlite://", version="abc123"), Settings())
client = Client(server.wsgi_app)
client.set_cookie("session", sys.argv[1])
answer = client.post(f"/broken?q={sys.argv[1]}", data={"password": sys.argv[1]}, headers={"X-Request-ID": "request-9"})
assert answer.status_code == 500
client.post("/absent")
import sentry_sdk
sentry_sdk.flush(10)
"""


def test_error_of_a_request_is_sent_without_its_body_cookies_and_query(sink: Sink) -> None:
    subprocess.run([sys.executable, "-c", WEB, SECRET], check=True, env=environment(SENTRY_DSN=sink.dsn), timeout=60)
    (event,) = sink.events
    (raised,) = event["exception"]["values"]
    assert raised["type"] == "ZeroDivisionError"
    assert event["request"] == {"method": "POST", "url": "/broken"}
    assert event["tags"]["request"] == "request-9"
    assert event["release"] == "abc123"
    assert SECRET not in "".join(sink.bodies)


@pytest.mark.parametrize(
    ("missing", "dsn", "words"),
    [
        (True, "http://key@127.0.0.1:1/7", "SENTRY_DSN is set, but sentry-sdk is missing"),
        (False, "secret-nonsense", "SENTRY_DSN is no address of a project"),
    ],
)
def test_what_cannot_be_sent_is_said_in_a_sentence(
    huey: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, missing: bool, dsn: str, words: str
) -> None:
    from jobqueue.settings import Settings
    from jobqueue.telemetry import report_errors

    if missing:
        monkeypatch.setitem(sys.modules, "sentry_sdk", None)
    caplog.set_level(logging.WARNING)
    report_errors(huey, Settings(sentry_dsn=dsn))
    (line,) = caplog.records
    assert line.getMessage().startswith(words)
    assert "secret-nonsense" not in caplog.text
