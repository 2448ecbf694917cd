"""Tests of Procfile.dev, which `make start` runs. A change of a file restarts the processes that use it."""

import http.client
import subprocess
import sys
import urllib.error
import urllib.request
import urllib.response
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from jobqueue import DurableHuey, JobHandle, State
from tests.end_to_end.running import WAIT, RunningApp, wait_until

MISTAKE = "\ndef mistake(:\n"

pytestmark = pytest.mark.parametrize("app", ["blank"], indirect=True)


def test_mistake_shows_in_browser_and_terminal_until_it_is_fixed(app: RunningApp) -> None:
    app.start(PROCFILE="Procfile.dev")
    assert shown(app, "/hello")[0] == 200
    with changed(app, "app/pages/hello.py", MISTAKE):
        wait_until(lambda: shown(app, "/hello")[0] == 500, "the page shows the mistake")
        assert "SyntaxError" in shown(app, "/hello")[1]
        assert lines_with(app, "web", "SyntaxError") == 1  # not again at each request
    wait_until(lambda: shown(app, "/hello")[0] == 200, "the page is there again")


@pytest.mark.long
@pytest.mark.parametrize(
    ("file", "concerned"),
    [
        # No page has a background callback, so the worker imports no page.
        ("app/pages/hello.py", ["web"]),
        ("app/jobs/hello.py", ["web", "worker"]),
        ("app/__init__.py", ["web", "worker"]),
    ],
    ids=["page", "job", "package"],
)
def test_mistake_at_the_start_shows_in_browser_and_terminal(app: RunningApp, file: str, concerned: list[str]) -> None:
    with changed(app, file, MISTAKE):
        app.launch(PROCFILE="Procfile.dev")
        wait_until(lambda: shown(app, "/hello")[0] == 500, "the page shows the mistake")
        assert "SyntaxError" in shown(app, "/hello")[1]
        wait_until(
            lambda: all(lines_with(app, process, "SyntaxError") for process in concerned), "the terminal shows it too"
        )
    wait_until(lambda: shown(app, "/hello")[0] == 200, "the page is there")
    job = submitted(app, greeting(0))
    wait_until(lambda: job.state is State.SUCCEEDED, "a job runs")


@pytest.mark.long
def test_open_page_shows_a_mistake_and_recovers(app: RunningApp, page: Page) -> None:
    app.start(PROCFILE="Procfile.dev")
    with page.expect_response("**/_reload-hash"):  # from then on the page notices changes
        page.goto(f"{app.url}/hello?job=none")
    page.get_by_text("No such job").wait_for()
    with changed(app, "app/pages/hello.py", MISTAKE):
        page.get_by_text("SyntaxError").wait_for()
    page.get_by_text("No such job").wait_for()


def test_code_change_releases_the_running_job_and_it_ends(app: RunningApp) -> None:
    app.start(PROCFILE="Procfile.dev")
    job = submitted(app, greeting(6))  # longer than a change takes to be noticed, and the grace period
    wait_until(lambda: job.state is State.RUNNING, "the job runs")
    with changed(app, "app/jobs/hello.py", MISTAKE):
        wait_until(lambda: job.get_job().returns == 1, "the job goes back to the queue")
        wait_until(lambda: lines_with(app, "worker", "SyntaxError"), "the worker logs the mistake")
    wait_until(lambda: job.state is State.SUCCEEDED, "the job ends in the fixed worker")
    assert job.get_job().losses == 0
    assert job.get() == "Hello, ann!"


PAGE = """
import dash

dash.register_page(__name__)
layout = "the new page"
"""
JOB = """
from app.jobs import huey


@huey.task()
def new() -> None: ...
"""


@pytest.mark.long
def test_files_that_are_added_renamed_or_deleted_are_seen(app: RunningApp, page: Page) -> None:
    """Test changes without any other saved file. An open page shows them without a reload."""
    app.start(PROCFILE="Procfile.dev")
    with page.expect_response("**/_reload-hash"):  # from then on the page notices changes
        page.goto(f"{app.url}/hello")
    menu = page.get_by_role("navigation")
    pages, jobs, assets = (Path(app.folder, "app", name) for name in ("pages", "jobs", "assets"))

    pages.joinpath("first.py").write_text(PAGE)
    expect(menu.get_by_role("link", name="First")).to_be_visible(timeout=1000 * WAIT)
    pages.joinpath("first.py").rename(pages / "second.py")
    expect(menu.get_by_role("link", name="Second")).to_be_visible(timeout=1000 * WAIT)
    expect(menu.get_by_role("link", name="First")).to_be_hidden()
    pages.joinpath("second.py").unlink()
    expect(menu.get_by_role("link", name="Second")).to_be_hidden(timeout=1000 * WAIT)

    title = page.get_by_role("heading", name="Hello")
    assets.joinpath("red.css").write_text("h2 { color: rgb(255, 0, 0) }")
    expect(title).to_have_css("color", "rgb(255, 0, 0)", timeout=1000 * WAIT)
    assets.joinpath("red.css").rename(assets / "same.css")
    wait_until(lambda: has_asset(app, "same.css") and not has_asset(app, "red.css"), "pages load it by its new name")
    assets.joinpath("same.css").unlink()
    expect(title).not_to_have_css("color", "rgb(255, 0, 0)", timeout=1000 * WAIT)
    assert not has_asset(app, "same.css")

    jobs.joinpath("third.py").write_text(JOB)
    job = submitted(app, "from app.jobs.third import new; new()")
    wait_until(lambda: job.state is State.SUCCEEDED, "the worker knows the new job")
    jobs.joinpath("third.py").rename(jobs / "fourth.py")
    job = submitted(app, "from app.jobs.fourth import new; new()")
    wait_until(lambda: job.state is State.SUCCEEDED, "the worker knows the job by its new name")
    starts = lines_with(app, "worker", "starts 2 process workers")
    jobs.joinpath("fourth.py").unlink()
    wait_until(
        lambda: lines_with(app, "worker", "starts 2 process workers") > starts, "the worker starts again without it"
    )


def has_asset(app: RunningApp, name: str) -> bool:
    status, text = shown(app, "/hello")
    return status == 200 and f"/assets/{name}" in text


class changed:
    """A file of the app with text appended during the block."""

    def __init__(self, app: RunningApp, name: str, added: str) -> None:
        self.path = app.folder / name
        self.before = self.path.read_text()
        self.added = added

    def __enter__(self) -> None:
        self.path.write_text(self.before + self.added)

    def __exit__(self, *_: object) -> None:
        self.path.write_text(self.before)


def shown(app: RunningApp, path: str) -> tuple[int, str]:
    """Return status and text of a page. The status is 0 while the web process restarts, which may cut off an answer."""
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


def greeting(seconds: int) -> str:
    return f"from app.jobs.hello import greet; greet('ann', {seconds})"


def submitted(app: RunningApp, call: str) -> JobHandle:
    """Return the job that the last expression of this code submits.

    The process ends at once: on a busy machine an interpreter's usual end takes longer than a short job.
    """
    code, _, last = call.rpartition(";")
    submit = f"import os; {code}; print({last.strip()}.id, flush=True); os._exit(0)"
    job_id = subprocess.check_output([sys.executable, "-c", submit], cwd=app.folder, text=True).strip()
    return DurableHuey("seen", f"sqlite:///{Path(app.folder, 'var', 'jobs.sqlite')}").job(job_id)


def lines_with(app: RunningApp, process: str, text: str) -> int:
    """Return the number of log lines of a process that contain the text."""
    return sum(f"{process}.1" in line and text in line for line in app.log.read_text().splitlines())
