"""Takes docs/screens/ and writes docs/screens.md: every page of the portfolio example, light and dark, wide and on a phone.

`make screenshots` runs it. The example is baked and runs as in production, honcho with its Procfile, and does real work: jobs that
succeed, fail, are tried again, lose their worker, wait. A page that is added needs a scene here, which a test asks for.
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
from playwright.sync_api import Browser, Page, sync_playwright

from docs.small_png import small
from jobqueue import DurableHuey, State
from tests import baking, chromium
from tests.end_to_end.running import RunningApp

DOCS = Path(__file__).parent
PICTURES = DOCS / "screens"
PAGE = DOCS / "screens.md"

SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}  # pixels
LONGEST = 2  # windows: a picture of a longer page ends there
SLOW = 600  # seconds that the work may take where much else runs
PASSWORD = "mountain river nine"
HOUR = 3600  # seconds
NOWHERE = "postgresql://ann@127.0.0.1:1/nowhere"


@dataclass(frozen=True)
class Scene:
    """A page to take: `{done}` in its address is the id of the job that has that name in `Filled`."""

    title: str
    words: str
    address: str
    shown: str  # a selector of what is there once the page is
    logged_in: bool = True
    pressed: str | None = None  # a selector of what is clicked then
    without_database: bool = False  # from now on there is none


SCENES = {
    "analysis": Scene("Analysis", "What to analyse, and what was analysed before.", "/analysis", "table"),
    "analysis-running": Scene(
        "An analysis that runs",
        "Its address shows it again, in any browser.",
        "/analysis?job={running}",
        "[role=progressbar]",
    ),
    "analysis-done": Scene(
        "What came of an analysis",
        "Its worker was killed on the way, and it went on where it was.",
        "/analysis?job={done}",
        "#analysis-years .main-svg",
    ),
    "frontier": Scene("Frontier", "A short job.", "/frontier?job={frontier}", ".js-plotly-plot .main-svg"),
    "market": Scene(
        "Market", "A dataset that a worker makes anew each minute.", "/market", "#market-charts .main-svg >> nth=-1"
    ),
    "hello": Scene("Hello", "The page to copy.", "/hello?job={hello}", "text=Hello, Ann!"),
    "jobs": Scene("Jobs", "What the queue is doing.", "/jobs", ".recharts-surface >> nth=-1"),
    "job": Scene("A job that lost its worker", "What happened to it.", "/jobs/{done}", "text=Its worker died"),
    "job-failed": Scene(
        "A job that failed",
        "Each attempt has its traceback.",
        "/jobs/{failed}",
        "text=Traceback of attempt 4",
        pressed="text=Traceback of attempt 1",
    ),
    "schedules": Scene("Schedules", "What runs by itself.", "/jobs?tab=schedules", "text=Last:"),
    "datasets": Scene(
        "Datasets", "What is made again and again for pages to read.", "/jobs?tab=datasets", "text=As of"
    ),
    "workers": Scene("Workers", "Who works, on what.", "/jobs?tab=workers", "[aria-label=Workers] td"),
    "login": Scene("Log in", "Where one has to.", "/login", "text=Log in", logged_in=False),
    "account": Scene("Account", "Another password, and the way out.", "/account", "text=Current password"),
    "not-found": Scene("Not found", "An address that leads nowhere.", "/nowhere", "text=There is no such page"),
    "trouble": Scene(
        "Without the database",
        "For as long as it does not answer.",
        "/analysis",
        "text=The database does not answer",
        without_database=True,
    ),
}


@dataclass(frozen=True)
class Filled:
    """Ids of jobs."""

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
    session = log_in(browser, app)
    blank = browser.new_page()
    for name, scene in SCENES.items():
        if scene.without_database:
            app.stop()
            app.start(AUTH="accounts", DATABASE_URL=NOWHERE)
        for size, (width, height) in SIZES.items():
            page = browser.new_page(
                viewport={"width": width, "height": height},
                reduced_motion="reduce",
                locale="en-GB",
                timezone_id="UTC",
                storage_state=session if scene.logged_in else None,
            )
            page.set_default_timeout(1000 * SLOW)
            for scheme in SCHEMES:
                page.emulate_media(color_scheme=scheme)
                if page.url == "about:blank":
                    page.goto(app.url + scene.address.format_map(vars(filled)))
                    page.locator(scene.shown).first.wait_for()
                    if scene.pressed:
                        page.locator(scene.pressed).click()
                path = PICTURES / picture(name, scheme, size)
                path.write_bytes(small(take(page, hidden), blank))
                print(f"{path.relative_to(DOCS.parent)}: {path.stat().st_size / 1000:.0f} kB", flush=True)
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
    """Once the page has come to rest; without what only this machine knows."""
    size = page.viewport_size
    assert size is not None
    for _ in range(10):
        rest(page)
        page.evaluate("scrollTo(0, 0)")  # or the header is drawn where a click has led
        page.evaluate(HIDE, hidden)
        height = page.evaluate("document.documentElement.scrollHeight")
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(height, LONGEST * size["height"])}
        taken = page.screenshot(full_page=True, clip=clip, animations="disabled")  # type: ignore[arg-type]
        if not page.evaluate(HIDE, hidden):  # else it was told anew in that moment
            return taken
    raise RuntimeError(f"{page.url} shows what only this machine knows, again and again.")


def rest(page: Page) -> None:
    """Wait until nothing of the page is still to come, or moves; a page that goes on changing is taken as it is."""
    page.wait_for_function("[...document.querySelectorAll('.mantine-Skeleton-root')].every(one => !one.offsetParent)")
    earlier = None
    for _ in range(6):
        page.wait_for_timeout(400)
        now = page.evaluate("document.body.innerHTML")
        if now == earlier:
            break
        earlier = now


# Other words for those that only this machine knows, in all texts of the page; how many texts had some.
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


# --- what they show ---

# Some work for the charts, then a refresh of prices that cannot be had.
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
    analyse.using(owner=ann)(SYMBOLS[n : n + 6], "variance", 1260, 252)
    if n % 3 == 0:
        efficient_frontier.using(owner=ben)(["AAPL", "TSLA"])  # of which there are no prices
print(json.dumps({"failed": prices.refresh().id}))
"""
# What is open, what runs, and what waits for it, as one analysis runs at a time.
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


def fill(app: RunningApp, prices_url: str) -> Filled:
    """Start the app, and let its workers do what the pages show. Returns while an analysis runs."""
    user(app, "ann", "--admin")
    user(app, "ben")
    settings = {"AUTH": "accounts", "WORKERS": "3", "QUEUES": "default,interactive,heavy:1"}
    ledger = f"sqlite:///{app.folder}/var/jobs.sqlite"
    huey = DurableHuey("screenshots", ledger)
    try:
        app.start(PRICES_URL=prices_url, **settings)
        ids = submit(app, MANY)
        wait_until(lambda: all(job.state.ended for job in huey.jobs(limit=1000)))
        put_back(app, before=ids["failed"])
        app.stop()
        app.start(**settings)
        ids |= submit(app, OPEN)
        wait_until(lambda: (huey.get_job(ids["done"]).done or 0) > 10)
        for worker in huey.workers():
            if worker.job == ids["done"]:
                psutil.Process(worker.pid).kill()
        wait_until(lambda: all(huey.get_job(ids[name]).state is State.SUCCEEDED for name in ("done", "frontier", "hello")))
        wait_until(lambda: huey.jobs(task="app.jobs.market.prices", state=State.SUCCEEDED))
        ids |= submit(app, REST)
        wait_until(lambda: (huey.get_job(ids["running"]).done or 0) > 100)
    finally:
        huey.storage.close()
    return Filled(**ids)


def wait_until(condition: Callable[[], object]) -> None:
    until = time.monotonic() + SLOW
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(f"The work for the pictures was not done within {SLOW} s.")
        time.sleep(0.5)


def user(app: RunningApp, name: str, *options: str) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "app", "users", "add", name, *options]
    environment = os.environ | {"AUTH": "accounts"}
    subprocess.run(
        command, cwd=app.folder, env=environment, input=f"{PASSWORD}\n" * 2, text=True, check=True, capture_output=True
    )


def submit(app: RunningApp, code: str) -> dict[str, str]:
    """In the app's own Python; returns the ids that it prints."""
    told = subprocess.check_output([sys.executable, "-c", code], cwd=app.folder, text=True)
    return dict(json.loads(told))


def put_back(app: RunningApp, before: str) -> None:
    """As if the jobs before that one had come in over the last hour."""
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
    """Has all but one symbol's."""

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
    """The address of a server of prices, one of which cannot be had."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Prices)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/{{symbol}}.csv"
    server.shutdown()


# --- the page that shows them ---


def picture(scene: str, scheme: str, size: str) -> str:
    return f"{scene}-{scheme}-{size}.png"


def pictures(scene: str) -> list[str]:
    return [picture(scene, scheme, size) for size in SIZES for scheme in SCHEMES]


def page() -> str:
    parts = [
        "# Every page",
        "The portfolio example as an admin sees it, in light and dark, on a desk and on a phone. `make screenshots` bakes the example, "
        "runs it, lets it work, and takes these pictures anew. The jobs in them are real; those of the charts were done within some "
        "minutes and are spread over the hour. Of a long page its beginning is shown.",
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
