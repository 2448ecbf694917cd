"""Tests of the portfolio page in Chromium, in an app that runs its Procfile."""

import csv
import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from app.portfolio.universe import SYMBOLS
from jobqueue import DurableHuey
from tests.end_to_end.running import RunningApp, wait_until

ANALYSE = "app.jobs.analysis.analyse"
MINE = SYMBOLS[:18]  # of an uploaded file
SLOW = 60_000  # milliseconds that an analysis may take on a busy machine
INVALID = [  # a field's label, its value, and words of the message beside it
    ("Training window", "8300", "Train on"),
    ("Training window", "", "Enter a whole number"),
    ("Rebalanced every", "0", "Enter between"),
    ("Weight of one asset, at most", "4", "add up to 80 %"),
    ("Assets", "", "Choose at least one asset"),
]


@pytest.fixture
def desk(app: RunningApp, watched: Page) -> Page:
    app.start()
    watched.goto(app.url)
    expect(watched.get_by_role("heading", name="Walk-forward analysis")).to_be_visible()
    return watched


def fill(desk: Page, label: str, value: str) -> None:
    field = desk.get_by_label(label)
    field.fill(value)
    field.blur()


def start(desk: Page) -> None:
    desk.get_by_role("button", name="Start the analysis").click()


def percent(bar: Locator) -> float:
    return float(bar.get_attribute("aria-valuenow") or 0)


def test_analysis_from_form_to_four_charts_survives_a_reload(desk: Page, app: RunningApp, tmp_path: Path) -> None:
    with desk.expect_file_chooser() as chooser:
        desk.get_by_role("button", name="Or take the assets from a file").click()
    chooser.value.set_files(
        {"name": "mine.csv", "mimeType": "text/csv", "buffer": "\n".join(["ticker", *MINE]).encode()}
    )
    expect(desk.get_by_text("mine.csv is uploaded")).to_be_visible(timeout=SLOW)
    fill(desk, "Training window", "504")
    fill(desk, "Rebalanced every", "63")
    start(desk)
    # The button that starts it is far below.
    expect(desk.get_by_text(re.compile(r"window \d+ of 123"))).to_be_in_viewport(timeout=SLOW)
    assert "job=" in desk.url
    bar = desk.get_by_role("progressbar")
    before = percent(bar)
    wait_until(lambda: percent(bar) > before, "progress moves")

    desk.reload()
    expect(desk.get_by_text(re.compile(r"window \d+ of 123"))).to_be_visible(timeout=SLOW)
    expect(desk.get_by_text("Done in")).to_be_visible(timeout=SLOW)
    expect(desk.locator(".js-plotly-plot")).to_have_count(4)
    for figure in ("Sharpe", "Sortino", "drawdown", "Volatility", "Turnover", "CAGR"):
        expect(desk.get_by_role("cell", name=re.compile(figure, re.IGNORECASE)).first).to_be_visible()

    desk.get_by_role("button", name="Download", exact=True).click()
    with desk.expect_download(timeout=SLOW) as download:
        desk.get_by_role("link", name="CSV").first.click()
    download.value.save_as(tmp_path / "weights.csv")
    rows = list(csv.reader((tmp_path / "weights.csv").read_text().splitlines()))
    assert rows[0] == ["from", *MINE] and len(rows) == 1 + 123
    assert all(abs(sum(map(float, row[1:])) - 1) < 1e-4 for row in rows[1:])

    elsewhere = desk.context.browser.new_context().new_page()  # type: ignore[union-attr]
    elsewhere.goto(desk.url)
    expect(elsewhere.locator(".js-plotly-plot")).to_have_count(4, timeout=10_000)
    elsewhere.close()


def test_cancelled_analysis_ends_and_the_page_shows_it(desk: Page, app: RunningApp) -> None:
    start(desk)
    expect(desk.get_by_text(re.compile(r"window \d+ of 335"))).to_be_visible(timeout=SLOW)
    desk.get_by_role("button", name="Cancel").click()
    expect(desk.get_by_text("Cancelled.")).to_be_visible()
    expect(desk.get_by_role("button", name="Try again")).to_be_visible()
    expect(desk.get_by_role("progressbar")).to_have_count(0)


@pytest.mark.long
def test_invalid_input_and_an_unknown_job_show_a_message(desk: Page, app: RunningApp) -> None:
    """Test one field after the other on a fresh page."""
    for label, value, message in INVALID:
        desk.goto(app.url)
        expect(desk.get_by_label("Training window")).to_be_visible()
        if label == "Assets":
            for _ in range(20):
                desk.locator("#analysis-assets").press("Backspace")
        else:
            fill(desk, label, value)
        start(desk)
        expect(desk.get_by_text(message)).to_be_visible()
        assert "job=" not in desk.url
    jobs = DurableHuey("seen", f"sqlite:///{app.folder}/var/jobs.sqlite").jobs(task=ANALYSE)
    assert jobs == []
    desk.goto(f"{app.url}/analysis?job=%3Cscript%3Enone")
    expect(desk.get_by_text("No such job")).to_be_visible()
