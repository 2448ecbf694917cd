"""Procfile.dev, which `make start` runs while somebody edits the app, restarts the processes that a change concerns."""

import http.client
import subprocess
import sys
import urllib.error
import urllib.request
import urllib.response
from pathlib import Path

import pytest
from playwright.sync_api import Page

from jobqueue import DurableHuey, JobHandle, State
from tests.end_to_end.running import RunningApp, wait_until

MISTAKE = "\ndef mistake(:\n"

pytestmark = pytest.mark.parametrize("app", ["blank"], indirect=True)


def test_mistake_shows_in_browser_and_terminal_until_it_is_fixed(app: RunningApp) -> None:
    app.start(PROCFILE="Procfile.dev")
    assert shown(app, "/hello")[0] == 200
    with changed(app, "app/pages/hello.py", MISTAKE):
        wait_until(lambda: shown(app, "/hello")[0] == 500, "the page shows that there is a mistake")
        assert "SyntaxError" in shown(app, "/hello")[1]
        assert says(app, "web", "SyntaxError") == 1  # not again at each request
    wait_until(lambda: shown(app, "/hello")[0] == 200, "the page is there again")


@pytest.mark.parametrize(
    ("file", "concerned"),
    [
        ("app/pages/hello.py", ["web"]),  # no page has a background callback, so the worker knows none
        ("app/jobs/hello.py", ["web", "worker"]),
        ("app/__init__.py", ["web", "worker"]),
    ],
    ids=["page", "job", "package"],
)
def test_mistake_at_the_start_shows_in_browser_and_terminal(app: RunningApp, file: str, concerned: list[str]) -> None:
    with changed(app, file, MISTAKE):
        app.launch(PROCFILE="Procfile.dev")
        wait_until(lambda: shown(app, "/hello")[0] == 500, "the page shows that there is a mistake")
        assert "SyntaxError" in shown(app, "/hello")[1]
        wait_until(lambda: all(says(app, process, "SyntaxError") for process in concerned), "the terminal shows it too")
    wait_until(lambda: shown(app, "/hello")[0] == 200, "the page is there")
    job = submitted(app, seconds=0)
    wait_until(lambda: job.state is State.SUCCEEDED, "a job runs")


@pytest.mark.long
def test_open_page_shows_a_mistake_and_recovers(app: RunningApp, page: Page) -> None:
    app.start(PROCFILE="Procfile.dev")
    with page.expect_response("**/_reload-hash"):  # from then on it sees changes
        page.goto(f"{app.url}/hello?job=none")
    page.get_by_text("No such job").wait_for()
    with changed(app, "app/pages/hello.py", MISTAKE):
        page.get_by_text("SyntaxError").wait_for()
    page.get_by_text("No such job").wait_for()


def test_code_change_releases_the_running_job_and_it_ends(app: RunningApp) -> None:
    app.start(PROCFILE="Procfile.dev")
    job = submitted(app, seconds=3)
    wait_until(lambda: job.state is State.RUNNING, "the job runs")
    with changed(app, "app/jobs/hello.py", MISTAKE):
        wait_until(lambda: job.get_job().returns == 1, "the job goes back to the queue")
        wait_until(lambda: says(app, "worker", "SyntaxError"), "the worker says what the mistake is")
    wait_until(lambda: job.state is State.SUCCEEDED, "the job ends in the mended worker")
    assert job.get_job().losses == 0
    assert job.get() == "Hello, ann!"


class changed:
    """A file of the app with something at its end, and afterwards without."""

    def __init__(self, app: RunningApp, name: str, added: str) -> None:
        self.path = app.folder / name
        self.before = self.path.read_text()
        self.added = added

    def __enter__(self) -> None:
        self.path.write_text(self.before + self.added)

    def __exit__(self, *_: object) -> None:
        self.path.write_text(self.before)


def shown(app: RunningApp, path: str) -> tuple[int, str]:
    """Return status and text of a page; 0 while the web process restarts, which may cut an answer off."""
    try:
        with opened(app.url + path) as response:
            return response.status or 0, response.read().decode()
    except (OSError, http.client.HTTPException):
        return 0, ""


def opened(url: str) -> urllib.response.addinfourl:
    try:
        answer: urllib.response.addinfourl = urllib.request.urlopen(url, timeout=5)
    except urllib.error.HTTPError as error:
        return error
    return answer


def submitted(app: RunningApp, seconds: int) -> JobHandle:
    call = f"from app.jobs.hello import greet; print(greet('ann', {seconds}).id)"
    job_id = subprocess.check_output([sys.executable, "-c", call], cwd=app.folder, text=True).strip()
    return DurableHuey("seen", f"sqlite:///{Path(app.folder, 'var', 'jobs.sqlite')}").job(job_id)


def says(app: RunningApp, process: str, text: str) -> int:
    """Return the number of lines that contain the text."""
    return sum(f"{process}.1" in line and text in line for line in app.log.read_text().splitlines())
