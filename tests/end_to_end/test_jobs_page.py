"""The jobs page in Chromium, before the app's real Procfile: each of its controls, over a reload and from a shared link.

One app serves all of it, as its start takes longer than most of what is done here.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from jobqueue import DurableHuey, State
from tests.end_to_end.running import RunningApp, wait_until

SLOW = 30_000  # milliseconds that anything may take on a busy machine

TASKS = '''
"""Jobs that fail, that take their time, and that run by themselves."""

import logging
import time

from app.jobs import huey
from jobqueue import current_job, every


@huey.task()
def fail(words: str) -> None:
    logging.getLogger("app.seen").warning("about to fail")
    current_job().step("before", list)
    raise ValueError(words)


@huey.task(queue="heavy")
def hold(seconds: int) -> None:
    for second in range(seconds):
        current_job().progress(second, seconds, "holding on")
        time.sleep(1)


@huey.periodic_task(every("day at 07:30", tz="Europe/Paris"))
def refresh() -> None:
    pass


@huey.dataset(every("day at 07:30"), stale_after="2 days")
def numbers() -> list[int]:
    return [1, 2, 3]
'''
SUBMIT = """
from app.jobs.seen import fail, hold
for n in range(30): fail.using(owner="ann")(f"no price on day {n}")
fail.using(owner="ben")("<b>" + "long" * 200 + "</b>")
hold.using(owner="ben")(600)
hold.using(owner="ann").schedule((600,), delay=3600)
"""

# Notes whatever was on the page and is not, or is another, at any moment at which it might be painted.
WATCH = """() => {
    const parts = [".ag-row", ".ag-row a", "#jobs-tiles a", ".recharts-surface", "#jobs-updated"];
    const there = parts.map((part) => document.querySelector(part)), title = document.title;
    window.flickered = new Set();
    new MutationObserver(() => {
        parts.filter((_, n) => !there[n].isConnected).forEach((part) => flickered.add(part));
        if (document.title !== title) flickered.add("title");
    }).observe(document, {subtree: true, childList: true, attributes: true, characterData: true});
}"""


@pytest.fixture
def desk(tmp_path: Path, bake: Callable[..., Path], watched: Page) -> Iterator[tuple[Page, RunningApp]]:
    folder = tmp_path / "app"
    shutil.copytree(bake(example="blank"), folder)
    folder.joinpath("app", "jobs", "seen.py").write_text(TASKS)
    app = RunningApp(folder)
    app.start()
    subprocess.run([sys.executable, "-c", SUBMIT], cwd=folder, check=True)
    huey = DurableHuey("seen", f"sqlite:///{folder}/var/jobs.sqlite")
    wait_until(lambda: len(huey.jobs(state=State.FAILED)) == 31, "the jobs fail", timeout=30)
    huey.storage.close()
    watched.set_default_timeout(SLOW)
    yield watched, app
    app.stop()


def rows(page: Page) -> list[str]:
    return [row.inner_text() for row in page.locator(".ag-center-cols-container .ag-row").all()]


def listed(page: Page, count: int) -> None:
    expect(page.locator(".ag-center-cols-container .ag-row")).to_have_count(count, timeout=SLOW)


def choose(page: Page, label: str, option: str) -> None:
    page.get_by_role("textbox", name=label).click()
    page.get_by_role("option", name=option, exact=True).click()


def select(page: Page, *numbers: int) -> None:
    for number in numbers:
        page.locator(".ag-row input[type=checkbox]").nth(number).check()


def test_every_control_of_the_jobs_page(desk: tuple[Page, RunningApp]) -> None:
    page, app = desk
    page.goto(f"{app.url}/jobs")
    expect(page.get_by_text(re.compile("Updated "))).to_be_visible(timeout=SLOW)
    listed(page, 25)
    expect(page.get_by_role("link", name="Running")).to_contain_text("1")
    expect(page.locator(".recharts-surface").first).to_be_visible()

    # Older, newer; what is on this page of the list stands in the address.
    page.get_by_role("button", name="Older").click()
    expect(page.get_by_text("26 to 33")).to_be_visible()
    page.reload()
    expect(page.get_by_text("26 to 33")).to_be_visible()
    page.get_by_role("button", name="Newer").click()
    listed(page, 25)

    # Filters, all of them together, over a reload and in another browser.
    choose(page, "State", "failed")
    choose(page, "Submitted", "Last hour")
    choose(page, "Queue", "default")
    choose(page, "Task", "app.jobs.seen.fail")
    page.get_by_label("Owner").fill("ann")
    page.get_by_label("Text").fill("DAY 17")
    listed(page, 1)
    assert "no price on day 17" in rows(page)[0]
    elsewhere = page.context.browser.new_context().new_page()  # type: ignore[union-attr]
    elsewhere.goto(page.url)
    listed(elsewhere, 1)
    elsewhere.close()
    page.reload()
    listed(page, 1)
    expect(page.get_by_label("Text")).to_have_value("DAY 17")
    page.get_by_label("Text").fill("there is no such error")
    expect(page.get_by_text("No job fits all of these filters.")).to_be_visible()
    page.get_by_role("button", name="Clear filters").click()
    listed(page, 25)
    assert "?" not in page.url

    # A link to this page leads to what it says, over and over.
    for _ in range(2):
        page.get_by_role("link", name="Failed in 24 h").click()
        expect(page.get_by_role("textbox", name="State")).to_have_value("failed")
        page.get_by_role("button", name="Clear filters").click()
        expect(page.get_by_role("textbox", name="State")).to_have_value("")

    # Retry and cancel what was selected, once that is confirmed; a look in between leaves that, and takes nothing away.
    page.get_by_role("link", name="Failed in 24 h").click()
    expect(page.get_by_role("textbox", name="State")).to_have_value("failed")
    listed(page, 25)
    select(page, 1, 2)
    page.evaluate(WATCH)
    updated = page.get_by_text(re.compile("Updated ")).inner_text()
    expect(page.get_by_text(updated)).to_have_count(0, timeout=SLOW)
    assert page.evaluate("[...flickered]") == []
    page.get_by_role("button", name="Retry 2", exact=True).click()
    page.get_by_role("button", name="Leave them").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_role("button", name="Retry 2", exact=True).click()
    expect(page.get_by_role("dialog")).to_contain_text("Retry 2 jobs?")
    page.get_by_role("button", name="Retry 2 jobs").click()
    expect(page.get_by_text("Queued again: 2 of 2 jobs.")).to_be_visible()
    expect(page.get_by_role("button", name="Retry", exact=True)).to_be_disabled()
    page.goto(f"{app.url}/jobs?state=scheduled")
    listed(page, 1)
    select(page, 0)
    page.get_by_role("button", name="Cancel 1", exact=True).click()
    page.get_by_role("button", name="Cancel 1 job").click()
    expect(page.get_by_text("Cancelled: 1 of 1 job.")).to_be_visible()
    expect(page.get_by_text("No job fits all of these filters.")).to_be_visible()

    # A job that fails: what happened, and again.
    page.goto(f"{app.url}/jobs?text=long&state=failed")
    page.get_by_role("link", name="fail", exact=True).click()
    expect(page.get_by_role("heading", name="fail", exact=True)).to_be_visible()
    page.get_by_text("Traceback of attempt 1").click()
    expect(page.get_by_text("raise ValueError(words)").last).to_be_visible()
    expect(page.get_by_role("log")).to_contain_text("about to fail")
    expect(page.get_by_role("cell", name="before")).to_be_visible()
    assert page.locator("b", has_text="longlong").count() == 0
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_text("Put back by a person")).to_be_visible()
    expect(page.get_by_text("Traceback of attempt 2")).to_be_visible(timeout=SLOW)
    before = page.url
    page.get_by_role("button", name="Run again as a new job").click()
    page.wait_for_url(lambda url: "/jobs/" in url and url != before)
    expect(page.get_by_text("Traceback of attempt 1")).to_be_visible(timeout=SLOW)

    # One that runs: its progress moves, and it is cancelled.
    page.get_by_role("link", name="Jobs", exact=True).last.click()
    page.goto(f"{app.url}/jobs?state=running")
    page.get_by_role("gridcell", name="hold", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("progressbar")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("Cancelled.").first).to_be_visible()
    expect(page.get_by_role("button", name="Retry")).to_be_visible()

    # Schedules, datasets, and workers.
    page.goto(f"{app.url}/jobs")
    page.get_by_role("tab", name="Schedules").click()
    expect(page.get_by_text("every day at 07:30 (Europe/Paris)")).to_be_visible()
    page.get_by_role("button", name="Pause: refresh").click()
    expect(page.get_by_text("Paused since")).to_be_visible()
    page.get_by_role("button", name="Resume: refresh").click()
    expect(page.get_by_text("Next:")).to_have_count(2)
    page.get_by_role("button", name="Run now: refresh").click()
    expect(page.get_by_text(re.compile("refresh: Queued as job"))).to_be_visible()
    page.get_by_role("tab", name="Datasets").click()
    expect(page.get_by_text("no version yet")).to_be_visible()
    page.get_by_role("button", name="Refresh: numbers").click()
    expect(page.get_by_text(re.compile("numbers: Queued as job"))).to_be_visible()
    expect(page.get_by_text("fresh", exact=True)).to_be_visible(timeout=SLOW)
    expect(page.get_by_role("link", name=re.compile("^job "))).to_be_visible()
    page.get_by_role("tab", name="Workers").click()
    expect(page.get_by_role("cell", name=re.compile("worker-1"))).to_be_visible()
    assert "tab=workers" in page.url

    # A hidden tab asks for nothing, and at once when it is seen again.
    ticks = "window.dash_component_api.getLayout('jobs-tick').props.disabled"
    page.evaluate("Object.defineProperty(document, 'hidden', {get: () => window.hides, configurable: true})")
    page.evaluate("window.hides = true; document.dispatchEvent(new Event('visibilitychange'))")
    assert page.evaluate(ticks) is True
    with page.expect_response(re.compile("_dash-update-component")):
        page.evaluate("window.hides = false; document.dispatchEvent(new Event('visibilitychange'))")
    assert not page.evaluate(ticks)

    # No such job.
    page.goto(f"{app.url}/hello")
    page.evaluate("history.pushState({}, '', '/jobs/none'); window.dispatchEvent(new Event('_dashprivate_pushstate'))")
    expect(page.get_by_text("No such job")).to_be_visible()
