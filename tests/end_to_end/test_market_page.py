"""The market page in Chromium: from no data at all to prices that come by themselves, and stay when nobody makes new ones."""

import subprocess
import sys

import psutil
from playwright.sync_api import Page, expect

from tests.end_to_end.running import RunningApp

SLOW = 60_000  # milliseconds that a refresh may take on a busy machine


def test_the_first_prices_come_when_asked_for_and_the_next_by_themselves(app: RunningApp, watched: Page) -> None:
    app.start()
    watched.goto(f"{app.url}/market")
    expect(watched.get_by_text("No prices yet").or_(watched.get_by_text("version 1"))).to_be_visible(timeout=SLOW)
    watched.get_by_role("button", name="Refresh now").click()
    expect(watched.get_by_text("as of ")).to_be_visible(timeout=SLOW)
    expect(watched.locator(".js-plotly-plot")).to_have_count(3, timeout=SLOW)

    before = watched.get_by_text("as of ").inner_text()
    command = [sys.executable, "-m", "app", "datasets", "refresh", "prices"]
    subprocess.run(command, cwd=app.folder, check=True, capture_output=True)
    expect(watched.get_by_text(before)).to_have_count(0, timeout=SLOW)
    expect(watched.locator(".js-plotly-plot")).to_have_count(3, timeout=SLOW)

    for process in app.processes():  # nobody makes new ones
        if "worker" in process.cmdline():
            process.suspend()
    watched.reload()
    expect(watched.locator(".js-plotly-plot")).to_have_count(3, timeout=SLOW)
    for process in app.processes():
        if process.status() == psutil.STATUS_STOPPED:
            process.resume()
