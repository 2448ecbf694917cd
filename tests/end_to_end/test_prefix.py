"""Tests of an app under a URL prefix in Chromium, with accounts: links, forms, redirects and assets stay under it.

Either the app serves the prefix, or a proxy strips it from the requests. The proxy is nginx, with the configuration
from the generated README.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import pytest
from playwright.sync_api import Page, Request, expect

from tests import nginx
from tests.end_to_end.running import PASSWORD, WAIT, RunningApp, log_in, open_page

PREFIX = "/explorer/"  # as in the README
WAYS = {"served": "DASH_URL_BASE_PATHNAME", "stripped": "DASH_REQUESTS_PATHNAME_PREFIX"}
SLOW = 1000 * WAIT  # milliseconds
OTHER = "harbour lantern seven"

# Creates a user, and an analysis to which the analysis page links. The blank example has a part of these pages.
SET_UP = f"""
from app.access import accounts
from app.jobs.analysis import analyse
accounts.users.add("ann", "{PASSWORD}", admin=True)
analyse.using(owner="ann").schedule((["AAPL", "KO"],), delay=3600)
"""

LINKS = """() => ({
    links: [...document.querySelectorAll("a[href]")].map((link) => link.href),
    others: [...document.querySelectorAll("form, link[href], script[src], img[src]")].map((part) => part.action || part.href || part.src),
})"""


@pytest.fixture(params=WAYS)
def site(app: RunningApp, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield the app's URL with its prefix, as browsers see it. Other paths on this host do not belong to the app."""
    subprocess.run([sys.executable, "-c", SET_UP], cwd=app.folder, check=True)
    app.start(AUTH="accounts", **{WAYS[request.param]: PREFIX})
    with nginx.before(app.port, tmp_path / "nginx", strips=request.param == "stripped") as port:
        yield f"http://127.0.0.1:{port}{PREFIX}"


@pytest.mark.long
def test_every_link_form_redirect_and_asset_stays_under_the_prefix(site: str, watched: Page) -> None:
    page = watched
    asked: list[Request] = []
    page.set_default_timeout(SLOW)
    page.on("request", lambda request: asked.append(request))

    page.goto(f"{site}hello?x=1")
    expect(page).to_have_url(f"{site}login?next=/hello%3Fx%3D1")
    log_in(page, "ann", "wrong")
    log_in(page, "ann")
    expect(page).to_have_url(f"{site}hello?x=1", timeout=SLOW)

    greet_and_run_again(page, site)
    crawled = crawl(page, site)
    names = menu(page, site)
    assert {"hello", "jobs", "jobs/<id>", "account"} <= crawled
    assert {name.lower() for name in names} <= crawled
    for name in names:  # the links work without a reload
        page.get_by_role("link", name=name, exact=True).first.click()
        expect(page).to_have_url(f"{site}{name.lower()}")

    page.goto(f"{site}no/such/page")
    expect(page.get_by_text("There is no such page")).to_be_visible()
    assert page.goto(f"{site}jobs/none").status == 404  # type: ignore[union-attr]
    page.get_by_role("link", name="All jobs").click()
    expect(page).to_have_url(f"{site}jobs")

    page.get_by_label("The account of ann").click()
    page.get_by_label("Current password").fill(PASSWORD)
    page.get_by_label("New password").fill(OTHER)
    page.get_by_role("button", name="Change password").click()
    page.get_by_role("link", name="Back to the app").click()
    page.get_by_label("The account of ann").click()
    page.get_by_role("button", name="Log out").click()
    expect(page).to_have_url(f"{site}login")
    assert outside(site, [request.url for request in asked]) == []
    assert outside(site, [address for request in asked for address in redirect(request)]) == []


def greet_and_run_again(page: Page, site: str) -> None:
    page.get_by_role("button", name="Say hello").click()
    page.wait_for_url(f"{site}hello?job=*")
    first = page.url
    expect(page.get_by_text("Hello, world!")).to_be_visible(timeout=SLOW)
    page.get_by_role("button", name="Run again").click()
    page.wait_for_url(lambda url: url.startswith(f"{site}hello?job=") and url != first)


def crawl(page: Page, site: str) -> set[str]:
    """Follow one link to each kind of page. Return the kinds: paths with `<id>` in place of a job's id."""
    todo = [site]
    seen: set[str] = set()
    while todo:
        address = todo.pop()
        open_page(page, address)
        found = page.evaluate(LINKS)
        assert outside(site, found["links"] + found["others"]) == [], f"on {address}"
        for link in found["links"]:
            kind = re.sub(r"[0-9a-f-]{36}", "<id>", link.removeprefix(site).partition("#")[0].partition("?")[0])
            if kind not in seen:
                seen.add(kind)
                todo.append(link)
    return seen


def menu(page: Page, site: str) -> list[str]:
    page.goto(site)
    links = page.get_by_role("navigation").first.get_by_role("link")
    expect(links.first).to_be_visible()
    return links.all_inner_texts()


def redirect(request: Request) -> list[str]:
    """Return the address to which the answer to a request redirects, if any."""
    answer = request.response() if request.redirected_to else None
    return [urljoin(request.url, answer.headers["location"])] if answer else []


def outside(site: str, addresses: list[str]) -> list[str]:
    return [address for address in addresses if not address.startswith((site, "data:", "blob:"))]
