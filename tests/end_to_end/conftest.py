"""Fixtures: a running app, and a browser that reports errors."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import ConsoleMessage, Page, Playwright, expect

from tests.end_to_end.running import RunningApp, is_local
from tests.end_to_end.tabs import Tabs, window

# Seconds in which something shows, on a busy machine. Tests that promise a time give their own.
SHOWS = 60
expect.set_options(timeout=SHOWS * 1000)

QUIET = ["background-networking", "component-update", "sync", "quic", "gpu"]
ARGUMENTS = ["--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in QUIET)]


@pytest.fixture
def app(tmp_path: Path, bake: Callable[..., Path], request: pytest.FixtureRequest) -> Iterator[RunningApp]:
    """Yield an app: the portfolio example, or `@pytest.mark.parametrize("app", ["blank"], indirect=True)`.

    "blank under /explorer/" is served under that URL prefix.
    """
    folder = tmp_path / "app"
    example, _, prefix = getattr(request, "param", "portfolio").partition(" under ")
    shutil.copytree(bake(example=example), folder)
    running = RunningApp(folder, prefix)
    yield running
    running.stop()


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, Any]:
    """Take Chromium's headless shell where it is installed: the same engine without windows, which need half of the work."""
    return {
        "executable_path": shutil.which("chromium-headless-shell") or os.environ.get("CHROMIUM"),
        "args": ARGUMENTS,
    }


@pytest.fixture
def tabs(playwright: Playwright, tmp_path: Path) -> Iterator[Tabs]:
    """Yield the tabs of a separate browser, in which tabs can be hidden. It needs windows."""
    program = os.environ.get("CHROMIUM") or playwright.chromium.executable_path
    with window(playwright, program, ARGUMENTS, tmp_path / "chromium") as tabs:
        yield tabs


@pytest.fixture
def watch() -> Iterator[Callable[[Page], Page]]:
    """Yield a function that makes the test fail on a page's console errors and on its requests to other hosts."""
    complaints: list[str] = []

    def watched(page: Page) -> Page:
        page.on("console", lambda message: complaints.append(message.text) if is_error(message) else None)
        page.on("pageerror", lambda error: complaints.append(error.stack or str(error)))
        page.on(
            "request", lambda request: None if is_local(request.url) else complaints.append(f"requests {request.url}")
        )
        return page

    yield watched
    assert not complaints


@pytest.fixture
def watched(page: Page, watch: Callable[[Page], Page]) -> Page:
    return watch(page)


def is_error(message: ConsoleMessage) -> bool:
    """Return whether a message is an error. The message about a page's own status of 401 or 404 is not."""
    return message.type == "error" and message.location["url"] != getattr(message.page, "url", None)
