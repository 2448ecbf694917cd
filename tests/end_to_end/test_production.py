"""Tests of the Procfile with production settings, on Postgres, with and without Redis."""

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable
from urllib.parse import urlsplit

import psutil
import pytest
from playwright.sync_api import Page, expect

from tests.end_to_end.running import PASSWORD, RunningApp, log_in

pytestmark = pytest.mark.parametrize("app", ["blank"], indirect=True)

Settings = dict[str, str]


@pytest.fixture
def production(fresh_postgres: str, fresh_valkey: str) -> Callable[[bool], Settings]:
    """Return a function that returns a host's settings, with the URL scheme `postgres`. With Redis, accounts are on."""

    def settings(with_redis: bool) -> Settings:
        common = {
            "APP_ENV": "production",
            "SECRET_KEY": secrets.token_urlsafe(48),
            "DATABASE_URL": urlsplit(fresh_postgres)._replace(scheme="postgres").geturl(),
        }
        return common | ({"REDIS_URL": fresh_valkey} if with_redis else {"AUTH": "off"})

    return settings


@pytest.mark.long
@pytest.mark.parametrize("with_redis", [True, False], ids=["redis", "without"])
def test_page_shows_a_job_to_its_end_after_its_worker_was_killed(
    app: RunningApp, watched: Page, production: Callable[[bool], Settings], with_redis: bool
) -> None:
    settings = production(with_redis)
    app.start(**settings)
    watched.goto(app.url)
    if with_redis:
        command = watched.locator("code").inner_text()
        made = run(app, settings, *command.replace("NAME", "ann").split()[1:], typed=f"{PASSWORD}\n{PASSWORD}\n")
        assert made.returncode == 0, made.stdout
        watched.reload()
        log_in(watched, "ann", PASSWORD)
    watched.get_by_label("Your name").fill("ann")
    watched.get_by_role("button", name="Say hello").click()
    expect(watched.get_by_text("thinking about ann")).to_be_visible()
    for worker in workers_of(app):
        worker.send_signal(signal.SIGKILL)
    expect(watched.get_by_text("Running, attempt 2: the last attempt was interrupted.")).to_be_visible()
    expect(watched.get_by_text("Hello, ann!")).to_be_visible(timeout=15_000)
    assert not list(app.folder.glob("var/*"))  # the app keeps nothing on the machine

    report = doctor(app, settings)
    assert report.returncode == 0, report.stdout
    assert ("ok redis: answers" in report.stdout) is with_redis
    assert "ok connections: " in report.stdout
    assert ("ok accounts: users have to log in" if with_redis else "?? accounts: AUTH is off") in report.stdout


def test_doctor_says_how_to_fix_an_unreachable_redis(app: RunningApp, production: Callable[[bool], Settings]) -> None:
    settings = production(False) | {"REDIS_URL": "redis://127.0.0.1:1"}
    report = doctor(app, settings)
    assert report.returncode == 1
    assert "!! redis: does not answer: " in report.stdout
    assert "Check REDIS_URL" in report.stdout


def workers_of(app: RunningApp) -> list[psutil.Process]:
    """Return the worker processes, which are forks of the consumer."""
    forks = [process for process in app.processes() if process.cmdline()[-3:] == ["-m", "app", "worker"]]
    return [process for process in forks if process.ppid() in {fork.pid for fork in forks}]


def doctor(app: RunningApp, settings: Settings) -> "subprocess.CompletedProcess[str]":
    return run(app, settings, "-m", "app", "doctor")


def run(app: RunningApp, settings: Settings, *arguments: str, typed: str = "") -> "subprocess.CompletedProcess[str]":
    """Run a command as `heroku run` and `dokku run` do: in the app's folder, with its settings."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=app.folder,
        env=os.environ | settings,
        input=typed,
        capture_output=True,
        text=True,
        timeout=60,
    )
