"""The market page in Chromium, on Postgres and Redis: from no data at all to prices that come by themselves, and stay whoever dies."""

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
MORE = 0.1  # seconds that the page may take longer when Redis does not answer


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
    charts_are_shown(watched)

    another_version_comes(app, settings, watched)
    before = seconds_of_the_page(app, asked)
    valkey.pause()
    try:
        another_version_comes(app, settings, watched)
        assert seconds_of_the_page(app, asked) < before + MORE

        workers = [process for process in app.processes() if "worker" in process.cmdline()]
        for worker in workers:
            worker.suspend()
        watched.reload()
        charts_are_shown(watched)
        assert seconds_of_the_page(app, asked) < before + MORE
    finally:
        valkey.resume()
        for process in app.processes():
            if process.status() == psutil.STATUS_STOPPED:
                process.resume()


@pytest.mark.long
def test_the_least_risky_portfolio_comes_over_a_reload(app: RunningApp, watched: Page) -> None:
    """The example's background callback, where one has to log in."""
    start = ready_to_work_it_out(app, watched, draws=300)  # so that it goes on for some seconds
    work_it_out(watched)
    watched.reload()
    expect(watched.get_by_text("its volatility was")).to_be_visible(timeout=SLOW)
    expect(watched.locator("#weights-chart .js-plotly-plot")).to_be_visible()
    expect(start).to_be_enabled()
    assert how_it_ended(app) == [("succeeded", "ann")]


@pytest.mark.long
def test_the_least_risky_portfolio_can_be_cancelled(app: RunningApp, watched: Page) -> None:
    start = ready_to_work_it_out(app, watched, draws=100_000)  # it would take an hour
    work_it_out(watched)
    watched.get_by_role("button", name="Cancel").click()
    expect(start).to_be_enabled(timeout=SLOW)
    expect(watched.get_by_role("progressbar")).to_have_count(0)
    assert how_it_ended(app) == [("cancelled", "ann")]


def ready_to_work_it_out(app: RunningApp, page: Page, draws: int) -> Locator:
    """Ann has logged in, and the prices are there. Returns the button."""
    code = app.folder / "app" / "pages" / "market_weights.py"
    code.write_text(re.sub("^DRAWS = .*", f"DRAWS = {draws}", code.read_text(), flags=re.MULTILINE))
    users(app, "add", "ann", password=PASSWORD)
    app.start(AUTH="accounts")
    page.goto(f"{app.url}/market")
    log_in(page, "ann", PASSWORD)
    page.get_by_role("button", name="Refresh now").click()
    charts_are_shown(page)
    return page.get_by_role("button", name="Compute")


def how_it_ended(app: RunningApp) -> list[tuple[str, str | None]]:
    queue = DurableHuey("seen", f"sqlite:///{app.folder}/var/jobs.sqlite")
    return [(str(job.state), job.owner) for job in queue.jobs() if job.task.startswith("callback.")]


def work_it_out(page: Page) -> None:
    """Starts it, and sees it run."""
    start = page.get_by_role("button", name="Compute")
    start.click()
    expect(start).to_be_disabled()
    expect(page.get_by_text(re.compile(r"^history \d+ of \d+$"))).to_be_visible(timeout=SLOW)


def another_version_comes(app: RunningApp, settings: dict[str, str], page: Page) -> None:
    """The page shows it by itself."""
    shown = page.get_by_text("as of ").inner_text()
    command = [sys.executable, "-m", "app", "datasets", "refresh", "prices"]
    subprocess.run(command, cwd=app.folder, env=os.environ | settings, check=True, capture_output=True)
    expect(page.get_by_text(shown)).to_have_count(0, timeout=SLOW)
    charts_are_shown(page)


def charts_are_shown(page: Page) -> None:
    expect(page.get_by_text("as of ")).to_be_visible(timeout=SLOW)
    expect(page.locator("#market-charts .js-plotly-plot")).to_have_count(3, timeout=SLOW)


def seconds_of_the_page(app: RunningApp, asked: list[str]) -> float:
    """Return the server's time for the whole page, its frame, the newest version and the charts: the median of ROUNDS."""
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
