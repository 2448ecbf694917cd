"""Tests of the blank example's page in Chromium: a greeting, its address, and the message for a failed job."""

import subprocess
import sys

import pytest
from playwright.sync_api import Page, expect

from jobqueue import DurableHuey
from tests.end_to_end.running import RunningApp

pytestmark = pytest.mark.parametrize("app", ["blank"], indirect=True)

WRONG = {
    "it raises": ("retries=1, retry_delay=1", 'raise ValueError(f"nobody is called {name}")', "nobody is called ann"),
    "its result cannot be kept": ("retries=1", "return object()", "Its result cannot be saved."),
}


def greet(page: Page, app: RunningApp) -> None:
    page.goto(app.url)
    page.get_by_label("Your name").fill("ann")
    page.get_by_role("button", name="Say hello").click()


def test_greeting_survives_a_reload(app: RunningApp, watched: Page) -> None:
    app.start()
    greet(watched, app)
    expect(watched.get_by_text("thinking about ann")).to_be_visible()
    expect(watched.get_by_label("Your name")).to_have_value("ann")
    watched.reload()
    expect(watched.get_by_text("Hello, ann!")).to_be_visible(timeout=15_000)
    expect(watched.get_by_role("progressbar")).to_have_count(0)

    # On a phone, a button opens the menu of pages.
    watched.set_viewport_size({"width": 390, "height": 844})
    expect(watched.get_by_role("link", name="Jobs")).to_have_count(0)
    watched.get_by_role("button", name="Pages").click()
    watched.get_by_role("link", name="Jobs").click()
    expect(watched).to_have_url(f"{app.url}/jobs")
    expect(watched.get_by_role("link", name="Jobs")).to_have_count(0)


def test_a_double_click_starts_one_job(app: RunningApp, watched: Page) -> None:
    app.start()
    watched.goto(app.url)
    watched.get_by_label("Your name").fill("ann")
    watched.get_by_role("button", name="Say hello").dblclick()
    expect(watched.get_by_text("Hello, ann!")).to_be_visible(timeout=15_000)
    huey = DurableHuey("seen", f"sqlite:///{app.folder}/var/jobs.sqlite")
    assert [job.args for job in huey.jobs()] == [("ann",)]
    huey.storage.close()


@pytest.mark.long
def test_back_and_forward_show_each_job_at_its_address(app: RunningApp, watched: Page) -> None:
    app.start()
    watched.goto(f"{app.url}/hello")
    addresses: list[str] = []
    for name in ("ann", "ben"):
        watched.get_by_label("Your name").fill(name)
        watched.get_by_role("button", name="Say hello").click()
        expect(watched.get_by_text(f"Hello, {name}!")).to_be_visible(timeout=15_000)
        addresses.append(watched.url)
    assert addresses[0] != addresses[1]
    watched.go_back()
    expect(watched.get_by_text("Hello, ann!")).to_be_visible(timeout=15_000)
    watched.go_back()
    expect(watched.get_by_text("Hello,")).to_have_count(0)
    watched.go_forward()
    watched.go_forward()
    expect(watched.get_by_text("Hello, ben!")).to_be_visible(timeout=15_000)
    assert watched.url == addresses[1]


@pytest.mark.long
@pytest.mark.parametrize("kind", WRONG)
def test_error_is_a_sentence_with_a_collapsed_traceback(app: RunningApp, watched: Page, kind: str) -> None:
    options, body, sentence = WRONG[kind]
    job = app.folder / "app" / "jobs" / "hello.py"
    text = job.read_text().replace("@huey.task()", f"@huey.task({options})")
    job.write_text(text[: text.index("    for second")] + f"    {body}\n")
    app.start()
    greet(watched, app)
    expect(watched.get_by_text("Failed: ")).to_contain_text(sentence, timeout=15_000)
    traceback = watched.get_by_text("Traceback (most recent call last)")
    expect(traceback).not_to_be_visible()
    if kind == "it raises":
        watched.get_by_text("Details").click()
        expect(traceback).to_be_visible()
    else:  # an error of the queue, whose traceback would not help
        expect(watched.get_by_text("Details")).to_have_count(0)

    job_id = watched.url.partition("job=")[2]
    shown = subprocess.check_output([sys.executable, "-m", "app", "jobs", "show", job_id], cwd=app.folder, text=True)
    assert (sentence if kind == "it raises" else "object, which cannot be saved") in shown.partition("Traceback")[0]
    assert ("attempt   2" in shown) == (kind == "it raises")
