"""A baked app that runs its Procfile under honcho on a free port."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Page, expect

from tests.servers import free_port as free_port  # also for importers of this module

WAIT = 60  # seconds that anything may take to start on a busy machine
PASSWORD = "mountain river nine"  # first password of every user in the tests


def wait_until(condition: Callable[[], object], what: str | Callable[[], str], timeout: float = WAIT) -> object:
    """Return the condition's first true value. Fail the test with `what` if there is none in time."""
    until = time.monotonic() + timeout
    while not (found := condition()):
        if time.monotonic() > until:
            pytest.fail(f"not within {timeout} s: {what if isinstance(what, str) else what()}")
        time.sleep(0.02)
    return found


def answers(url: str) -> bool:
    """Return whether a server answers a request with 200."""
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=1) as response:
        return bool(response.status == 200)
    return False


class RunningApp:
    """A baked app in its own folder. `start` runs its Procfile until it answers. `kill` kills all its processes.

    :param prefix: the URL prefix, such as "/explorer/", or "" for none.
    """

    def __init__(self, folder: Path, prefix: str = "") -> None:
        self.folder = folder
        self.port = free_port()
        self.prefix = prefix
        self.url = f"http://127.0.0.1:{self.port}{prefix.rstrip('/')}"
        Path(folder, ".env").write_text(f"PORT={self.port}\n")  # honcho reads the port only from this file
        self.log = folder / "honcho.log"
        self.honcho: subprocess.Popen[bytes] | None = None

    def start(self, **environment: str) -> None:
        self.launch(**environment)
        wait_until(
            lambda: self.answers() or self.has_ended(),
            lambda: f"{self.url}/health answers\n{self.log.read_text()[-3000:]}",
        )
        if self.has_ended():
            pytest.fail(f"The app ended at once:\n{self.log.read_text()[-3000:]}")

    def launch(self, **environment: str) -> None:
        programs = Path(sys.executable).parent
        settings = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", **environment}
        if self.prefix:
            settings["DASH_URL_BASE_PATHNAME"] = self.prefix
        with self.log.open("ab") as log:
            command = [str(programs / "honcho"), "start"]
            self.honcho = subprocess.Popen(
                command, cwd=self.folder, env=os.environ | settings, stdout=log, stderr=log, start_new_session=True
            )

    def has_ended(self) -> bool:
        return self.honcho is not None and self.honcho.poll() is not None

    def answers(self) -> bool:
        return answers(f"{self.url}/health")

    def processes(self) -> list[psutil.Process]:
        """Return all of the app's processes, with honcho."""
        if self.honcho is None or not psutil.pid_exists(self.honcho.pid):
            return []
        top = psutil.Process(self.honcho.pid)
        return [top, *top.children(recursive=True)]

    def kill(self) -> None:
        """Kill web, consumer and workers with SIGKILL."""
        processes = self.processes()
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes, timeout=WAIT)
        if self.honcho is not None:
            self.honcho.wait(timeout=WAIT)
            self.honcho = None

    def stop(self) -> None:
        if self.honcho is not None:
            self.honcho.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.honcho.wait(timeout=WAIT)
            self.kill()


def log_in(page: Page, name: str, password: str = PASSWORD) -> None:
    # Wait for the log-in page, as other pages have a field "Name" too.
    expect(page.get_by_role("heading", name="Log in")).to_be_visible(timeout=1000 * WAIT)
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()


# JavaScript: whether a page's callbacks have ended, also those that were started by others. Pages without Dash have none.
HAS_LOADED = """() => {
    if (!document.getElementById("react-entry-point")) return document.readyState === "complete";
    const state = window.store?.getState();
    return state?.appLifecycle === "HYDRATED" && !state.isLoading;
}"""


def open_page(page: Page, url: str) -> None:
    """Open a page, and wait until its callbacks have ended and it asks for nothing more."""
    page.goto(url)
    page.wait_for_function(HAS_LOADED, timeout=1000 * WAIT)
    page.wait_for_load_state("networkidle")


def is_local(url: str) -> bool:
    return url.startswith(("http://127.0.0.1:", "data:", "blob:", "about:"))


def add_counting_pages(folder: Path) -> None:
    """Add pages to an app: a job with its panel, and a background callback. Both run until a test lets them end."""
    shutil.copytree(Path(__file__).with_name("counting"), folder / "app", dirs_exist_ok=True)
    (folder / "notes").mkdir()
