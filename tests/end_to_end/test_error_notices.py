"""Tests of error notices in Chromium: pages report a hanging database in time, and notices cover no controls."""

import os
import subprocess
import sys
import time
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.end_to_end.running import PASSWORD, RunningApp, log_in
from tests.proxy import Proxy

MOST_MS = 5000  # until a page reports that the database does not answer
HANGS = "The database does not answer"
ADD_USER = f'from app.access import accounts; accounts.users.add("ann", "{PASSWORD}", admin=True)'

FAILING = """
import dash
import dash_mantine_components as dmc
from dash import Input, Output, callback, html

dash.register_page(__name__, path="/failing")


def layout(**_):
    places = {"top": {"top": 10}, "bottom": {"bottom": 10}}
    return html.Div(
        [
            dmc.Button(f"Fail at the {place}", id=place, style={"position": "fixed", "left": "45%", "zIndex": 150, **style})
            for place, style in places.items()
        ]
        + [html.Div(id="failed")]
    )


@callback(Output("failed", "children"), Input("top", "n_clicks"), Input("bottom", "n_clicks"), prevent_initial_call=True)
def fail(*_):
    raise ValueError("a mistake of the app")
"""

pytestmark = pytest.mark.parametrize("app", ["blank"], indirect=True)


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.parametrize("auth", ["off", "accounts"])
def test_pages_say_within_five_seconds_that_the_database_hangs(
    app: RunningApp, page: Page, fresh_postgres: str, auth: str
) -> None:
    address = urlsplit(fresh_postgres)
    with Proxy(address.port or 0) as proxy:
        url = address._replace(netloc=f"{address.netloc.rpartition(':')[0]}:{proxy.port}").geturl()
        app.start(DATABASE_URL=url, AUTH=auth)
        page.goto(app.url)
        if auth == "accounts":
            add = {"DATABASE_URL": fresh_postgres, "AUTH": auth}
            subprocess.run([sys.executable, "-c", ADD_USER], cwd=app.folder, env=os.environ | add, check=True)
            page.reload()
            log_in(page, "ann")
        page.get_by_label("Your name").fill("ann")
        page.get_by_role("button", name="Say hello").click()
        expect(page.get_by_text("Hello, ann!")).to_be_visible(timeout=15_000)
        job = page.url
        page.goto(f"{app.url}/jobs")
        updated = page.locator("#jobs-updated")
        expect(updated).to_contain_text("Updated ")
        proxy.cut()
        seen = updated.inner_text()
        expect(page.get_by_text(HANGS)).to_be_visible(timeout=MOST_MS)
        for new in (job, f"{app.url}/jobs", f"{app.url}/jobs/{job.partition('job=')[2]}"):
            opened = page.context.new_page()
            began = time.monotonic()
            opened.goto(new)
            expect(opened.get_by_text(HANGS)).to_be_visible(timeout=MOST_MS - 1000 * (time.monotonic() - began))
        proxy.join()
        expect(updated).not_to_have_text(seen, timeout=15_000)


def test_notice_stays_until_dismissed_and_does_not_cover_the_button(app: RunningApp, watched: Page) -> None:
    app.folder.joinpath("app", "pages", "failing.py").write_text(FAILING)
    app.start()
    watched.clock.install()
    watched.goto(f"{app.url}/failing")
    notice = watched.locator(".mantine-Notification-root")
    for place in ("top", "bottom", "top"):
        button = watched.get_by_role("button", name=f"Fail at the {place}")
        button.click()
        expect(notice).to_contain_text("Something went wrong")
        expect(notice).to_have_css("opacity", "1")  # it fades in
        found = Axe().run(watched)
        assert not found.violations_count, found.generate_report()
        button.click(trial=True)  # the notice does not cover the button
        watched.clock.fast_forward("10:00")
        expect(notice).to_be_visible()
        notice.get_by_role("button", name="Close").click()
        expect(notice).to_have_count(0)
