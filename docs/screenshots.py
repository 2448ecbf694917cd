"""Take the pictures in docs/screens/ and write docs/screens.md: every page of the portfolio example, light and dark, desktop and phone.

`make screenshots` runs this. It bakes the example and runs it as in production, with honcho and its Procfile. The example does real
work: jobs succeed, fail, are retried, lose their worker, and wait. Each new page needs a scene here; a test checks this.
"""

import contextlib
import json
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Literal

import psutil
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from docs.small_png import small
from jobqueue import DurableHuey, Job, State
from tests import baking, chromium
from tests.end_to_end.running import RunningApp

DOCS = Path(__file__).parent
PICTURES = DOCS / "screens"
PAGE = DOCS / "screens.md"

SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}  # pixels
LONGEST = 2  # windows: pictures of longer pages are cut here
SLOW = 600  # seconds: time limit of the work on a busy machine
PASSWORD = "mountain river nine"
HOUR = 3600  # seconds
NOWHERE = "postgresql://ann@127.0.0.1:1/nowhere"


@dataclass(frozen=True)
class Scene:
    """A page to photograph. `{done}` in its address stands for the id of that job in `Filled`."""

    title: str
    words: str
    address: str
    shown: str  # selector of an element that appears when the page is ready
    logged_in: bool = True
    pressed: str | None = None  # selector of an element to click then
    without_database: bool = False  # stop the database before this scene and all later ones


SCENES = {
    "analysis": Scene("Analysis", "Choose an analysis, and see earlier ones.", "/analysis", "table"),
    "analysis-running": Scene(
        "A running analysis",
        "Its address shows it in any browser.",
        "/analysis?job={running}",
        "[role=progressbar]",
    ),
    "analysis-done": Scene(
        "A finished analysis",
        "Its worker was killed during the run, and another continued.",
        "/analysis?job={done}",
        "#analysis-years .main-svg",
    ),
    "frontier": Scene(
        "Frontier", "A short job and its chart.", "/frontier?job={frontier}", ".js-plotly-plot .main-svg"
    ),
    "market": Scene(
        "Market", "A dataset that a worker refreshes each minute.", "/market", "#market-charts .main-svg >> nth=-1"
    ),
    "hello": Scene("Hello", "The smallest page, for you to copy.", "/hello?job={hello}", "text=Hello, Ann!"),
    "jobs": Scene("Jobs", "The state of the queue.", "/jobs", ".recharts-surface >> nth=-1"),
    "job": Scene("A job that lost its worker", "Its history shows each attempt.", "/jobs/{done}", "text=Interrupted"),
    "job-failed": Scene(
        "A job that failed",
        "Each attempt has a traceback.",
        "/jobs/{failed}",
        "text=Traceback of attempt 4",
        pressed="text=Traceback of attempt 1",
    ),
    "schedules": Scene("Schedules", "Jobs that run on a schedule.", "/jobs?tab=schedules", "text=Last:"),
    "datasets": Scene("Datasets", "Data that workers refresh for pages to read.", "/jobs?tab=datasets", "text=As of"),
    "workers": Scene("Workers", "Each worker and its current job.", "/jobs?tab=workers", "[aria-label=Workers] td"),
    "login": Scene("Log in", "Production requires a login.", "/login", "text=Log in", logged_in=False),
    "account": Scene("Account", "Change the password, and log out.", "/account", "text=Current password"),
    "not-found": Scene("Not found", "An address without a page.", "/nowhere", "text=There is no such page"),
    "trouble": Scene(
        "Without the database",
        "Pages show this until the database answers again.",
        "/analysis",
        "text=The database does not answer",
        without_database=True,
    ),
}


@dataclass(frozen=True)
class Filled:
    """The ids of the jobs that the pictures show."""

    done: str
    failed: str
    running: str
    frontier: str
    hello: str


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, prices_that_fail() as prices_url:
        app = RunningApp(baking.bake(Path(folder, "apps"), author="Ann Rivers"))
        hidden = {
            str(app.folder): "/app",
            sys.prefix: "/app/.venv",
            sys.base_prefix: "/usr",
            str(Path.home()): "/home/ann",
            prices_url.partition("/{")[0]: "https://prices.example",
            socket.gethostname(): "desk",
        }
        try:
            filled = fill(app, prices_url)
            with sync_playwright() as playwright:
                take_all(
                    playwright.chromium.launch(executable_path=chromium.find(), args=["--no-sandbox"]),
                    app,
                    filled,
                    hidden,
                )
        finally:
            app.stop()
    for path in set(PICTURES.iterdir()) - {PICTURES / name for scene in SCENES for name in pictures(scene)}:
        path.unlink()
    PAGE.write_text(page(), encoding="utf-8")


# --- the pages ---


def take_all(browser: Browser, app: RunningApp, filled: Filled, hidden: dict[str, str]) -> None:
    blank = browser.new_page()
    for name, page in shown(browser, app, filled):
        path = PICTURES / name
        path.write_bytes(small(take(page, hidden), blank))
        print(f"{path.relative_to(DOCS.parent)}: {path.stat().st_size / 1000:.0f} kB", flush=True)


def shown(browser: Browser, app: RunningApp, filled: Filled) -> Iterator[tuple[str, Page]]:
    """Yield the name of each picture, and the page to take it of. Wait until it is still with `rest`."""
    session = log_in(browser, app)
    with contextlib.ExitStack() as opened:
        contexts = {  # few, because each compiles all scripts anew
            (size, logged_in): opened.enter_context(
                browser.new_context(
                    viewport={"width": width, "height": height},
                    reduced_motion="reduce",
                    locale="en-GB",
                    timezone_id="UTC",
                    storage_state=session if logged_in else None,
                )
            )
            for size, (width, height) in SIZES.items()
            for logged_in in (True, False)
        }
        yield from _in_contexts(contexts, app, filled)


def _in_contexts(
    contexts: dict[tuple[str, bool], BrowserContext], app: RunningApp, filled: Filled
) -> Iterator[tuple[str, Page]]:
    for name, scene in SCENES.items():
        if scene.without_database:
            app.stop()
            app.start(AUTH="accounts", DATABASE_URL=NOWHERE)
        for size in SIZES:
            page = contexts[size, scene.logged_in].new_page()
            page.set_default_timeout(1000 * SLOW)
            for scheme in SCHEMES:
                page.emulate_media(color_scheme=scheme)
                if page.url == "about:blank":
                    page.goto(app.url + scene.address.format_map(vars(filled)))
                    page.locator(scene.shown).first.wait_for()
                    if scene.pressed:
                        page.locator(scene.pressed).click()
                yield picture(name, scheme, size), page
            page.close()


def log_in(browser: Browser, app: RunningApp) -> Any:
    page = browser.new_page()
    page.goto(f"{app.url}/login")
    page.get_by_label("Name").fill("ann")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.get_by_label("The account of ann").wait_for()
    return page.context.storage_state()


def take(page: Page, hidden: dict[str, str]) -> bytes:
    """Take a picture once the page is still, with this machine's own names replaced."""
    size = page.viewport_size
    assert size is not None
    for _ in range(10):
        rest(page)
        page.evaluate("scrollTo(0, 0)")  # a click may have scrolled, which would move the header
        page.evaluate(HIDE, hidden)
        height = page.evaluate("document.documentElement.scrollHeight")
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(height, LONGEST * size["height"])}
        taken = page.screenshot(full_page=True, clip=clip, animations="disabled")  # type: ignore[arg-type]
        if not page.evaluate(HIDE, hidden):  # otherwise a refresh has shown them again
            return taken
    raise RuntimeError(f"{page.url} keeps showing names of this machine.")


def rest(page: Page) -> None:
    """Wait until the page is complete and still. Give up waiting if it keeps changing."""
    page.wait_for_function("[...document.querySelectorAll('.mantine-Skeleton-root')].every(one => !one.offsetParent)")
    earlier = None
    for _ in range(6):
        page.wait_for_timeout(400)
        now = page.evaluate("document.body.innerHTML")
        if now == earlier:
            break
        earlier = now


# Replace this machine's own names in all texts of the page. Returns the number of changed texts.
HIDE = r"""hidden => {
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    let found = 0;
    while (texts.nextNode()) {
        const text = texts.currentNode.data;
        let shown = text;
        for (const [ours, neutral] of Object.entries(hidden)) {
            const whole = new RegExp(`(?<![\\w-])${ours.replace(/[.]/g, "\\.")}(?![\\w-])`, "g");
            shown = shown.replace(whole, neutral);
        }
        if (shown !== text) {
            texts.currentNode.data = shown;
            found += 1;
        }
    }
    return found;
}"""


# --- the work that they show ---

# Work for the charts, then a refresh of prices that fails.
MANY = """
import json
from app.jobs.analysis import analyse
from app.jobs.frontier import efficient_frontier
from app.jobs.hello import greet
from app.jobs.market import prices
from app.portfolio.universe import SYMBOLS
for n in range(8):
    ann, ben = ("ann", "ben") if n % 2 else ("ben", "ann")
    greet.using(owner=ann)("Ben", n % 3)
    efficient_frontier.using(owner=ben)(SYMBOLS[: 4 + n], 5 + n)
    if n < analyses:
        analyse.using(owner=ann)(SYMBOLS[n : n + 6], "variance", 1260, 252)
    if n % 3 == 0:
        efficient_frontier.using(owner=ben)(["AAPL", "TSLA"])  # TSLA has no prices
print(json.dumps({"failed": prices.refresh().id}))
"""
# The jobs whose pages are shown.
OPEN = """
import json
from app.jobs.analysis import analyse
from app.jobs.frontier import efficient_frontier
from app.jobs.hello import greet
print(json.dumps({
    "done": analyse.using(owner="ann")(rebalance=63).id,
    "frontier": efficient_frontier.using(owner="ann")().id,
    "hello": greet.using(owner="ann")("Ann", 2).id,
}))
"""
# One analysis runs at a time, so the others wait.
REST = """
import json
from app.jobs.analysis import analyse
from app.jobs.hello import greet
running = analyse.using(owner="ann")(rebalance=2).id
for risk in "cvar", "variance":
    analyse.using(owner="ben")(risk=risk)
analyse.using(owner="ann")(cap=0.2)
analyse.using(owner="ann").schedule((), delay=5 * 3600)
analyse.using(owner="ben")(training=504).cancel()
print(json.dumps({"running": running}))
"""


def fill(app: RunningApp, prices_url: str, analyses: int = 8) -> Filled:
    """Start the app, and let its workers do the work that the pages show. Return in the middle of an analysis, which is stopped there.

    :param analyses: how many short analyses run before. They take most of the time.
    """
    user(app, "ann", "--admin")
    user(app, "ben")
    settings = {"AUTH": "accounts", "WORKERS": "3", "QUEUES": "default,interactive,heavy:1"}
    ledger = f"sqlite:///{app.folder}/var/jobs.sqlite"
    huey = DurableHuey("screenshots", ledger)
    try:
        app.start(PRICES_URL=prices_url, **settings)
        ids = submit(app, f"analyses = {analyses}\n{MANY}")
        wait_until(lambda: all(job.state.ended for job in huey.jobs(limit=1000)))
        put_back(app, before=ids["failed"])
        app.stop()
        app.start(**settings)
        ids |= submit(app, OPEN)
        wait_until(lambda: (huey.get_job(ids["done"]).done or 0) > 10)
        for worker in huey.workers():
            if worker.job == ids["done"]:
                psutil.Process(worker.pid).kill()
        wait_until(
            lambda: all(huey.get_job(ids[name]).state is State.SUCCEEDED for name in ("done", "frontier", "hello"))
        )
        wait_until(lambda: huey.jobs(task="app.jobs.market.prices", state=State.SUCCEEDED))
        ids |= submit(app, REST)
        wait_until(lambda: far_enough(huey.get_job(ids["running"])))
        for worker in huey.workers():
            if worker.job == ids["running"]:
                for each in psutil.Process(worker.pid).children(recursive=True):
                    each.suspend()  # otherwise the browser waits for its parts
    finally:
        huey.storage.close()
    return Filled(**ids)


def far_enough(job: Job) -> bool:
    """Return whether a running job has done a part that shows. Raise RuntimeError if it does not run any more."""
    if job.state.ended:
        raise RuntimeError(f"The job that was to run has ended: {job}")
    return (job.done or 0) > 100


def wait_until(condition: Callable[[], object]) -> None:
    until = time.monotonic() + SLOW
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(f"The work for the pictures took longer than {SLOW} s.")
        time.sleep(0.5)


def user(app: RunningApp, name: str, *options: str) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "app", "users", "add", name, *options]
    environment = os.environ | {"AUTH": "accounts"}
    subprocess.run(
        command, cwd=app.folder, env=environment, input=f"{PASSWORD}\n" * 2, text=True, check=True, capture_output=True
    )


def submit(app: RunningApp, code: str) -> dict[str, str]:
    """Run code in the app's folder, and return the ids that it prints."""
    told = subprocess.check_output([sys.executable, "-c", code], cwd=app.folder, text=True)
    return dict(json.loads(told))


def put_back(app: RunningApp, before: str) -> None:
    """Spread the times of the jobs before that one over the last hour."""
    with contextlib.closing(sqlite3.connect(app.folder / "var" / "jobs.sqlite", timeout=SLOW)) as ledger, ledger:
        moved = ledger.execute(
            "SELECT seq FROM jobs WHERE seq < (SELECT seq FROM jobs WHERE id = ?) ORDER BY seq", [before]
        ).fetchall()
        for number, (seq,) in enumerate(moved):
            ledger.execute(
                "UPDATE jobs SET created_at = created_at - :s, queued_at = queued_at - :s, claimed_at = claimed_at - :s, "
                "ended_at = ended_at - :s WHERE seq = :seq",
                {"s": 0.95 * HOUR * (1 - number / len(moved)), "seq": seq},
            )


class Prices(BaseHTTPRequestHandler):
    """A server of prices that fails for one symbol."""

    def do_GET(self) -> None:
        if "JPM" in self.path:
            self.send_error(503)
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"Date,Close\n2024-01-02,1\n2024-01-03,1\n")

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def prices_that_fail() -> Iterator[str]:
    """Serve prices with one missing symbol, and yield the address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Prices) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/{{symbol}}.csv"
        server.shutdown()


# --- docs/screens.md ---


def picture(scene: str, scheme: str, size: str) -> str:
    return f"{scene}-{scheme}-{size}.png"


def pictures(scene: str) -> list[str]:
    return [picture(scene, scheme, size) for size in SIZES for scheme in SCHEMES]


def page() -> str:
    parts = [
        "# Every page",
        "These pictures show the portfolio example to an admin: light and dark, on a desktop and on a phone. To take them again, run "
        "`make screenshots`. It bakes the example, runs it, and takes the pictures. The jobs in them are real. The jobs in the charts "
        "ran within some minutes; their times are spread over the hour. Pictures of long pages show the beginning.",
    ]
    for name, scene in SCENES.items():
        rows = [
            " | ".join(
                f"![{scene.title}, {scheme}, {size}](screens/{picture(name, scheme, size)})" for scheme in SCHEMES
            )
            for size in SIZES
        ]
        parts += [
            f"## {scene.title}",
            scene.words,
            "\n".join([f"| {' | '.join(SCHEMES)} |", "|---|---|", *(f"| {row} |" for row in rows)]),
        ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
