"""Requests: their ids and lines, and the way of an id to the job's lines in a worker."""

import json
import logging
from typing import Any

import pytest
from werkzeug.test import Client

from jobqueue.telemetry.requests import HEADER, LoggedRequests
from tests.engine.consumers import wait_until
from tests.engine.telemetry.conftest import StartConsumer

SECRET = "planted-secret"


def client_of(app: Any, **options: Any) -> Client:
    return Client(LoggedRequests(app, **options))


def hello(environ: Any, start_response: Any) -> list[bytes]:
    start_response("503 Service Unavailable" if environ["PATH_INFO"] == "/broken" else "200 OK", [])
    return [b"hello"]


def test_request_keeps_a_well_formed_id_and_gets_another_otherwise() -> None:
    client = client_of(hello)
    assert client.get("/", headers={HEADER: "a-b_c.1"}).headers.getlist(HEADER) == ["a-b_c.1"]
    given = ["", "x" * 129, "a b", 'a"b', "a;b", "ä", "a\tb"]
    made = [client.get("/", headers={HEADER: value}).headers[HEADER] for value in given] + [
        client.get("/").headers[HEADER]
    ]
    assert all(len(one) == 32 for one in made) and len(set(made)) == len(made)


def test_each_request_has_one_line_without_its_query_and_cookies(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    client = client_of(hello)
    client.set_cookie("session", SECRET)
    client.post(f"/jobs%0Aforged?password={SECRET}", data={"password": SECRET}, headers={"Authorization": SECRET})
    (line,) = caplog.records
    assert line.getMessage().startswith("POST /jobs%0Aforged: 200 after 0.0")
    assert (line.status, line.levelname) == (200, "INFO")  # type: ignore[attr-defined]
    assert SECRET not in str(vars(line))


def test_quiet_log_has_failed_requests_only(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    client = client_of(hello, quiet=True)
    client.get("/"), client.get("/broken")
    assert [line.getMessage().partition(":")[0] for line in caplog.records] == ["GET /broken"]


def test_request_that_raises_has_a_line(caplog: pytest.LogCaptureFixture) -> None:
    def broken(environ: Any, start_response: Any) -> list[bytes]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        client_of(broken).get("/")
    assert [line.status for line in caplog.records] == [500]  # type: ignore[attr-defined]


def test_request_id_leads_to_the_lines_of_its_job_in_the_worker(module: Any, start_consumer: StartConsumer) -> None:
    handles = {}

    def submit(environ: Any, start_response: Any) -> list[bytes]:
        handles["alone"] = module.greet(SECRET)
        first, second = module.huey.enqueue(module.fail.s(SECRET).then(module.greet))
        handles.update(first=first, second=second)
        start_response("200 OK", [])
        return []

    client_of(submit).get("/", headers={HEADER: "request-7"})
    module.greet("another")
    with start_consumer(LOG_FORMAT="json", GIT_REV="abc123") as consumer:
        wait_until(lambda: not [job for job in module.huey.jobs() if not job.state.ended], timeout=30)
    lines = [json.loads(line) for line in consumer.log.read_text().splitlines()]
    assert SECRET not in consumer.log.read_text()
    for line in lines:
        assert {"time", "level", "logger", "text", "release", "host", "process"} <= line.keys()
        assert line["release"] == "abc123"
    of_request = [line for line in lines if line.get("request") == "request-7"]
    assert {line["job"] for line in of_request} == {handles["alone"].id, handles["first"].id}
    assert {line["attempt"] for line in of_request if line["job"] == handles["first"].id} == {1, 2}
    by_user = [line for line in of_request if line["text"] == "greets"]
    assert [(line["logger"], line["task"], line["queue"]) for line in by_user] == [
        ("queue_to_watch", "queue_to_watch.greet", "default")
    ]
    ends = [
        (line["status"], line["attempt"])
        for line in of_request
        if "status" in line and line["job"] == handles["first"].id
    ]
    assert ends == [("retried", 1), ("failed", 2)]
    assert all(line["duration"] >= 0 for line in lines if "status" in line)
    assert module.huey.history(handles["second"].id)[0].request == "request-7"
    assert [event.name for event in module.huey.history(handles["second"].id)] == ["submitted", "abandoned"]
