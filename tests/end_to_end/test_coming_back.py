"""Tests that a page with a panel or a background callback shows the right result in the end, despite disturbances.

The baked app has additional pages from `counting`. It runs as in production: two web processes and a consumer, on
Postgres and Valkey.
"""

import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import APIResponse, Browser, Page, Route, expect

from jobqueue import DurableHuey, Job, State
from jobqueue.dash.panel_refresh import HIDDEN_MS, REFRESH_MS, SLOWEST_MS
from tests.end_to_end.running import RunningApp, add_counting_pages, is_local, wait_until
from tests.end_to_end.tabs import LOOKS, Tabs, asks, is_hidden
from tests.servers import ValkeyServer, fresh_database, shared_postgres

AWAY = 20  # seconds for which the web processes are down
PATIENCE = 60  # seconds that anything may take on a busy machine
WAYS = ["job", "callback"]

# JavaScript: whether the page waits for the answer to a callback
PENDING = """output => Object.values(window.store.getState().callbacks).filter(Array.isArray).flat()
    .some(call => call.callback.output === output)"""

# All tests share one app.
pytestmark = pytest.mark.xdist_group("coming back")

both_ways = pytest.mark.parametrize("way", WAYS)
callback_alone = pytest.mark.parametrize("way", ["callback"])


class Site(RunningApp):
    """The app's web server and worker, which a test can stop and start separately."""

    def __init__(self, folder: Path, database_url: str, valkey: ValkeyServer) -> None:
        super().__init__(folder)
        self.valkey = valkey
        self.notes = folder / "notes"
        add_counting_pages(folder)
        key = secrets.token_urlsafe(48)
        self.huey = DurableHuey("seen", database_url, secret_key=key)
        self.settings = {
            "DATABASE_URL": database_url,
            "REDIS_URL": valkey.url,
            "SECRET_KEY": key,
            "LEASE": "2",
            "WORKER_GRACE": "1",
            "PORT": str(self.port),
            "WEB_CONCURRENCY": "2",
        }
        self.programs: dict[str, subprocess.Popen[bytes]] = {}

    def run(self, name: str, *command: str) -> None:
        with self.log.open("ab") as log:
            self.programs[name] = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=self.folder,
                env=os.environ | self.settings,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def start_web(self) -> None:
        self.run("web", "app", "web")
        wait_until(self.answers, lambda: f"the web answers\n{self.log.read_text()[-3000:]}", PATIENCE)

    def start_worker(self) -> None:
        self.run("worker", "app", "worker")

    def end(self, name: str, signum: signal.Signals = signal.SIGTERM) -> None:
        program = self.programs.pop(name)
        if signum == signal.SIGKILL:
            os.killpg(program.pid, signum)
        else:
            program.send_signal(signum)
        program.wait(timeout=PATIENCE)

    def note(self, text: str) -> Path:
        return self.notes / text

    def jobs(self, name: str) -> list[Job]:
        """Return the jobs that count under this name, newest first."""
        return [job for job in self.huey.jobs(limit=1000) if name in repr(job.args)]


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, bake: Callable[..., Path], shared: Path, valkey: ValkeyServer
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("coming_back") / "app"
    shutil.copytree(bake(example="blank"), folder)
    with fresh_database(shared_postgres(shared)) as url:
        site = Site(folder, url, valkey)
        try:
            site.start_worker()
            site.start_web()
            yield site
        finally:
            for name in list(site.programs):
                site.end(name, signal.SIGKILL)
            site.huey.storage.close()


class Visitor:
    """A user of one of the two pages."""

    def __init__(self, site: Site, page: Page, way: str) -> None:
        self.site, self.page, self.way = site, page, way
        page.set_default_timeout(PATIENCE * 1000)

    def open(self) -> "Visitor":
        self.page.goto(f"{self.site.url}/counting-{self.way}")
        expect(self.page.get_by_role("button", name="Start")).to_be_visible()
        return self

    def start(self, kind: str = "one") -> str:
        """Start a job. Return its name."""
        name = f"{kind}-{secrets.token_hex(4)}"
        self.page.get_by_label("Name", exact=True).fill(name)
        self.page.get_by_role("button", name="Start").click()
        return name

    def watches(self, name: str) -> None:
        expect(self.page.get_by_text(f"counting {name}")).to_be_visible()

    def ends(self, name: str) -> None:
        """Let the job end. Check that the page shows its result, and no running job."""
        self.site.note(f"{name} may end").touch()
        self.sees(name)

    def sees(self, name: str) -> None:
        expect(self.page.get_by_text(f"counted {name}", exact=True)).to_be_visible()
        self.rests()

    def rests(self) -> None:
        expect(self.page.get_by_text("counting ")).to_have_count(0)
        expect(self.page.get_by_text("Reconnecting")).not_to_be_visible()
        expect(self.page.get_by_role("progressbar")).to_have_count(0)
        expect(self.page.get_by_text("It runs.")).to_have_count(0)

    def cancel(self) -> None:
        self.page.get_by_role("button", name="Cancel").click()

    def another(self, page: Page) -> "Visitor":
        """Open the same address in another page."""
        page.goto(self.page.url)
        return Visitor(self.site, page, self.way)


@pytest.fixture
def visitor(site: Site, page: Page, way: str) -> Iterator[Visitor]:
    """Yield a visitor of a site that has been repaired after the previous test.

    The test fails on console errors, except for requests that fail while the web server is down, and on requests to
    other hosts.
    """
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: None if is_local(request.url) else complaints.append(f"requests {request.url}"))
    for note in site.notes.glob("h*ld*"):
        note.unlink()
    for job in site.huey.jobs(limit=20):
        site.huey.job(job.id).cancel()
    if "web" not in site.programs:
        site.start_web()
    if "worker" not in site.programs:
        site.start_worker()
    yield Visitor(site, page, way).open()
    assert [text for text in complaints if not text.startswith("Failed to load resource")] == []


# --- disturbances while a job runs; each returns the visitor who watches it afterwards ---


def reload(visitor: Visitor, name: str) -> Visitor:
    visitor.page.reload()
    return visitor


def close_the_tab(visitor: Visitor, name: str) -> Visitor:
    again = visitor.another(visitor.page.context.new_page())
    visitor.page.close()
    return again


def kill_the_worker(visitor: Visitor, name: str) -> Visitor:
    os.kill(int(visitor.site.note(f"{name} runs").read_text()), signal.SIGKILL)
    visitor.site.note(f"{name} runs").unlink()
    wait_until(visitor.site.note(f"{name} runs").exists, "another attempt runs", PATIENCE)
    if visitor.way == "job":
        words = "Running, attempt 2: the last attempt was interrupted. It continues after 1 of 3."
        expect(visitor.page.get_by_text(words)).to_be_visible()
    return visitor


def kill_the_web(visitor: Visitor, name: str) -> Visitor:
    """Kill the web processes. The first one starts them again."""
    killed = psutil.Process(visitor.site.programs["web"].pid).children()
    for process in killed:
        process.kill()
    psutil.wait_procs(killed, timeout=PATIENCE)
    return visitor


def take_the_web_away(visitor: Visitor, name: str) -> Visitor:
    """Stop the web server, and let the job end meanwhile."""
    site = visitor.site
    site.end("web", signal.SIGKILL)
    away = time.monotonic()
    expect(visitor.page.get_by_text("Reconnecting")).to_be_visible()
    site.note(f"{name} may end").touch()
    time.sleep(max(0.0, away + AWAY - time.monotonic()))
    site.start_web()
    return visitor


def restart_valkey(visitor: Visitor, name: str) -> Visitor:
    visitor.site.valkey.restart()
    return visitor


def deploy(visitor: Visitor, name: str) -> Visitor:
    """Restart all parts one after the other."""
    site = visitor.site
    site.end("worker")
    site.valkey.restart()
    site.note(f"{name} runs").unlink()
    site.start_worker()
    site.end("web")
    site.start_web()
    wait_until(site.note(f"{name} runs").exists, "another attempt runs", PATIENCE)
    return visitor


def long(*functions: Callable[..., object]) -> list[object]:
    """Mark parameters as long."""
    return [pytest.param(function, marks=pytest.mark.long) for function in functions]


HAPPENS = [
    reload,
    *long(kill_the_web, deploy, close_the_tab, kill_the_worker, take_the_web_away, restart_valkey),
]


@both_ways
@pytest.mark.parametrize("happens", HAPPENS)
def test_page_ends_with_the_result_after_each_disturbance(
    visitor: Visitor, happens: Callable[[Visitor, str], Visitor]
) -> None:
    name = visitor.start()
    visitor.watches(name)
    watcher = happens(visitor, name)
    watcher.ends(name)
    assert [job.state for job in visitor.site.jobs(name)] == [State.SUCCEEDED]


@both_ways
@pytest.mark.long
def test_another_browser_shows_the_same_job(visitor: Visitor, browser: Browser) -> None:
    name = visitor.start()
    visitor.watches(name)
    with browser.new_context() as context:
        other = visitor.another(context.new_page())
        other.watches(name)
        for each in (visitor, other):
            each.ends(name)
        other.page.reload()
        other.sees(name)
    assert len(visitor.site.jobs(name)) == 1


# --- actions of the user ---


def while_queued(visitor: Visitor) -> Iterator[str]:
    group = visitor.site.programs["worker"].pid
    os.killpg(group, signal.SIGSTOP)
    name = visitor.start()
    yield name
    os.killpg(group, signal.SIGCONT)


def while_claimed(visitor: Visitor) -> Iterator[str]:
    yield from held("claimed", visitor)


def while_running(visitor: Visitor) -> Iterator[str]:
    name = visitor.start()
    visitor.watches(name)
    yield name


def while_ending(visitor: Visitor) -> Iterator[str]:
    yield from held("ending", visitor)


def while_waiting_for_a_retry(visitor: Visitor) -> Iterator[str]:
    name = visitor.start("retry")
    wait_until(lambda: [job.state for job in visitor.site.jobs(name)] == [State.SCHEDULED], "it waits", PATIENCE)
    yield name


def held(moment: str, visitor: Visitor) -> Iterator[str]:
    site = visitor.site
    site.note(f"hold {moment}").touch()
    name = visitor.start()
    site.note(f"{name} may end").touch()
    wait_until(site.note(f"held {moment}").exists, f"it is {moment}", PATIENCE)
    yield name
    site.note(f"hold {moment}").unlink()
    site.note(f"held {moment}").unlink(missing_ok=True)


@both_ways
@pytest.mark.parametrize(
    "moment", [while_running, *long(while_queued, while_claimed, while_ending, while_waiting_for_a_retry)]
)
def test_a_cancel_ends_the_job_and_the_next_one_is_shown_alone(
    visitor: Visitor, moment: Callable[[Visitor], Iterator[str]]
) -> None:
    waiting = moment(visitor)
    name = next(waiting)
    wait_until(lambda: visitor.site.jobs(name), "it is there", PATIENCE)
    visitor.cancel()
    wait_until(lambda: visitor.site.jobs(name)[0].state is State.CANCELLED, "it is cancelled", PATIENCE)
    visitor.rests()
    next(waiting, None)
    after = visitor.start()
    visitor.watches(after)
    expect(visitor.page.get_by_text(name)).to_have_count(0)
    visitor.ends(after)
    expect(visitor.page.get_by_text(name)).to_have_count(0)
    assert visitor.site.jobs(name)[0].state is State.CANCELLED


@both_ways
@pytest.mark.long
def test_page_shows_only_the_job_that_was_started_last(visitor: Visitor) -> None:
    first = visitor.start()
    visitor.watches(first)
    second = visitor.start()
    visitor.watches(second)
    visitor.site.note(f"{first} may end").touch()
    wait_until(lambda: visitor.site.jobs(first)[0].state.ended, "the first has ended", PATIENCE)
    expect(visitor.page.get_by_text(first)).to_have_count(0)
    visitor.ends(second)
    expect(visitor.page.get_by_text(first)).to_have_count(0)
    # A callback that its page no longer waits for is cancelled. A job can still be reached by its address.
    ended = State.SUCCEEDED if visitor.way == "job" else State.CANCELLED
    assert visitor.site.jobs(first)[0].state is ended


@callback_alone
@pytest.mark.long
def test_second_start_cancels_the_first(visitor: Visitor) -> None:
    """Test a second start before the page has got the answer with the first job."""
    late: list[Route] = []
    visitor.page.route("**/_dash-update-component*", lambda route: route.continue_() if late else late.append(route))
    with visitor.page.expect_request("**/_dash-update-component*"):
        first = visitor.start()
    second = visitor.start()
    visitor.page.wait_for_timeout(200)  # enough for a poll, if there were one
    late[0].continue_()
    visitor.watches(second)
    wait_until(lambda: visitor.site.jobs(first)[0].state is State.CANCELLED, "the first is cancelled", PATIENCE)
    expect(visitor.page.get_by_text(first)).to_have_count(0)
    visitor.ends(second)


@callback_alone
@pytest.mark.parametrize("late", ["request", pytest.param("answer", marks=pytest.mark.long)])
def test_cancel_before_the_start_is_answered_takes_effect(visitor: Visitor, late: str) -> None:
    """Test a cancel before the renderer knows the job, which may already run."""
    page, held = visitor.page, list[tuple[Route, APIResponse | None]]()

    def hold(route: Route) -> None:
        held.append((route, route.fetch() if late == "answer" else None))

    page.route(LOOKS, hold, times=1)
    name = visitor.start()
    while not held:
        page.wait_for_timeout(20)  # lets Playwright handle the request
    visitor.cancel()
    page.wait_for_function(PENDING, arg="callback-cancel.id")
    route, answer = held[0]
    if answer is None:
        route.continue_()
    else:
        route.fulfill(response=answer)
    visitor.rests()
    assert [job.state for job in visitor.site.jobs(name)] == [State.CANCELLED]
    after = visitor.start()
    visitor.watches(after)
    visitor.ends(after)


@callback_alone
def test_a_callback_without_outputs_that_fails_shows_a_notice(visitor: Visitor) -> None:
    page = visitor.page
    page.goto(f"{visitor.site.url}/counting-ends")
    page.get_by_role("button", name="Fail").click()
    expect(page.get_by_role("alert").get_by_text("Something went wrong")).to_be_visible()
    for words in ("the first part", "about to fail", "set before", "It rests."):
        expect(page.get_by_text(words, exact=True)).to_be_visible()
    expect(page.get_by_text("a secret")).to_have_count(0)


@callback_alone
@pytest.mark.long
def test_a_store_of_60_000_rows_reaches_a_callback(visitor: Visitor) -> None:
    page = visitor.page
    page.goto(f"{visitor.site.url}/counting-ends")
    page.get_by_role("button", name="Fill").click()
    page.get_by_role("button", name="Count").click()
    expect(page.get_by_text("60000 rows")).to_be_visible()


@callback_alone
@pytest.mark.long
def test_large_call_may_take_longer_than_a_small_one(visitor: Visitor) -> None:
    """Test a large call for a minute. A small call is repeated after 30 seconds without an answer."""
    page, sent, goes_on = visitor.page, list[Route](), list[bool]()
    page.clock.install()
    page.goto(f"{visitor.site.url}/counting-ends")
    page.get_by_role("button", name="Fill").click()
    page.route(LOOKS, lambda route: route.continue_() if goes_on else sent.append(route))
    page.get_by_role("button", name="Count").click()
    while not sent:
        page.wait_for_timeout(20)
    page.clock.fast_forward(60_000)
    expect(page.get_by_text("Reconnecting")).not_to_be_visible()
    goes_on.append(True)
    sent[0].continue_()
    expect(page.get_by_text("60000 rows")).to_be_visible()
    assert len(sent) == 1


@both_ways
@pytest.mark.long
def test_page_shows_its_job_after_going_back(visitor: Visitor) -> None:
    name = visitor.start()
    visitor.watches(name)
    visitor.page.get_by_role("link", name="Hello").click()
    expect(visitor.page.get_by_role("heading", name="Hello")).to_be_visible()
    visitor.page.go_back()
    visitor.watches(name)
    visitor.ends(name)
    assert len(visitor.site.jobs(name)) == 1


@callback_alone
@pytest.mark.long
def test_late_answer_does_not_disturb_a_page_after_going_back(
    visitor: Visitor,
) -> None:
    """Test an answer to a request that was sent before, with the page's old content."""
    page = visitor.page
    name = visitor.start()
    visitor.watches(name)
    late: list[Route] = []
    polls = re.compile("_dash-update-component.*cacheKey=")
    page.route(polls, lambda route: route.continue_() if late else late.append(route))
    with page.expect_request(polls):
        pass
    page.get_by_role("link", name="Hello").click()
    expect(page.get_by_role("heading", name="Hello")).to_be_visible()
    with page.expect_response(lambda response: "callback-kept" in response.request.headers):  # it is called again
        page.go_back()
    late[0].continue_()
    visitor.watches(name)
    visitor.ends(name)


@both_ways
@pytest.mark.long
def test_page_opened_anew_shows_no_old_job(visitor: Visitor) -> None:
    first = visitor.start()
    visitor.watches(first)
    visitor.page.get_by_role("link", name="Hello").click()
    expect(visitor.page.get_by_role("heading", name="Hello")).to_be_visible()
    visitor.page.get_by_role("link", name=visitor.way.title(), exact=True).click()
    second = visitor.start()
    visitor.site.note(f"{first} may end").touch()
    visitor.watches(second)
    expect(visitor.page.get_by_text(first)).to_have_count(0)
    wait_until(lambda: visitor.site.jobs(first)[0].state.ended, "the first has ended", PATIENCE)
    visitor.ends(second)
    expect(visitor.page.get_by_text(first)).to_have_count(0)


@both_ways
@pytest.mark.long
def test_cancel_during_a_web_outage_takes_effect(visitor: Visitor) -> None:
    site = visitor.site
    name = visitor.start()
    visitor.watches(name)
    site.end("web", signal.SIGKILL)
    visitor.cancel()
    expect(visitor.page.get_by_text("Reconnecting")).to_be_visible()
    site.start_web()
    wait_until(lambda: site.jobs(name)[0].state is State.CANCELLED, "it is cancelled", PATIENCE)
    visitor.rests()


@pytest.mark.long
@pytest.mark.parametrize("way", ["job"])
def test_panel_shows_answers_of_a_slow_web_process(visitor: Visitor) -> None:
    """Test answers that take longer than the interval between a panel's polls."""
    name = visitor.start()
    visitor.watches(name)
    late: list[tuple[float, Route]] = []
    visitor.page.route("**/_dash-update-component*", lambda route: late.append((time.monotonic(), route)))
    visitor.site.note(f"{name} may end").touch()
    until = time.monotonic() + PATIENCE
    while not visitor.page.get_by_text(f"counted {name}", exact=True).is_visible():
        assert time.monotonic() < until
        visitor.page.wait_for_timeout(100)
        while late and late[0][0] < time.monotonic() - 2.5 * REFRESH_MS / 1000:
            late.pop(0)[1].continue_()


@callback_alone
@pytest.mark.long
def test_click_during_a_web_outage_starts_one_job(visitor: Visitor) -> None:
    visitor.site.end("web", signal.SIGKILL)
    name = visitor.start()
    expect(visitor.page.get_by_text("Reconnecting")).to_be_visible()
    visitor.site.start_web()
    visitor.watches(name)
    visitor.ends(name)
    assert len(visitor.site.jobs(name)) == 1


# --- a tab that is hidden behind another one ---


@callback_alone
@pytest.mark.long
def test_callback_result_reaches_a_hidden_tab(visitor: Visitor, tabs: Tabs) -> None:
    hidden = Visitor(visitor.site, tabs.open(), visitor.way).open()
    name = hidden.start()
    hidden.watches(name)
    tabs.hide(hidden.page)
    hidden.ends(name)
    assert is_hidden(hidden.page)


@pytest.mark.long
@pytest.mark.parametrize("way", ["job"])
def test_hidden_panel_polls_rarely_and_at_once_when_shown(visitor: Visitor, tabs: Tabs) -> None:
    hidden = Visitor(visitor.site, tabs.open(), visitor.way).open()
    name = hidden.start()
    hidden.watches(name)
    tabs.hide(hidden.page)
    pause = "dash_component_api.getLayout({of: 'page', panels: 'tick'}).props.interval"
    wait_until(lambda: hidden.page.evaluate(pause) == HIDDEN_MS, "it polls rarely after the next answer", PATIENCE)
    assert not asks(hidden.page, 1.4 * SLOWEST_MS)
    hidden.site.note(f"{name} may end").touch()
    wait_until(lambda: hidden.site.jobs(name)[0].state.ended, "the job has ended", PATIENCE)
    with hidden.page.expect_request(LOOKS, timeout=SLOWEST_MS):
        tabs.show(hidden.page)
    hidden.sees(name)


@pytest.mark.long
@pytest.mark.parametrize("way", ["job"])
@pytest.mark.parametrize("opened", ["before", "behind"])
def test_hidden_jobs_page_polls_only_when_shown(visitor: Visitor, tabs: Tabs, opened: str) -> None:
    address = f"{visitor.site.url}/jobs"
    page = tabs.open(address) if opened == "before" else tabs.open_behind(address)
    expect(page.get_by_text(re.compile("Updated "))).to_have_count(1)
    every = "milliseconds => dash_clientside.set_props('jobs-tick', {interval: milliseconds})"
    page.evaluate(every, REFRESH_MS)
    if opened == "before":
        assert asks(page, 5 * REFRESH_MS)
        tabs.hide(page)
    assert not asks(page, 5 * REFRESH_MS)
    page.evaluate(every, 1000 * PATIENCE)
    with page.expect_request(LOOKS, timeout=500 * PATIENCE):
        tabs.show(page)
