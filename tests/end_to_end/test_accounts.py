"""Tests of accounts in Chromium: logging in and out, and that every page works within the security headers."""

import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Response, expect

from tests.end_to_end.running import PASSWORD, RunningApp, add_counting_pages, log_in

OTHER = "harbour lantern seven"
SLOW = 150_000  # milliseconds that a job may take


def users(app: RunningApp, *command: str, password: str = "") -> str:
    return subprocess.check_output(
        [sys.executable, "-W", "ignore", "-m", "app", "users", *command],
        cwd=app.folder,
        env=os.environ | {"AUTH": "accounts"},
        input=f"{password}\n{password}\n",
        text=True,
        stderr=subprocess.STDOUT,
    )


@pytest.mark.parametrize("app", ["blank under /explorer/"], indirect=True)
def test_from_the_first_account_to_the_log_out(app: RunningApp, watched: Page, browser: Browser) -> None:
    app.start(AUTH="accounts")
    watched.goto(f"{app.url}/hello?x=1")
    expect(watched.get_by_text("python -m app users add NAME --admin")).to_be_visible()
    users(app, "add", "ann", password=PASSWORD)
    watched.reload()
    log_in(watched, "ann", "wrong")
    expect(watched.get_by_role("alert")).to_have_text("Wrong name or password.")
    log_in(watched, "ann", PASSWORD)
    expect(watched).to_have_url(f"{app.url}/hello?x=1")

    watched.get_by_label("Your name").fill("ann")
    watched.get_by_role("button", name="Say hello").click()
    expect(watched.get_by_text("Hello, ann!")).to_be_visible(timeout=SLOW)
    address = watched.url
    watched.get_by_label("The account of ann").click()
    watched.get_by_role("button", name="Log out").click()
    expect(watched).to_have_url(f"{app.url}/login")

    first = re.findall(r"ben can log in with (\S+) for", users(app, "add", "ben"))[0]
    log_in(watched, "ben", first)
    watched.get_by_label("Current password").fill(first)
    watched.get_by_label("New password").fill(OTHER)
    watched.get_by_role("button", name="Change password").click()
    expect(watched.get_by_role("status")).to_contain_text("Your password has been changed.")
    watched.goto(address)
    expect(watched.get_by_text("No such job")).to_be_visible()
    expect(watched.get_by_text("Hello, ann!")).to_have_count(0)

    watched.get_by_label("The account of ben").click()
    watched.get_by_role("button", name="Log out").click()
    attacker = browser.new_page()
    attacker.goto(f"{app.url}/login")
    for _ in range(11):
        log_in(attacker, "ben", "wrong")
    expect(attacker.get_by_role("alert")).to_have_text("Too many failed log-ins. Try again in 5 minutes.")
    attacker.close()
    log_in(watched, "ben", OTHER)  # in a known browser
    expect(watched.get_by_label("Your name")).to_be_visible()


@pytest.mark.long
@pytest.mark.parametrize("app", ["blank under /explorer/"], indirect=True)
def test_page_with_an_ended_session_leads_to_the_log_in_and_back(app: RunningApp, page: Page) -> None:
    users(app, "add", "ann", password=PASSWORD)
    app.start(AUTH="accounts")
    page.goto(f"{app.url}/hello")
    log_in(page, "ann", PASSWORD)
    expect(page.get_by_role("button", name="Say hello")).to_be_visible()
    users(app, "passwd", "ann", password=OTHER)
    page.get_by_role("button", name="Say hello").click()
    log_in(page, "ann", OTHER)
    expect(page.get_by_role("button", name="Say hello")).to_be_visible()


@pytest.mark.long
def test_every_page_works_within_the_security_headers(app: RunningApp, watched: Page) -> None:
    users(app, "add", "ann", password=PASSWORD)
    app.start(AUTH="accounts")
    watched.goto(app.url)
    log_in(watched, "ann", PASSWORD)
    watched.get_by_label("Variance").click()
    watched.get_by_label("Rebalanced every").fill("252 days")  # 28 windows, not 335
    watched.get_by_role("button", name="Start the analysis").click()
    expect(watched).to_have_url(re.compile("job="))
    watched.goto(f"{app.url}/frontier")
    watched.get_by_role("button", name="Compute").click()
    expect(watched.locator(".js-plotly-plot")).to_be_visible(timeout=SLOW)
    watched.locator(".js-plotly-plot").hover()
    with watched.expect_download() as picture:
        watched.locator(".modebar-btn").first.click()
    assert picture.value.suggested_filename.endswith(".png")
    watched.get_by_role("button", name="Light or dark").click()
    watched.goto(f"{app.url}/no/such/page")
    expect(watched.get_by_text("There is no such page")).to_be_visible()
    watched.goto(f"{app.url}/")
    watched.get_by_role("link", name="open").first.click()
    expect(watched.locator(".js-plotly-plot")).to_have_count(4, timeout=SLOW)  # charts move what is below
    expect(watched.locator(".js-plotly-plot .main-svg").nth(-1)).to_be_visible(timeout=SLOW)
    watched.get_by_role("button", name="Download", exact=True).click(timeout=SLOW)
    with watched.expect_download(timeout=SLOW) as weights:
        watched.get_by_role("link", name="CSV").first.click(timeout=SLOW)
    assert weights.value.suggested_filename.startswith("analyse-Weights-")


@pytest.mark.long
@pytest.mark.parametrize("app", ["blank under /explorer/"], indirect=True)
def test_background_callback_belongs_to_the_user_who_started_it(
    app: RunningApp, watched: Page, browser: Browser
) -> None:
    add_counting_pages(app.folder)
    for name in ("ann", "ben"):
        users(app, "add", name, password=PASSWORD)
    app.start(AUTH="accounts")
    watched.set_default_timeout(SLOW)
    watched.goto(f"{app.url}/counting-callback")
    log_in(watched, "ann", PASSWORD)
    polls: list[Response] = []
    watched.on("response", lambda answer: polls.append(answer) if "cacheKey=" in answer.url else None)
    watched.get_by_label("Name").fill("one")
    watched.get_by_role("button", name="Start").click()
    expect(watched.get_by_text("counting one")).to_be_visible(timeout=SLOW)

    ben = browser.new_page()
    ben.set_default_timeout(SLOW)
    ben.goto(f"{app.url}/counting-callback")
    log_in(ben, "ben", PASSWORD)
    expect(ben.get_by_role("button", name="Start")).to_be_visible()
    poll = polls[-1].request
    replay = """([url, body]) => fetch(url, {method: "POST", headers: {"Content-Type": "application/json"}, body})
        .then(async answer => [answer.status, await answer.text()])"""
    Path(app.folder, "notes", "one may end").touch()
    expect(watched.get_by_text("counted one")).to_be_visible(timeout=SLOW)
    assert watched.evaluate(replay, [poll.url, poll.post_data])[0] == 200
    status, text = ben.evaluate(replay, [poll.url, poll.post_data])
    assert status == 404 and "counted" not in text
    ben.goto(watched.url)  # the address contains the callback's token
    expect(ben.get_by_role("button", name="Start")).to_be_enabled()
    expect(ben.get_by_text("counted one")).to_have_count(0)
    ben.close()


@pytest.mark.long
@pytest.mark.parametrize("app", ["blank"], indirect=True)
def test_page_of_a_pruned_job_shows_a_message(app: RunningApp, page: Page) -> None:
    users(app, "add", "ann", password=PASSWORD)
    app.start(AUTH="accounts")
    page.add_init_script("performance.now = () => 1e6")  # as if the page had been open for long
    page.goto(f"{app.url}/hello")
    log_in(page, "ann", PASSWORD)
    page.get_by_role("button", name="Say hello").click()
    expect(page.get_by_role("button", name="Cancel")).to_be_visible(timeout=SLOW)
    with sqlite3.connect(app.folder / "var" / "jobs.sqlite") as database:
        database.execute("DELETE FROM jobs")
    database.close()
    expect(page.get_by_text("No such job")).to_be_visible(timeout=SLOW)
