"""Tests of notices about jobs that ended in Chromium: in time, once, to the owner alone, in words, and with a link."""

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, Response, expect

from tests.end_to_end.running import PASSWORD, WAIT, RunningApp, add_counting_pages, log_in, wait_until
from tests.end_to_end.tabs import Tabs
from tests.proxy import Proxy

MOST_S = 3.0  # seconds until the owner reads that a job has ended
SLOW = 1000 * WAIT
NEWS = re.compile("/_jobs/mine")

ADD_USERS = f"""
from app.access import accounts
for name in ("ann", "ben"):
    accounts.users.add(name, "{PASSWORD}", admin=name == "ben")
"""
FAILING = """
from app.jobs import huey


@huey.task(retries=1)
def fetch() -> None:
    raise ValueError("no prices of MSFT")
"""
START_FAILING = "from app.jobs.failing import fetch; fetch.using(owner='ann')()"

pytestmark = [pytest.mark.long, pytest.mark.parametrize("app", ["blank under /explorer/"], indirect=True)]


def notices(page: Page) -> Locator:
    return page.locator(".mantine-Notification-root")


def start(app: RunningApp, page: Page, name: str) -> None:
    """Start a job on its own page, where it is watched."""
    page.goto(f"{app.url}/counting-job")
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_text(f"counting {name}")).to_be_visible(timeout=SLOW)


def end(app: RunningApp, name: str) -> None:
    Path(app.folder, "notes", f"{name} may end").touch()


def hears(page: Page) -> None:
    """Wait until the page has heard the news of this moment, which it asks for soon after a click."""
    with page.expect_request(NEWS, timeout=SLOW) as asked:
        page.locator("h1").first.click()
    answer = asked.value.response()
    assert answer is not None
    answer.finished()


@pytest.fixture
def users(app: RunningApp) -> RunningApp:
    """Start an app with two users and the counting pages."""
    add_counting_pages(app.folder)
    app.folder.joinpath("app", "jobs", "failing.py").write_text(FAILING)
    subprocess.run([sys.executable, "-c", ADD_USERS], cwd=app.folder, check=True)
    app.start(AUTH="accounts")
    return app


@pytest.mark.alone
def test_owner_on_another_page_is_told_within_three_seconds_once_and_nobody_else(
    users: RunningApp, watched: Page, browser: Browser
) -> None:
    app, beside = users, watched.context.new_page()
    watched.goto(f"{app.url}/hello")
    log_in(watched, "ann")
    expect(watched.get_by_label("Your name")).to_be_visible()
    ben = browser.new_page()
    ben.goto(f"{app.url}/hello")
    log_in(ben, "ben")
    beside.goto(f"{app.url}/hello")
    start(app, watched, "one")
    expect(watched.get_by_role("link", name="My jobs, 1 active")).to_be_visible(timeout=SLOW)
    watched.get_by_role("link", name="Hello").click()
    expect(watched.get_by_label("Your name")).to_be_visible()
    end(app, "one")
    wait_until(lambda: notices(watched).count() + notices(beside).count(), "a notice", MOST_S)
    told, silent = (watched, beside) if notices(watched).count() else (beside, watched)
    expect(notices(told)).to_contain_text("count")
    expect(notices(told)).to_contain_text("Done in")
    for page in (silent, ben):
        hears(page)
        expect(notices(page)).to_have_count(0)
    expect(notices(told)).to_have_count(1)
    expect(told.get_by_role("link", name="My jobs", exact=True)).to_be_visible()
    expect(notices(told)).to_have_css("opacity", "1")  # it fades in
    found = Axe().run(told)
    assert not found.violations_count, found.generate_report()
    notices(told).get_by_role("link", name="Open").click()
    expect(told).to_have_url(re.compile("/explorer/counting-job\\?job="))
    expect(told.get_by_text("counted one")).to_be_visible()
    expect(notices(told)).to_have_count(0)

    start(app, told, "two")  # on its page, which shows its end
    end(app, "two")
    expect(told.get_by_text("counted two")).to_be_visible(timeout=SLOW)
    hears(told)
    told.get_by_role("link", name="Hello").click()
    expect(told.get_by_label("Your name")).to_be_visible()
    hears(told)
    expect(notices(told)).to_have_count(0)

    subprocess.run([sys.executable, "-c", START_FAILING], cwd=app.folder, check=True)
    hears(told)
    expect(notices(told)).to_contain_text("Failed: ValueError: no prices of MSFT", timeout=SLOW)
    expect(notices(told)).to_have_count(1)
    expect(notices(told)).to_contain_text("fetch")

    ben.context.clear_cookies()  # the end of a session loses no form that is filled in
    ben.get_by_label("Your name").fill("typed")
    hears(ben)
    hears(ben)
    expect(ben.get_by_label("Your name")).to_have_value("typed")


def test_hidden_tab_asks_for_nothing_and_tells_when_it_is_seen(users: RunningApp, tabs: Tabs) -> None:
    app, page = users, tabs.open(f"{users.url}/hello")
    log_in(page, "ann")
    expect(page.get_by_label("Your name")).to_be_visible()
    start(app, page, "one")
    page.get_by_role("link", name="Hello").click()
    expect(page.get_by_label("Your name")).to_be_visible()
    hears(page)
    tabs.hide(page)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if NEWS.search(request.url) else None)
    end(app, "one")
    other = tabs.open(f"{app.url}/hello")
    expect(notices(other)).to_contain_text("Done in", timeout=SLOW)
    assert asked == []
    tabs.show(page)
    hears(page)
    expect(notices(page)).to_have_count(0)


def test_hanging_database_is_no_error_and_the_end_is_told_when_it_answers(
    app: RunningApp, watched: Page, fresh_postgres: str
) -> None:
    """Nobody logs in here, so this browser is told of the job whose panel it has shown."""
    add_counting_pages(app.folder)
    address = urlsplit(fresh_postgres)
    with Proxy(address.port or 0) as proxy:
        url = address._replace(netloc=f"{address.netloc.rpartition(':')[0]}:{proxy.port}").geturl()
        app.start(DATABASE_URL=url)
        start(app, watched, "one")
        hears(watched)
        watched.get_by_role("link", name="Hello").click()
        with watched.expect_response(is_silent, timeout=SLOW):
            proxy.cut()
        end(app, "one")
        proxy.join()
        expect(notices(watched)).to_contain_text("Done in", timeout=SLOW)
        expect(watched).to_have_url(re.compile("/hello$"))


def is_silent(answer: Response) -> bool:
    return bool(NEWS.search(answer.url)) and answer.status == 204
