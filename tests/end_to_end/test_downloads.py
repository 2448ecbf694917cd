"""A person downloads the files of a result, from the page of the task and from the job's page."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.end_to_end.running import PASSWORD, WAIT, RunningApp, log_in

SLOW = 1000 * WAIT  # milliseconds
PNG = b"\x89PNG\r\n\x1a\n"

JOBS = """
import pandas as pd
import plotly.graph_objects as go

from app.jobs import huey


@huey.task()
def sales():
    table = pd.DataFrame({"region": ["Zürich", "=1+1"], "net": [1.5, -2.0]})
    return {"By region": table, "Chart": go.Figure(go.Bar(x=table["region"], y=table["net"]))}
"""
PAGE = """
import dash
from dash import html

from app.access import jobs
from app.jobs.sales import sales

dash.register_page(__name__, path="/sales")
panel = jobs.panel(__name__, task=sales, show=lambda result: html.P("Two regions"))


def layout(job=None, **_):
    return panel(job)
"""
SUBMIT = f"""
from app.access import accounts
from app.jobs.sales import sales
for name in ("ann", "ben"):
    accounts.users.add(name, "{PASSWORD}")
print(sales.using(owner="ann")().id)
"""


def save(page: Page, link: str, folder: Path) -> Path:
    """Press a link of the open menu, and return the path of the file that it downloads."""
    with page.expect_download(timeout=SLOW) as download:
        page.get_by_role("link", name=link, exact=True).click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


@pytest.mark.long
@pytest.mark.parametrize("app", ["blank under /explorer/"], indirect=True)
def test_result_is_downloaded_by_its_owner_alone(
    app: RunningApp, watched: Page, browser: Browser, tmp_path: Path
) -> None:
    (app.folder / "app" / "jobs" / "sales.py").write_text(JOBS, encoding="utf-8")
    (app.folder / "app" / "pages" / "sales.py").write_text(PAGE, encoding="utf-8")
    command = [sys.executable, "-W", "ignore", "-c", SUBMIT]
    job_id = subprocess.check_output(command, cwd=app.folder, env=os.environ | {"AUTH": "accounts"}, text=True).strip()
    app.start(AUTH="accounts")
    page = watched
    page.goto(f"{app.url}/sales?job={job_id}")
    log_in(page, "ann")
    page.get_by_role("button", name="Download", exact=True).click(timeout=SLOW)

    csv, excel = (save(page, link, tmp_path) for link in ("CSV", "Excel"))
    assert csv.name.startswith("sales-By region-") and csv.suffix == ".csv" and excel.suffix == ".xlsx"
    assert pd.read_csv(csv).values.tolist() == [["Zürich", 1.5], ["'=1+1", -2.0]]
    assert pd.read_excel(excel).values.tolist() == [["Zürich", 1.5], ["=1+1", -2.0]]
    picture, chart = (save(page, link, tmp_path) for link in ("PNG", "HTML"))
    assert picture.name.startswith("sales-Chart-") and picture.read_bytes().startswith(PNG)
    assert json.loads(save(page, "JSON", tmp_path).read_text(encoding="utf-8"))["By region"]["columns"] == [
        "region",
        "net",
    ]

    page.goto(f"{app.url}/jobs/{job_id}")
    page.get_by_role("button", name="Download", exact=True).press("Enter", timeout=SLOW)
    expect(page.get_by_role("link", name="PNG")).to_be_visible(timeout=SLOW)
    assert save(page, "CSV", tmp_path).read_bytes() == csv.read_bytes()
    assert save(page, "PNG", tmp_path).read_bytes().startswith(PNG)  # on a page without a chart
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name="PNG")).to_be_hidden()

    offline = browser.new_page()
    offline.goto(chart.as_uri())
    expect(offline.locator(".js-plotly-plot .bars .point")).to_have_count(2)
    stranger = browser.new_page()
    stranger.goto(f"{app.url}/hello")
    log_in(stranger, "ben")
    expect(stranger.get_by_role("button", name="Say hello")).to_be_visible(timeout=SLOW)
    addresses = [
        f"{app.url}/jobs/{job_id}/result?part=0&kind=csv",
        f"{app.url}/_panels/result?panel=app.pages.sales&job={job_id}&part=0&kind=csv",
    ]
    assert [page.request.get(address).status for address in addresses] == [200, 200]
    assert [stranger.request.get(address).status for address in addresses] == [404, 404]
    assert stranger.request.get(addresses[0]).headers["cache-control"] == "no-store"
    assert browser.new_context().request.get(addresses[0], max_redirects=0).status in (302, 401)
