"""A Chromium whose tabs behave like a user's: a tab behind another one is hidden, and its timers are slowed down.

In a browser that Playwright starts, every page counts as visible and its timers run at full speed. So this browser is
started without Playwright, which connects to it later.
"""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import BrowserContext, Page, Playwright, TimeoutError

from tests.end_to_end.running import wait_until

LOOKS = "**/_dash-update-component*"


class Tabs:
    """The tabs of one window."""

    def __init__(self, context: BrowserContext) -> None:
        self.context = context

    def open(self, url: str = "about:blank") -> Page:
        """Open a tab in front of all others."""
        page = self.context.new_page()
        page.goto(url)
        assert not is_hidden(page)
        return page

    def open_behind(self, url: str) -> Page:
        """Open a tab in the background, as Ctrl and a click on a link do."""
        with self.context.expect_page() as opened:
            session = self.context.new_cdp_session(self.context.pages[0])
            session.send("Target.createTarget", {"url": url, "background": True})
        page = opened.value
        page.wait_for_load_state()
        assert is_hidden(page)
        return page

    def hide(self, page: Page) -> None:
        """Bring another tab to the front."""
        self.context.pages[0].bring_to_front()
        wait_until(lambda: is_hidden(page), "it is hidden")

    def show(self, page: Page) -> None:
        page.bring_to_front()
        wait_until(lambda: not is_hidden(page), "it is visible")


def is_hidden(page: Page) -> bool:
    return bool(page.evaluate("document.visibilityState") == "hidden")


def asks(page: Page, within: float) -> bool:
    """Return whether the page sends a new request to the server within `within` milliseconds."""
    try:
        with page.expect_request(LOOKS, timeout=within):
            pass
    except TimeoutError:
        return False
    return True


@contextmanager
def window(playwright: Playwright, program: str, arguments: Sequence[str], folder: Path) -> Iterator[Tabs]:
    """Start a separate browser with its profile in this folder. Yield its tabs."""
    own = ["--headless", f"--user-data-dir={folder}", "--remote-debugging-port=0"]
    browser = subprocess.Popen(
        [program, *own, *arguments, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        port = folder / "DevToolsActivePort"
        wait_until(lambda: port.exists() and "\n" in port.read_text(), "Chromium listens")
        address = f"http://127.0.0.1:{port.read_text().splitlines()[0]}"
        connected = playwright.chromium.connect_over_cdp(address, no_defaults=True)
        try:
            yield Tabs(connected.contexts[0])
        finally:
            connected.close()
    finally:
        browser.terminate()
        browser.wait()
