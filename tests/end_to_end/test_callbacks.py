"""Background callbacks in a baked app whose one line was changed: whatever happens, the page ends with the result."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Browser, Page, expect

from jobqueue import DurableHuey
from tests.end_to_end.running import RunningApp, wait_until
from tests.servers import ValkeyServer

AWAY = 20  # seconds for which the web is gone
PATIENCE = 60  # seconds that anything may take, which it does where much else runs

expect.set_options(timeout=PATIENCE * 1000)

# What a page of the app's own would be: it counts, and waits for a file before it ends.
COUNTING = """
import os
from pathlib import Path
from time import sleep

import dash
from dash import Input, Output, callback, html, set_props

from jobqueue.manager import found_after_reload

dash.register_page(__name__, path="/counting", order=1)


def layout(**_):
    buttons = [html.Button("Count", id="count"), html.Button("Stop", id="stop")]
    return html.Div(buttons + [html.Div(id=name) for name in ("count-bar", "count-beside", "counted")])


@callback(
    Output("counted", "children"),
    Input("count", "n_clicks"),
    background=True,
    interval=200,
    prevent_initial_call=True,
    running=[(Output("count", "disabled"), True, False)],
    progress=Output("count-bar", "children"),
    progress_default=[""],
    cancel=Input("stop", "n_clicks"),
)
@found_after_reload
def count(set_progress, clicks):
    Path("counts.pid").write_text(str(os.getpid()))
    set_props("count-beside", {"children": "counting"})
    set_progress("one, two")
    while not Path("go").exists():
        sleep(0.05)
    return f"counted {clicks}"
"""
CHANGES = {
    "from jobqueue import DatabaseUnavailable": """from app.jobs import huey
from jobqueue import DatabaseUnavailable
from jobqueue.manager import HueyManager""",
    "    use_pages=True,": "    use_pages=True,\n    background_callback_manager=HueyManager(huey),",
}


class Counting(RunningApp):
    """The app's web and worker, each a process of its own, to be stopped and started alone."""

    def __init__(self, folder: Path, valkey: ValkeyServer) -> None:
        super().__init__(folder)
        self.valkey = valkey
        Path(folder, "app", "pages", "counting.py").write_text(COUNTING)
        web = Path(folder, "app", "web.py")
        text = web.read_text()
        for before, after in CHANGES.items():
            assert before in text
            text = text.replace(before, after)
        web.write_text(text)
        self.huey = DurableHuey("seen", f"sqlite:///{folder}/var/jobs.sqlite")
        self.programs: dict[str, subprocess.Popen[bytes]] = {}

    def run(self, name: str, *command: str) -> None:
        with self.log.open("ab") as log:
            environment = os.environ | {"REDIS_URL": self.valkey.url, "LEASE": "2", "WORKER_GRACE": "1"}
            self.programs[name] = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=self.folder,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def start_web(self) -> None:
        options = ["--workers", "2", "--threads", "4", "--no-control-socket", "--graceful-timeout", "2"]
        self.run("web", "gunicorn", "app.web:server", "--bind", f"127.0.0.1:{self.port}", *options)
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

    def go(self) -> None:
        Path(self.folder, "go").touch()


@pytest.fixture(scope="module")
def app(
    tmp_path_factory: pytest.TempPathFactory, bake: Callable[..., Path], valkey: ValkeyServer
) -> Iterator[Counting]:
    folder = tmp_path_factory.mktemp("callbacks") / "app"
    shutil.copytree(bake(example="blank"), folder)
    app = Counting(folder, valkey)
    try:
        app.start_worker()
        app.start_web()
        yield app
    finally:
        for name in list(app.programs):
            app.end(name, signal.SIGKILL)
        app.huey.storage.close()


@pytest.fixture
def counting(app: Counting, page: Page) -> Page:
    """A page whose callback runs."""
    Path(app.folder, "go").unlink(missing_ok=True)
    Path(app.folder, "counts.pid").unlink(missing_ok=True)
    page.set_default_timeout(PATIENCE * 1000)
    page.goto(f"{app.url}/counting")
    page.get_by_role("button", name="Count").click()
    is_counting(page)
    return page


def is_counting(page: Page) -> None:
    expect(page.get_by_text("one, two")).to_be_visible()
    expect(page.get_by_text("counting", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Count")).to_be_disabled()


def ends(app: Counting, *pages: Page) -> None:
    app.go()
    for page in pages:
        expect(page.get_by_text("counted 1")).to_be_visible()
        expect(page.get_by_role("button", name="Count")).to_be_enabled()
        expect(page.get_by_text("one, two")).to_have_count(0)
        expect(page.get_by_text("Reconnecting")).not_to_be_visible()


def test_a_reload_another_tab_and_another_browser_show_the_same_callback(
    app: Counting, counting: Page, browser: Browser
) -> None:
    counting.reload()
    is_counting(counting)
    with ExitStack() as stack:
        elsewhere = stack.enter_context(browser.new_context()).new_page()
        elsewhere.goto(counting.url)
        is_counting(elsewhere)
        address, context = counting.url, counting.context
        counting.close()
        again = context.new_page()
        again.goto(address)
        is_counting(again)
        assert len(app.huey.jobs(state=None)) == len({job.id for job in app.huey.jobs()})
        ends(app, again, elsewhere)
        again.reload()
        ends(app, again)


def test_a_worker_that_is_killed(app: Counting, counting: Page) -> None:
    os.kill(int(Path(app.folder, "counts.pid").read_text()), signal.SIGKILL)
    ends(app, counting)
    assert app.huey.jobs(limit=1)[0].attempt == 2


def test_a_web_process_that_is_killed(app: Counting, counting: Page) -> None:
    for process in psutil.Process(app.programs["web"].pid).children():
        process.kill()
    ends(app, counting)


@pytest.mark.long
def test_a_web_that_is_away(app: Counting, counting: Page) -> None:
    app.end("web", signal.SIGKILL)
    away = time.monotonic()
    note = counting.get_by_role("status").filter(has_text="Reconnecting")
    expect(note).to_be_visible()
    app.go()
    time.sleep(max(0.0, away + AWAY - time.monotonic()))
    app.start_web()
    ends(app, counting)


def test_a_valkey_that_is_restarted(app: Counting, counting: Page) -> None:
    app.valkey.restart()
    ends(app, counting)


def test_a_rolling_restart(app: Counting, counting: Page) -> None:
    app.programs["web"].send_signal(signal.SIGHUP)
    app.end("worker")
    app.start_worker()
    ends(app, counting)


def test_a_click_while_the_web_is_away_is_one_job(app: Counting, page: Page) -> None:
    app.go()
    page.set_default_timeout(PATIENCE * 1000)
    page.goto(f"{app.url}/counting")
    expect(page.get_by_role("button", name="Count")).to_be_visible()
    before = len(app.huey.jobs(limit=1000))
    app.end("web", signal.SIGKILL)
    page.get_by_role("button", name="Count").click()
    expect(page.get_by_text("Reconnecting")).to_be_visible()
    app.start_web()
    ends(app, page)
    assert len(app.huey.jobs(limit=1000)) == before + 1
