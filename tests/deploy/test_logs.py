"""The log of an app in production: JSON from web, worker, server and migrations, without what nobody should read."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.baking import Bake
from tests.deploy.web_process import PRODUCTION, WebProcess
from tests.waiting import wait_until

SECRET = "planted-secret"
TOKEN = "planted-token"
REQUESTS = 450
LINES = 2000

JOBS = """
import logging, time
from app.jobs import huey

@huey.task()
def quick(name):
    logging.getLogger(__name__).info("working")
    return name

@huey.task()
def wrong(name):
    raise ValueError("no such price")

@huey.task(queue="slow")
def slow(name):
    time.sleep(60)
"""
PAGE = """
from app.jobs.logged import quick, slow, wrong

def submit(name):
    return {"quick": quick, "slow": slow, "wrong": wrong}[name](request.values["argument"]).id

server.add_url_rule("/submit/<name>", "submit", submit, methods=["POST"])
server.add_url_rule("/wrong", "wrong", lambda: 1 / 0)
"""


@contextmanager
def worker(app: Path, log: Path, **settings: str) -> Iterator[psutil.Process]:
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "app", "worker"],
            cwd=app, env=os.environ | settings, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=20)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.long
def test_every_line_is_json_without_secrets_and_a_request_leads_to_its_job(
    bake: Bake, tmp_path: Path, fresh_postgres: str
) -> None:
    app = tmp_path / "app"
    shutil.copytree(bake("blank"), app)
    (app / "app" / "jobs" / "logged.py").write_text(JOBS)
    with (app / "app" / "web.py").open("a") as module:
        module.write(PAGE)
    password = urlsplit(fresh_postgres).password
    assert password
    settings = PRODUCTION | {
        "AUTH": "off", "DATABASE_URL": fresh_postgres, "METRICS_TOKEN": TOKEN, "GIT_REV": "abc123", "WORKER_GRACE": "1",
    }  # fmt: skip
    headers = {"Cookie": f"session={SECRET}", "Content-Type": "application/x-www-form-urlencoded"}
    web_log, worker_log = tmp_path / "web.log", tmp_path / "worker.log"
    with WebProcess(app, web_log, **settings) as web, worker(app, worker_log, **settings) as consumer:

        def post(path: str, request: str) -> tuple[str, str]:
            connection = web.connect()
            connection.request("POST", f"{path}?q={SECRET}", f"argument={SECRET}", headers | {"X-Request-ID": request})
            answer = connection.getresponse()
            job = answer.read().decode()
            connection.close()
            assert answer.headers["X-Request-ID"] == request
            return job, request

        jobs = dict(post(f"/submit/{'wrong' if n % 10 == 0 else 'quick'}", f"request-{n}") for n in range(REQUESTS))
        died, _ = post("/submit/slow", "request-of-a-lost-worker")
        assert web.get("/wrong")[0] == 500
        wait_until(lambda: died in said(worker_log), 60)
        for process in consumer.children():
            process.kill()
        wait_until(lambda: "is requeued" in said(worker_log), 30)
        wait_until(lambda: set(jobs) <= {line.get("job") for line in ended(worker_log)}, 60)
        for _ in range(LINES - len(said(web_log).splitlines()) - len(said(worker_log).splitlines())):
            web.get(f"/hello?password={SECRET}")
        connection = web.connect()
        connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
        scraped = connection.getresponse().read().decode()
        connection.close()
        web.process.terminate()
        web.process.wait(timeout=30)
    assert {"jobqueue_ended_jobs"} <= {family.name for family in text_string_to_metric_families(scraped)}
    for log in (web_log, worker_log):
        for planted in (SECRET, TOKEN, password, PRODUCTION["SECRET_KEY"]):
            assert planted not in said(log)
    of_web, of_worker = lines(web_log), lines(worker_log)
    assert len(of_web) + len(of_worker) >= LINES
    for line in of_web + of_worker:
        assert {"time", "level", "logger", "text", "release", "host", "process"} <= line.keys()
        assert line["release"] == "abc123"
    assert "jobqueue.migrations" in {line["logger"] for line in of_web + of_worker}
    for job, request in jobs.items():
        (asked,) = [line for line in of_web if line.get("request") == request and line["logger"] == "jobqueue.requests"]
        assert (asked["method"], asked["status"]) == ("POST", 200)
        assert asked["duration"] >= 0
        assert {line["job"] for line in of_worker if line.get("request") == request} == {job}
    assert {line["attempt"] for line in of_worker if line.get("request") == "request-of-a-lost-worker"} >= {1, 2}
    (failed,) = [line for line in of_web if line.get("path") == "/wrong" and "traceback" in line]
    assert failed["traceback"].endswith("ZeroDivisionError: division by zero")


def said(log: Path) -> str:
    return log.read_text() if log.exists() else ""


def lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in said(log).splitlines()]


def ended(log: Path) -> list[dict[str, Any]]:
    """Return the complete lines about ended attempts."""
    return [json.loads(line) for line in said(log).splitlines() if '"status"' in line and line.endswith("}")]
