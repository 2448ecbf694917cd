"""Tests of each control of the jobs page in Chromium, also after a reload and from a shared link.

There are three visitors: one of an app without accounts, an admin, who may act on all jobs, and an owner, who may act
on their own jobs. Each test uses one app for many steps, because an app takes longer to start than most steps.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from jobqueue import DurableHuey, Job, State
from tests.end_to_end.running import PASSWORD, RunningApp, log_in, wait_until

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
from app.jobs.hello import greet
from app.jobs.seen import fail, hold
greet.using(owner="ann")("Ann", 0)
for n in range(30): fail.using(owner="ann")(f"no price on day {n}")
fail.using(owner="ben")("<b>" + "long" * 200 + "</b>")
hold.using(owner="ben")(600)
hold.using(owner="ann").schedule((600,), delay=3600)
"""
ADD_USERS = f"""
from app.access import accounts
for name in ("ann", "ben", "eve"): accounts.users.add(name, "{PASSWORD}", admin=name == "eve")
"""

Watch = Callable[[Page], Page]


@dataclass
class Desk:
    page: Page
    app: RunningApp
    huey: DurableHuey  # its jobs

    def of(self, owner: str, state: State | None = None) -> list[Job]:
        """Return an owner's jobs, newest first."""
        return self.huey.jobs(owner=owner, state=state)

    def is_logged(self, user: str, action: str) -> None:
        """Wait until the log has a line with the time, the user and the action."""
        line = re.compile(rf"\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ INFO jobqueue\.acts: {user} {action}")
        wait_until(lambda: line.search(self.app.log.read_text()), f"{line.pattern} is logged")


PARTS = ["#jobs-rows tbody tr", "#jobs-rows a", "#jobs-tiles a", ".recharts-surface", "#jobs-updated"]

# JavaScript: notes each part of the page that is removed or replaced at a moment at which the page might be painted
WATCH = """(parts) => {
    const there = parts.map((part) => document.querySelector(part)), title = document.title;
    window.flickered = new Set();
    new MutationObserver(() => {
        parts.filter((_, n) => !there[n].isConnected).forEach((part) => flickered.add(part));
        if (document.title !== title) flickered.add("title");
    }).observe(document, {subtree: true, childList: true, attributes: true, characterData: true});
}"""


@pytest.fixture
def desk(request: pytest.FixtureRequest, tmp_path: Path, bake: Callable[..., Path], watched: Page) -> Iterator[Desk]:
    """Yield an app with jobs of Ann and Ben. With accounts, they and Eve, an admin, must log in."""
    accounts = getattr(request, "param", "off") == "accounts"
    folder = tmp_path / "app"
    shutil.copytree(bake(example="blank"), folder)
    folder.joinpath("app", "jobs", "seen.py").write_text(TASKS)
    app = RunningApp(folder)
    app.start(AUTH="accounts" if accounts else "off", SUBMITS="1000")
    subprocess.run([sys.executable, "-c", SUBMIT + ADD_USERS * accounts], cwd=folder, check=True)
    huey = DurableHuey("seen", f"sqlite:///{folder}/var/jobs.sqlite")
    wait_until(lambda: len(huey.jobs(state=State.FAILED)) == 31, "the jobs fail", timeout=30)
    watched.set_default_timeout(SLOW)
    yield Desk(watched, app, huey)
    huey.storage.close()
    app.stop()


def rows(page: Page) -> list[str]:
    return [row.inner_text() for row in page.locator("#jobs-rows tbody tr").all()]


def listed(page: Page, count: int) -> None:
    expect(page.locator("#jobs-rows tbody tr")).to_have_count(count, timeout=SLOW)


def choose(page: Page, label: str, option: str) -> None:
    page.get_by_role("textbox", name=label).click()
    page.get_by_role("option", name=option, exact=True).click()


def another_browser(page: Page, **options: Any) -> Page:
    assert page.context.browser is not None
    other = page.context.browser.new_context(**options).new_page()
    other.set_default_timeout(SLOW)
    return other


def select(page: Page, *numbers: int) -> None:
    for number in numbers:
        page.locator("#jobs-rows").get_by_role("checkbox").nth(number).check()


def select_all(page: Page) -> None:
    page.get_by_label("Select all").check()


def run_again(page: Page, button: str) -> None:
    before = page.url
    page.get_by_role("button", name=button, exact=True).click()
    page.wait_for_url(lambda url: "/jobs/" in url and url != before)


def dialog(page: Page) -> Locator:
    """Return the dialog that asks for confirmation."""
    return page.get_by_role("dialog")


def confirm(page: Page, act: str, jobs: str, said: str) -> None:
    """Apply an action to the selected jobs, such as `1 job`, and confirm it in the dialog."""
    page.get_by_role("button", name=f"{act} {jobs.split()[0]}", exact=True).click()
    expect(dialog(page)).to_contain_text(f"{act} {jobs}?")
    page.get_by_role("button", name=f"{act} {jobs}").click()
    expect(page.get_by_text(said)).to_be_visible()


@pytest.mark.long
def test_every_control_of_the_jobs_page(desk: Desk, watch: Watch) -> None:
    desk.page.goto(f"{desk.app.url}/jobs")
    use_every_control(desk.page, desk.app, watch)


def use_every_control(page: Page, app: RunningApp, watch: Watch) -> None:
    """Use each control of the open page, which shows everybody's jobs."""
    expect(page.get_by_text(re.compile("Updated "))).to_be_visible(timeout=SLOW)
    listed(page, 25)
    expect(page.get_by_role("link", name="Running")).to_contain_text("1")
    expect(page.locator(".recharts-surface").first).to_be_visible()

    # Older and newer jobs. The address contains the position in the list.
    page.get_by_role("button", name="Older").click()
    expect(page.get_by_text("26 to 35")).to_be_visible()
    page.reload()
    expect(page.get_by_text("26 to 35")).to_be_visible()
    page.get_by_role("button", name="Newer").click()
    listed(page, 25)

    # All filters together, after a reload and in another browser.
    choose(page, "State", "failed")
    choose(page, "Submitted", "Last hour")
    choose(page, "Queue", "default")
    choose(page, "Task", "app.jobs.seen.fail")
    page.get_by_label("Owner").fill("ann")
    page.get_by_label("Text").fill("DAY 17")
    listed(page, 1)
    assert "no price on day 17" in rows(page)[0]
    elsewhere = watch(another_browser(page, storage_state=page.context.storage_state()))
    elsewhere.goto(page.url)
    listed(elsewhere, 1)
    elsewhere.close()
    page.reload()
    listed(page, 1)
    expect(page.get_by_label("Text")).to_have_value("DAY 17")
    page.get_by_label("Text").fill("there is no such error")
    expect(page.get_by_text("No job matches all of these filters.")).to_be_visible()
    page.get_by_role("button", name="Clear filters").click()
    listed(page, 25)
    assert "?" not in page.url

    # On a phone, the task's cell has the other columns in a second line.
    page.set_viewport_size({"width": 390, "height": 844})
    expect(page.locator(".jobs-task").last).to_contain_text(re.compile("fail.* ago.*no price on day"))
    expect(page.locator(".jobs-narrow").last).to_be_visible()
    expect(page.get_by_role("columnheader", name="Waited")).to_have_count(0)
    page.set_viewport_size({"width": 1280, "height": 720})
    expect(page.locator(".jobs-narrow").last).not_to_be_visible()
    expect(page.get_by_role("columnheader", name="Waited")).to_be_visible()

    # A link to this page sets its filter each time.
    for _ in range(2):
        page.get_by_role("link", name="Failed in 24 h").click()
        expect(page.get_by_role("textbox", name="State")).to_have_value("failed")
        page.get_by_role("button", name="Clear filters").click()
        expect(page.get_by_role("textbox", name="State")).to_have_value("")

    # Retry and cancel the selected jobs after a confirmation. A refresh in between keeps the selection and replaces
    # nothing.
    page.get_by_role("link", name="Failed in 24 h").click()
    failed = page.locator("#jobs-rows tbody tr").filter(has_text="failed")
    expect(failed).to_have_count(25, timeout=SLOW)  # the list before has 25 rows too: two of them run or wait
    select(page, 1, 2)
    for part in PARTS:  # the chart is drawn last, once its script has loaded
        expect(page.locator(part).first).to_be_attached()
    page.evaluate(WATCH, PARTS)
    updated = page.get_by_text(re.compile("Updated ")).inner_text()
    expect(page.get_by_text(updated)).to_have_count(0, timeout=SLOW)
    assert page.evaluate("[...flickered]") == []
    page.get_by_role("button", name="Retry 2", exact=True).click()
    page.get_by_role("button", name="Go back").click()
    expect(dialog(page)).to_have_count(0)
    page.get_by_role("button", name="Retry 2", exact=True).click()
    expect(dialog(page)).to_contain_text("Retry 2 jobs?")
    page.get_by_role("button", name="Retry 2 jobs").click()
    expect(page.get_by_text("Queued again: 2 of 2 jobs.")).to_be_visible()
    expect(page.get_by_role("button", name="Retry", exact=True)).to_be_disabled()
    page.goto(f"{app.url}/jobs?state=scheduled")
    listed(page, 1)
    select(page, 0)
    page.get_by_role("button", name="Cancel 1", exact=True).click()
    page.get_by_role("button", name="Cancel 1 job").click()
    expect(page.get_by_text("Cancelled: 1 of 1 job.")).to_be_visible()
    expect(page.get_by_text("No job matches all of these filters.")).to_be_visible()

    # A failed job: its details, and a retry.
    page.goto(f"{app.url}/jobs?text=long&state=failed")
    page.get_by_role("link", name="fail", exact=True).click()
    expect(page.get_by_role("heading", name="fail", exact=True)).to_be_visible()
    page.get_by_text("Traceback of attempt 1").click()
    expect(page.get_by_text("raise ValueError(words)").last).to_be_visible()
    expect(page.get_by_role("log")).to_contain_text("about to fail")
    expect(page.get_by_role("cell", name="before")).to_be_visible()
    assert page.locator("b", has_text="longlong").count() == 0
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_text("Retried by a user")).to_be_visible()
    expect(page.get_by_text("Traceback of attempt 2")).to_be_visible(timeout=SLOW)
    run_again(page, "Run again as a new job")
    expect(page.get_by_text("Traceback of attempt 1")).to_be_visible(timeout=SLOW)

    # A running job: its progress, and a cancel.
    page.get_by_role("link", name="Jobs", exact=True).last.click()
    page.goto(f"{app.url}/jobs?state=running")
    page.get_by_role("link", name="hold", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("progressbar")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("Cancelled.").first).to_be_visible()
    expect(page.get_by_role("button", name="Retry")).to_be_visible()

    # Schedules, datasets and workers.
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
    expect(page.get_by_text("fresh", exact=True)).to_be_visible(timeout=SLOW)  # since the first deploy
    page.get_by_role("button", name="Refresh: numbers").click()
    expect(page.get_by_text(re.compile("numbers: Queued as job"))).to_be_visible()
    expect(page.get_by_text("Version", exact=True).locator("..")).to_contain_text("2", timeout=SLOW)
    expect(page.get_by_role("link", name=re.compile("^job "))).to_be_visible()
    page.get_by_role("tab", name="Workers").click()
    expect(page.get_by_role("cell", name=re.compile("worker-1"))).to_be_visible()
    assert "tab=workers" in page.url

    # A hidden tab does not poll. It polls at once when it is visible again.
    ticks = "window.dash_component_api.getLayout('jobs-tick').props.disabled"
    page.evaluate("Object.defineProperty(document, 'hidden', {get: () => window.hides, configurable: true})")
    page.evaluate("window.hides = true; document.dispatchEvent(new Event('visibilitychange'))")
    assert page.evaluate(ticks) is True
    with page.expect_response(re.compile("_dash-update-component")):
        page.evaluate("window.hides = false; document.dispatchEvent(new Event('visibilitychange'))")
    assert not page.evaluate(ticks)

    # An unknown job.
    page.goto(f"{app.url}/hello")
    page.evaluate("history.pushState({}, '', '/jobs/none'); window.dispatchEvent(new Event('_dashprivate_pushstate'))")
    expect(page.get_by_text("No such job")).to_be_visible()


@pytest.mark.long
@pytest.mark.parametrize("desk", ["accounts"], indirect=True)
def test_admin_has_every_control_over_all_jobs(desk: Desk, watch: Watch) -> None:
    page, app = desk.page, desk.app
    page.goto(f"{app.url}/jobs")
    log_in(page, "eve")
    use_every_control(page, app, watch)
    (anns,), (bens, long) = desk.of("ann", State.CANCELLED), desk.of("ben")

    # Jobs of two owners at once: retried, shown among the workers, and cancelled in a selection with ended jobs.
    page.goto(f"{app.url}/jobs?task=app.jobs.seen.hold")
    listed(page, 2)
    expect(page.get_by_role("cell", name=re.compile("^(ann|ben)$"))).to_have_count(2)
    select(page, 0, 1)
    page.get_by_role("button", name="Retry 2", exact=True).click()
    dialog(page).get_by_role("button", name="Close").click()
    expect(dialog(page)).to_have_count(0)
    confirm(page, "Retry", "2 jobs", "Queued again: 2 of 2 jobs.")
    page.get_by_role("alert").get_by_role("button", name="Close").click()
    expect(page.get_by_text("Queued again:")).to_have_count(0)
    expect(page.get_by_role("link", name="Running")).to_contain_text("2", timeout=SLOW)
    page.get_by_role("link", name="Workers alive").click()
    expect(page.get_by_role("tab", name="Workers")).to_have_attribute("aria-selected", "true")
    expect(page.get_by_role("link", name="hold")).to_have_count(2)
    page.get_by_role("link", name="hold").first.click()
    expect(page.get_by_role("progressbar")).to_be_visible()
    page.get_by_role("link", name="Jobs", exact=True).last.click()  # the one above the job
    listed(page, 25)
    select_all(page)
    page.get_by_role("button", name="Cancel 2", exact=True).click()
    expect(dialog(page)).to_contain_text("23 of the selected jobs are not affected")
    page.get_by_role("button", name="Go back").click()
    confirm(page, "Cancel", "2 jobs", "Cancelled: 2 of 2 jobs.")

    # The list of one owner, and a job from it.
    page.goto(f"{app.url}/jobs?owner=ben&state=failed")
    listed(page, 1)
    page.get_by_role("link", name="fail", exact=True).click()
    expect(page.get_by_text(long.id).first).to_be_visible()
    expect(page.get_by_text("ben", exact=True)).to_be_visible()

    # The links of the tiles. The address contains the period of the charts.
    page.goto(f"{app.url}/jobs")
    for tile in ("Queued", "Oldest wait"):
        page.get_by_role("link", name=tile).click()
        expect(page.get_by_role("textbox", name="State")).to_have_value("queued")
        page.go_back()
        expect(page.get_by_role("textbox", name="State")).to_have_value("")
    page.locator("#jobs-window").get_by_text("Last 24 hours").click()
    expect(page.get_by_text("Ended in each 30 min, in UTC")).to_be_visible()
    page.reload()
    expect(page.get_by_text("Ended in each 30 min, in UTC")).to_be_visible(timeout=SLOW)

    # The job that made a dataset's version, run again.
    page.get_by_role("tab", name="Datasets").click()
    page.get_by_role("link", name=re.compile("^job ")).click()
    expect(page.get_by_role("heading", name="numbers", exact=True)).to_be_visible()
    run_again(page, "Run again")
    expect(page.get_by_text("Succeeded").first).to_be_visible(timeout=SLOW)
    expect(page.get_by_text("eve", exact=True)).to_be_visible()

    for job in (anns, bens):
        for act in ("retries", "cancels"):
            desk.is_logged("eve", rf"{act} job {job.id} of {job.owner} \(app\.jobs\.seen\.hold\)")
    desk.is_logged("eve", f"retries job {long.id} of ben")
    desk.is_logged("eve", rf"runs as \S+ again job {long.id} of ben")
    for act in ("pauses", "resumes", r"runs as \S+"):
        desk.is_logged("eve", rf"{act} schedule app\.jobs\.seen\.refresh")
    desk.is_logged("eve", r"refreshes dataset app\.jobs\.seen\.numbers as job \S+")


@pytest.mark.long
@pytest.mark.parametrize("desk", ["accounts"], indirect=True)
def test_owner_has_every_control_over_only_their_own_jobs(desk: Desk, watch: Watch) -> None:
    page, app = desk.page, desk.app
    bens = desk.of("ben")
    page.goto(f"{app.url}/jobs")
    log_in(page, "ann")
    listed(page, 25)
    expect(page.get_by_role("link", name="Failed in 24 h")).to_contain_text("30")
    expect(page.get_by_role("link", name="Running")).to_contain_text("0")  # Ben has a running job

    # No address shows the parts for admins.
    def shows_only_the_list() -> None:
        expect(page.get_by_role("cell", name="fail", exact=True).first).to_be_visible()
        for control in (page.get_by_role("tab"), page.get_by_role("button", name="Run now"), page.locator("#jobs-window"),
                        page.get_by_label("Owner"), page.get_by_role("columnheader", name="Owner")):  # fmt: skip
            expect(control.filter(visible=True)).to_have_count(0)
        expect(page.get_by_text("Workers alive")).not_to_be_visible()
        expect(page.get_by_role("link", name="Workers alive")).to_have_count(0)
        assert "longlong" not in page.content() and not any(job.id in page.content() for job in bens)

    shows_only_the_list()
    for query in ("tab=schedules", "tab=datasets", "tab=workers", "owner=ben"):
        page.goto(f"{app.url}/jobs?{query}")
        shows_only_the_list()
    follow = "history.pushState({}, '', '/jobs?tab=workers'); window.dispatchEvent(new Event('_dashprivate_pushstate'))"
    page.evaluate(f"{follow}; new Promise((done) => setTimeout(done, 300))")  # the page reacts within 300 ms
    shows_only_the_list()
    for query in ("owner=ben&state=running", "text=longlong", f"text={bens[0].id}"):
        page.goto(f"{app.url}/jobs?{query}")
        expect(page.get_by_text("No job matches all of these filters.")).to_be_visible()
    for job in bens:
        answer = page.goto(f"{app.url}/jobs/{job.id}")
        assert answer is not None and answer.status == 404
        expect(page.get_by_text("No such job")).to_be_visible()
    page.get_by_role("link", name="All jobs").click()
    listed(page, 25)

    # Filters, after a reload. The shared link shows another user none of these jobs.
    page.get_by_role("button", name="Older").click()
    expect(page.get_by_text("26 to 32")).to_be_visible()
    page.get_by_role("button", name="Newer").click()
    listed(page, 25)
    choose(page, "Task", "app.jobs.hello.greet")
    choose(page, "State", "succeeded")
    choose(page, "Submitted", "Last hour")
    choose(page, "Queue", "default")
    listed(page, 1)
    page.get_by_role("button", name="Clear filters").click()
    listed(page, 25)
    page.get_by_label("Text").fill("DAY 17")
    listed(page, 1)
    page.reload()
    listed(page, 1)
    shared = watch(another_browser(page))
    shared.goto(page.url)
    log_in(shared, "ben")
    expect(shared.get_by_text("No job matches all of these filters.")).to_be_visible()
    shared.get_by_role("button", name="Clear filters").click()
    listed(shared, 2)

    # Retry one job and many, and cancel one.
    select(page, 0)
    confirm(page, "Retry", "1 job", "Queued again: 1 of 1 job.")
    page.goto(f"{app.url}/jobs?state=failed")
    listed(page, 25)
    select_all(page)
    confirm(page, "Retry", "25 jobs", "Queued again: 25 of 25 jobs.")
    wait_until(lambda: len(desk.of("ann", State.FAILED)) == 30, "all have failed again")
    page.goto(f"{app.url}/jobs")
    listed(page, 25)
    select(page, 0, 1)
    confirm(page, "Cancel", "1 job", "Cancelled: 1 of 1 job.")

    # A job on its own page: retried, cancelled while it runs, and run again.
    page.get_by_role("link", name="hold", exact=True).click()
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_role("progressbar")).to_be_visible(timeout=SLOW)
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("Cancelled.").first).to_be_visible()
    page.goto(f"{app.url}/jobs?task=app.jobs.hello.greet")
    page.get_by_role("link", name="greet", exact=True).click()
    run_again(page, "Run again")
    expect(page.get_by_text("Succeeded").first).to_be_visible(timeout=SLOW)
    assert page.url.endswith(desk.of("ann")[0].id)

    # Ben's jobs are unchanged, and he can still act on them.
    assert [(job.id, job.state, job.attempt) for job in desk.of("ben")] == [
        (job.id, job.state, job.attempt) for job in bens
    ]
    shared.get_by_role("link", name="hold", exact=True).click()
    shared.get_by_role("button", name="Cancel").click()
    expect(shared.get_by_text("Cancelled.").first).to_be_visible()
    desk.is_logged("ann", r"retries job \S+ of ann \(app\.jobs\.seen\.fail\)")
    desk.is_logged("ben", rf"cancels job {bens[0].id} of ben")
