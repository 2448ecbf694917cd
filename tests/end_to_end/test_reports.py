"""Reports as people open them: in a frame, from a saved file and on paper. A stranger's script got into the notebook."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.end_to_end.running import PASSWORD, WAIT, RunningApp, log_in

pytestmark = pytest.mark.long
SLOW = 1000 * WAIT  # milliseconds
REFUSED = "SecurityError, no answer"

JOBS = """
from app.jobs import huey

weekly = huey.notebook("notebooks/reports/weekly.ipynb", pdf=True)
hello_pdf = huey.page_report("/hello?job={job}", pdf=True)
"""
FIGURE = 'import plotly.express as px\npx.bar(x=["Mon", "Tue"], y=[3, 1], title="Sales")'
# PORT: of a server elsewhere.
SCRIPT = '''from IPython.display import HTML
HTML("""<p id="got">nothing</p><script>
const got = document.getElementById("got");
try { got.textContent = document.cookie } catch (error) { got.textContent = error.name }
fetch("/explorer/jobs").then(() => got.textContent += ", an answer", () => got.textContent += ", no answer");
new Image().src = "http://127.0.0.1:PORT/image";
</script>""")'''
SUBMIT = f"""
from app.access import accounts
from app.jobs.weekly import weekly
for name in ("ann", "ben"):
    accounts.users.add(name, "{PASSWORD}")
print(weekly.using(owner="ann")().id)
"""


def add_report(folder: Path, port: int) -> None:
    (folder / "app" / "jobs" / "weekly.py").write_text(JOBS)
    page = folder / "app" / "pages" / "hello.py"
    text = page.read_text().replace("task=greet)", "task=greet, pdf=hello_pdf)")
    page.write_text(text.replace("import greet\n", "import greet\nfrom app.jobs.weekly import hello_pdf\n", 1))
    cells = [
        nbformat.v4.new_markdown_cell("# The week"),
        *map(nbformat.v4.new_code_cell, (FIGURE, SCRIPT.replace("PORT", str(port)))),
    ]
    path = folder / "notebooks" / "reports" / "weekly.ipynb"
    path.parent.mkdir(parents=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)


@pytest.fixture
def elsewhere() -> Iterator[socket.socket]:
    """A port of this host at which nobody may connect."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener


@pytest.mark.parametrize("app", ["blank under /explorer/"], indirect=True)
def test_report_is_shown_saved_and_printed_for_its_owner_alone(
    app: RunningApp, page: Page, browser: Browser, elsewhere: socket.socket, tmp_path: Path
) -> None:
    add_report(app.folder, elsewhere.getsockname()[1])
    command = [sys.executable, "-W", "ignore", "-c", SUBMIT]
    job_id = subprocess.check_output(command, cwd=app.folder, env=os.environ | {"AUTH": "accounts"}, text=True).strip()
    app.start(AUTH="accounts")

    address = f"{app.url}/jobs/{job_id}"
    page.goto(address)
    log_in(page, "ann")
    frame = page.frame_locator("iframe[title='The week']")
    expect(frame.locator(".js-plotly-plot .bars .point")).to_have_count(2, timeout=SLOW)
    expect(frame.locator("#got")).to_have_text(REFUSED)
    with page.expect_download() as saved:
        page.get_by_role("link", name="HTML").click()
    assert saved.value.suggested_filename == "The week.html"
    saved.value.save_as(tmp_path / "week.html")
    with page.expect_download() as paper:
        page.get_by_role("link", name="PDF").click()
    assert b"/Title (The week)" in paper.value.path().read_bytes()

    file = browser.new_page()
    file.goto((tmp_path / "week.html").as_uri())
    expect(file.locator(".js-plotly-plot .bars .point")).to_have_count(2)
    expect(file.locator("#got")).to_contain_text("no answer")
    file.close()
    with pytest.raises(BlockingIOError):  # neither the frame, nor the file, nor the print has connected
        elsewhere.accept()

    stranger = browser.new_page()
    stranger.goto(f"{app.url}/hello")
    log_in(stranger, "ben")
    expect(stranger.get_by_role("button", name="Say hello")).to_be_visible()
    kinds = ("html", "ipynb", "pdf")
    assert [stranger.request.get(f"{address}/report.{kind}").status for kind in kinds] == [404] * 3
    assert [page.request.get(f"{address}/report.{kind}").status for kind in kinds] == [200] * 3
    stranger.close()

    page.goto(f"{app.url}/hello")
    page.get_by_role("button", name="Say hello").click()
    page.get_by_role("button", name="PDF").click(timeout=SLOW)
    with page.expect_download(timeout=2 * SLOW) as printed:
        page.get_by_role("link", name="PDF", exact=True).click(timeout=2 * SLOW)
    assert page.url.startswith(f"{app.url}/jobs/")
    title = "Hello ·".encode("utf-16-be").hex().upper()  # as a PDF has it. The log-in page has another
    assert title.encode() in printed.value.path().read_bytes()
