"""Tests of the market page in Chromium, on Postgres and Redis: it gets prices by itself, and keeps them in failures."""

import os
import re
import statistics
import subprocess
import sys
import time
import urllib.request

import psutil
import pytest
from playwright.sync_api import Locator, Page, expect

from jobqueue import DurableHuey
from tests.end_to_end.running import PASSWORD, RunningApp, log_in
from tests.end_to_end.test_accounts import users
from tests.servers import ValkeyServer

SLOW = 60_000  # milliseconds that a refresh may take on a busy machine
ROUNDS = 15
OUTPUTS = ("market-state.children", "market-charts.children")
MORE = 0.1  # seconds by which a silent Redis may delay the page


@pytest.mark.long
@pytest.mark.alone
def test_market_page_shows_prices_without_redis_and_workers(
    app: RunningApp, watched: Page, fresh_postgres: str, valkey: ValkeyServer
) -> None:
    settings = {"DATABASE_URL": fresh_postgres, "REDIS_URL": valkey.url}
    app.start(**settings)
    asked: list[str] = []  # the callbacks' requests
    watched.on("request", lambda request: asked.append(request.post_data) if request.post_data else None)
    watched.goto(f"{app.url}/market")
    expect(watched.get_by_text("No prices yet").or_(watched.get_by_text("version 1"))).to_be_visible(timeout=SLOW)
    watched.get_by_role("button", name="Refresh now").click()
    expect(watched.get_by_text("Done in ")).to_be_visible(timeout=SLOW)
    wait_for_charts(watched)

    make_another_version(app, settings, watched)
    before = seconds_of_the_page(app, asked)
    valkey.pause()
    try:
        make_another_version(app, settings, watched)
        assert seconds_of_the_page(app, asked) < before + MORE

        workers = [process for process in app.processes() if "worker" in process.cmdline()]
        for worker in workers:
            worker.suspend()
        watched.reload()
        wait_for_charts(watched)
        assert seconds_of_the_page(app, asked) < before + MORE
    finally:
        valkey.resume()
        for process in app.processes():
            if process.status() == psutil.STATUS_STOPPED:
                process.resume()


@pytest.mark.long
def test_least_risky_portfolio_survives_a_reload(app: RunningApp, watched: Page) -> None:
    """Test the example's background callback with accounts."""
    start = ready_to_compute(app, watched, draws=300)  # it takes some seconds
    start_computing(watched)
    watched.reload()
    expect(watched.get_by_text("its volatility was")).to_be_visible(timeout=SLOW)
    expect(watched.locator("#weights-chart .js-plotly-plot")).to_be_visible()
    expect(start).to_be_enabled()
    assert ends_of_callbacks(app) == [("succeeded", "ann")]


@pytest.mark.long
def test_least_risky_portfolio_can_be_cancelled(app: RunningApp, watched: Page) -> None:
    start = ready_to_compute(app, watched, draws=100_000)  # it would take an hour
    start_computing(watched)
    watched.get_by_role("button", name="Cancel").click()
    expect(start).to_be_enabled(timeout=SLOW)
    expect(watched.get_by_role("progressbar")).to_have_count(0)
    assert ends_of_callbacks(app) == [("cancelled", "ann")]


def ready_to_compute(app: RunningApp, page: Page, draws: int) -> Locator:
    """Log in as Ann and wait for prices. Return the button that starts the computation."""
    code = app.folder / "app" / "pages" / "market_weights.py"
    code.write_text(re.sub("^DRAWS = .*", f"DRAWS = {draws}", code.read_text(), flags=re.MULTILINE))
    users(app, "add", "ann", password=PASSWORD)
    app.start(AUTH="accounts")
    page.goto(f"{app.url}/market")
    log_in(page, "ann", PASSWORD)
    page.get_by_role("button", name="Refresh now").click()
    wait_for_charts(page)
    return page.get_by_role("button", name="Compute")


def ends_of_callbacks(app: RunningApp) -> list[tuple[str, str | None]]:
    queue = DurableHuey("seen", f"sqlite:///{app.folder}/var/jobs.sqlite")
    return [(str(job.state), job.owner) for job in queue.jobs() if job.task.startswith("callback.")]


def start_computing(page: Page) -> None:
    """Start the computation, and wait for its progress."""
    start = page.get_by_role("button", name="Compute")
    start.click()
    expect(start).to_be_disabled()
    expect(page.get_by_text(re.compile(r"^history \d+ of \d+$"))).to_be_visible(timeout=SLOW)


def make_another_version(app: RunningApp, settings: dict[str, str], page: Page) -> None:
    """Refresh the prices, and wait until the page shows the new version by itself."""
    shown = page.get_by_text("as of ").inner_text()
    command = [sys.executable, "-m", "app", "datasets", "refresh", "prices"]
    subprocess.run(command, cwd=app.folder, env=os.environ | settings, check=True, capture_output=True)
    expect(page.get_by_text(shown)).to_have_count(0, timeout=SLOW)
    wait_for_charts(page)


def wait_for_charts(page: Page) -> None:
    expect(page.get_by_text("as of ")).to_be_visible(timeout=SLOW)
    expect(page.locator("#market-charts .js-plotly-plot")).to_have_count(3, timeout=SLOW)


def seconds_of_the_page(app: RunningApp, asked: list[str]) -> float:
    """Return the median seconds in which the server answers the page's requests: frame, newest version and charts."""
    newest, charts = (next(body for body in reversed(asked) if output in body) for output in OUTPUTS)
    json = {"Content-Type": "application/json"}
    requests = [
        urllib.request.Request(f"{app.url}/market"),
        urllib.request.Request(f"{app.url}/_dash-update-component", newest.encode(), json),
        urllib.request.Request(f"{app.url}/_dash-update-component", charts.encode(), json),
    ]

    def once() -> float:
        begun = time.monotonic()
        for request in requests:
            with urllib.request.urlopen(request, timeout=60) as response:
                response.read()
        return time.monotonic() - begun

    return statistics.median(once() for _ in range(ROUNDS))
