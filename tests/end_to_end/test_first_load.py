"""The bytes that a page costs: the first time, and when the browser has its scripts."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.end_to_end.running import RunningApp, open_page

FIRST, AGAIN = 1_200_000, 60_000  # bytes at most

pytestmark = [pytest.mark.long, pytest.mark.parametrize("app", ["blank"], indirect=True)]


def test_a_page_is_small_at_first_and_almost_nothing_after_that(
    app: RunningApp, browser: Browser, tmp_path: Path
) -> None:
    app.start()
    with browser.new_context() as context:
        first = transferred(context.new_page(), f"{app.url}/hello")
        again = transferred(context.new_page(), f"{app.url}/hello")
    print(f"First load: {first} bytes. Second: {again}.")
    assert 200_000 < first < FIRST
    assert 1_000 < again < AGAIN


def transferred(page: Page, url: str) -> int:
    """Return the bytes of all responses, with headers, until the page shows its panel and asks for nothing more."""
    sizes: list[float] = []
    network = page.context.new_cdp_session(page)
    network.send("Network.enable")
    network.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    open_page(page, url)
    expect(page.get_by_role("button", name="Say hello")).to_be_visible()
    return int(sum(sizes))
