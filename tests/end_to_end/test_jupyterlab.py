"""Tests with a real JupyterLab: it shows the app inline, and a notebook's function becomes a job with a page."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import psutil
import pytest
from playwright.sync_api import Page, expect

from tests import baking
from tests.end_to_end.running import WAIT, RunningApp, free_port, wait_until

SECONDS = WAIT * 1000  # milliseconds, for Playwright
HELLO = """
from app.jobs import hello
from app.web import app
from jobqueue.notebook import queue, show

show(app, "/hello", height=500)
"""


@contextmanager
def jupyterlab(folder: Path, base_url: str, **environment: str) -> Iterator[str]:
    """Serve an app's notebooks from a JupyterLab without a log-in. Return its address."""
    port = free_port()
    home = folder / "home"
    home.mkdir(exist_ok=True)
    config = folder / "notebooks" / ".jupyter"
    variables = os.environ | {
        "HOME": str(home),
        "JUPYTER_CONFIG_PATH": str(config),
        "PYTHONPATH": os.pathsep.join([str(baking.ENGINE), str(folder)]),
        **environment,
    }
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--allow-root",
        f"--port={port}",
        f"--ServerApp.base_url={base_url}",
    ]
    command += ["--IdentityProvider.token=", "--ServerApp.port_retries=0"]
    with (folder / "lab.log").open("wb") as log:
        server = subprocess.Popen(
            command, cwd=folder / "notebooks", env=variables, stdout=log, stderr=log, start_new_session=True
        )
    try:
        address = f"http://127.0.0.1:{port}{base_url}"
        wait_until(
            lambda: "is running at" in (folder / "lab.log").read_text(), lambda: (folder / "lab.log").read_text()
        )
        yield address
    finally:
        family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
        os.killpg(server.pid, signal.SIGTERM)
        psutil.wait_procs(family, timeout=20)
        for process in family:
            if process.is_running():
                process.kill()
        server.wait()


def answers(address: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=1) as response:
        return bool(response.status == 200)
    return False


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
    write(app.folder / "notebooks" / "inline.ipynb", *[HELLO] * 10, "queue.start()")
    with jupyterlab(app.folder, base) as address:
        run_all(page, address, "inline.ipynb")
        frames = page.locator(".jp-OutputArea iframe")
        expect(frames).to_have_count(10, timeout=SECONDS)
        sources = {frames.nth(number).get_attribute("src") for number in range(10)}
        assert len(sources) == 1  # one server
        frame = page.frame_locator(".jp-OutputArea iframe >> nth=9")
        expect(frame.get_by_role("button", name="Say hello")).to_be_visible(timeout=SECONDS)
        for name, heading in (("Jobs", "Jobs"), ("Hello", "Hello")):
            frame.get_by_role("link", name=name, exact=True).first.click()
            expect(frame.get_by_role("heading", name=heading, exact=True)).to_be_visible(timeout=SECONDS)
        frame.get_by_label("Your name").fill("Ann")
        frame.get_by_role("button", name="Say hello").click()
        expect(frame.get_by_text(re.compile("Waiting to start"))).to_be_visible(timeout=SECONDS)


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
        page.keyboard.press("Control+s")
        wait_until(
            lambda: nbformat.read(notebook, as_version=4).cells[-1].get("execution_count") == 5, "the notebook is saved"
        )
    promoted = in_app(
        app, "-m", "app", "promote", "notebooks/first_job.ipynb", "forecast", "--every", "2 seconds", "--page"
    )
    assert promoted.returncode == 0, promoted.stdout + promoted.stderr
    app.start()
    page.goto(f"{app.url}/first-job")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_text("January")).to_be_visible(timeout=SECONDS)
    expect(page.get_by_text("succeeded", exact=True).first).to_be_visible()
    page.goto(f"{app.url}/jobs")
    expect(page.get_by_text("forecast").nth(2)).to_be_visible(timeout=SECONDS)  # the schedule fires
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
