"""Tests with a real JupyterLab: it shows the app inline, and a notebook's function becomes a job with a page."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import psutil
import pytest
from playwright.sync_api import Page, expect

from jobqueue import DurableHuey, State
from tests import baking
from tests.end_to_end.running import WAIT, RunningApp, answers, free_port, wait_until

SECONDS = WAIT * 1000  # milliseconds, for Playwright
HELLO = """
from app.web import app
from jobqueue.notebook import show

show(app, "/hello", height=500)
"""


BROKEN = """
from dash import Dash, Input, Output, html

small = Dash("small")
small.layout = html.Div([html.Button("Break", id="break"), html.Div(id="out")])


@small.callback(Output("out", "children"), Input("break", "n_clicks"), prevent_initial_call=True)
def fails(_):
    raise ValueError("no such region")


show(small)
"""
DASHS_OWN = """
from app.web import app
from jobqueue.notebook import show

app.run(jupyter_mode="inline", port={port})
"""


@contextmanager
def jupyterlab(folder: Path, base_url: str) -> Iterator[str]:
    """Run `make lab` in an app, without a log-in and without a browser. Return JupyterLab's address."""
    port = free_port()
    settings = folder / "home" / ".jupyter" / "jupyter_server_config.json"
    settings.parent.mkdir(parents=True)
    server_app = {"allow_root": True, "base_url": base_url, "open_browser": False, "port": port, "port_retries": 0}
    settings.write_text(json.dumps({"ServerApp": server_app, "IdentityProvider": {"token": ""}}))
    environment = folder / ".venv"  # the kit's
    environment.mkdir()
    (environment / "bin").symlink_to(baking.PROGRAMS)
    for made in ("ready", "lab"):
        (environment / made).touch()
    variables = os.environ | {
        "HOME": str(folder / "home"),
        "PYTHONPATH": os.pathsep.join([str(baking.ENGINE), str(folder)]),
    }
    with (folder / "lab.log").open("wb") as log:
        server = subprocess.Popen(
            ["make", "lab"], cwd=folder, env=variables, stdout=log, stderr=log, start_new_session=True
        )
    try:
        address = f"http://127.0.0.1:{port}{base_url}"
        # Its log says "is running at" before it listens.
        wait_until(lambda: answers(f"{address}api"), lambda: (folder / "lab.log").read_text())
        yield address
    finally:
        family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
        os.killpg(server.pid, signal.SIGTERM)
        psutil.wait_procs(family, timeout=20)
        for process in family:
            if process.is_running():
                process.kill()
        server.wait()


def write(path: Path, *cells: str) -> None:
    node = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell.strip()) for cell in cells])
    node.metadata["kernelspec"] = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    nbformat.write(node, path)


def run_all(page: Page, address: str, name: str) -> None:
    """Open a notebook and run all of its cells."""
    page.goto(f"{address}lab/tree/{name}")
    expect(page.locator(".jp-Notebook .jp-Cell").first).to_be_visible(timeout=SECONDS)
    expect(page.get_by_text("Python 3 (ipykernel) | Idle")).to_be_visible(timeout=SECONDS)
    expect(page.locator("dialog.jp-Dialog, .jp-Dialog")).to_have_count(0)  # no "Build Recommended"
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()


@pytest.mark.long
@pytest.mark.parametrize("app", ["blank"], indirect=True)
@pytest.mark.parametrize("base", ["/", "/user/ann/"])
def test_an_app_is_shown_inline_and_its_links_lead_to_its_pages(app: RunningApp, page: Page, base: str) -> None:
    app.start()  # for its workers
    write(app.folder / "notebooks" / "inline.ipynb", *[HELLO] * 10, "'room below the last frame'")
    with jupyterlab(app.folder, base) as address:
        run_all(page, address, "inline.ipynb")
        frames = page.locator(".jp-OutputArea iframe")
        expect(frames).to_have_count(10, timeout=SECONDS)
        sources = {frames.nth(number).get_attribute("src") for number in range(10)}
        assert len(sources) == 1  # one server
        frame = page.frame_locator(".jp-OutputArea iframe >> nth=9")
        expect(frame.get_by_role("button", name="Say hello")).to_be_visible(timeout=SECONDS)
        names = frame.locator("nav a:visible").all_inner_texts()
        assert len(names) > 1
        frames.nth(9).scroll_into_view_if_needed()
        for name in names:
            frame.get_by_role("link", name=name, exact=True).first.click()
            expect(frame.get_by_role("heading", name=name, exact=True)).to_be_visible(timeout=SECONDS)
        frame.get_by_role("link", name="Hello", exact=True).first.click()
        frame.get_by_label("Your name").fill("Ann")
        frame.get_by_role("button", name="Say hello").click()
        expect(frame.get_by_text("Hello, Ann!")).to_be_visible(timeout=SECONDS)
        frame.locator("body").evaluate("() => location.reload()")
        expect(frame.get_by_label("Your name")).to_have_value("world", timeout=SECONDS)
        expect(frame.get_by_text("Hello, Ann!")).to_be_visible(timeout=SECONDS)


@pytest.mark.long
@pytest.mark.parametrize("app", ["blank"], indirect=True)
def test_dashs_own_frame_shows_the_app_and_a_callbacks_error_stands_below_its_frame(
    app: RunningApp, page: Page
) -> None:
    write(app.folder / "notebooks" / "inline.ipynb", DASHS_OWN.format(port=free_port()), BROKEN)
    with jupyterlab(app.folder, "/") as address:
        run_all(page, address, "inline.ipynb")
        own, shown = (page.frame_locator(f".jp-OutputArea iframe >> nth={number}") for number in range(2))
        expect(own.get_by_role("button", name="Say hello")).to_be_visible(timeout=SECONDS)
        own.get_by_role("button", name="Say hello").click()
        expect(own.get_by_text(re.compile("Waiting to start"))).to_be_visible(timeout=SECONDS)
        shown.get_by_role("button", name="Break").click()
        below = page.locator(".jp-OutputArea", has=page.locator("iframe")).nth(1)
        expect(below.get_by_text("ValueError: no such region")).to_be_visible(timeout=SECONDS)


@pytest.mark.long
@pytest.mark.parametrize("app", ["blank"], indirect=True)
def test_from_a_notebook_to_a_scheduled_job_with_a_page(app: RunningApp, page: Page) -> None:
    notebook = app.folder / "notebooks" / "first_job.ipynb"
    stored = nbformat.read(notebook, as_version=4)
    for cell in stored.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(stored, notebook)
    with jupyterlab(app.folder, "/") as address:
        run_all(page, address, "first_job.ipynb")
        expect(page.locator(".jp-OutputArea iframe")).to_be_visible(timeout=SECONDS)
        expect(page.locator(".jp-InputPrompt").get_by_text("[5]:")).to_be_visible(timeout=SECONDS)
        page.get_by_role("menuitem", name="File", exact=True).click()
        page.get_by_text("Save Notebook", exact=True).click()
        wait_until(lambda: last_count(notebook) == 5, "the notebook is saved")
    promoted = in_app(
        app, "-m", "app", "promote", "notebooks/first_job.ipynb", "forecast", "--every", "2 seconds", "--page"
    )
    assert promoted.returncode == 0, promoted.stdout + promoted.stderr
    app.start()
    page.goto(f"{app.url}/first-job")
    page.get_by_role("button", name="Start").click()
    table = page.get_by_role("table", name="Result")
    expect(table.get_by_role("row")).to_have_text(
        ["monthsales", "January102", "February104", "March106.1"], timeout=SECONDS
    )
    huey = DurableHuey("seen", f"sqlite:///{app.folder}/var/jobs.sqlite")
    by_page = re.search(r"job=([\w-]+)", page.url)
    assert by_page

    def fired() -> set[str]:
        """Return the names of jobs that the page did not start, and that have succeeded."""
        return {job.name for job in huey.jobs() if job.id != by_page[1] and job.state is State.SUCCEEDED}

    wait_until(fired, "the schedule fires")
    assert fired() == {"forecast"}
    huey.storage.close()
    app.stop()
    assert in_app(app, "-m", "pytest", "-q", "-p", "no:cacheprovider").returncode == 0
    for command in (["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]):
        done = in_app(app, "-m", *command)
        assert done.returncode == 0, done.stdout + done.stderr


def last_count(notebook: Path) -> int | None:
    """Return the execution count of a notebook's last cell. While JupyterLab writes the file, there is none."""
    with contextlib.suppress(nbformat.reader.NotJSONError):
        count: int | None = nbformat.read(notebook, as_version=4).cells[-1].get("execution_count")
        return count
    return None


def in_app(app: RunningApp, *arguments: str) -> "subprocess.CompletedProcess[str]":
    variables = os.environ | {"PYTHONPATH": os.pathsep.join([str(baking.ENGINE), str(app.folder)])}
    return subprocess.run(
        [sys.executable, *arguments], cwd=app.folder, env=variables, capture_output=True, text=True, timeout=300
    )
