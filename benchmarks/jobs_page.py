"""The cost of the jobs page while ten browsers show it and a worker runs twenty jobs a second.

`python -m benchmarks.jobs_page [--quick]`, run by `make bench`. A baked app runs as its Procfile says, with accounts,
on Postgres with an hour of finished jobs. An admin is logged in, in ten visible windows of Chromium. The benchmark
measures the processor time of the web processes and Postgres without the page, and then five times with it and without
it again. The difference is the cost of the page. Exits with 1 if the median of the five reaches its limit.
"""

import argparse
import contextlib
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil
from playwright.sync_api import Browser, Page, expect, sync_playwright

KIT = Path(__file__).parents[1]
sys.path[:0] = [str(KIT), str(KIT / "engine" / "src")]

from benchmarks.web import cpu_seconds  # noqa: E402
from jobqueue.dash.pages.overview_layout import REFRESH_MS  # noqa: E402
from jobqueue.dash.pages.query import ROWS  # noqa: E402
from jobqueue.database.database import Database  # noqa: E402
from jobqueue.ledger.ledger import Ledger  # noqa: E402
from jobqueue.monitoring.figures import Statistics  # noqa: E402
from tests import baking, chromium  # noqa: E402
from tests.end_to_end.running import RunningApp  # noqa: E402
from tests.scale import filling  # noqa: E402
from tests.servers import PostgresServer  # noqa: E402

PACE = 20  # jobs a second
PROCESSES = 2  # web processes
LIMIT = 5.0  # percent of a core, for the web processes and Postgres together
ENOUGH = 0.9  # share of the expected jobs and refreshes. With fewer, the figures are worthless
OPENS_IN = 60_000  # milliseconds
UPDATE = "/_dash-update-component"
ADMIN, PASSWORD = "ann", "mountain river nine"

TASK = '''
"""A job that takes a moment."""

import time

from app.jobs import huey


@huey.task()
def work() -> None:
    time.sleep(0.02)
'''
SUBMIT = f"""
import itertools, time
from app.jobs.paced import work
began = time.monotonic()
for n in itertools.count(1):
    work()
    time.sleep(max(0.0, began + n / {PACE} - time.monotonic()))
"""


class Size(NamedTuple):
    browsers: int
    ended: int  # jobs that have finished before the benchmark starts
    warm_up: float  # seconds before the measurement
    seconds: float
    rounds: int


FULL = Size(10, 3600 * PACE, 10.0, 30.0, rounds=5)
QUICK = Size(3, 1000, 6.0, 6.0, rounds=1)


class Site(NamedTuple):
    url: str
    statistics: Statistics
    programs: list[psutil.Process]  # web, Postgres, worker

    def used(self) -> list[float]:
        """Return the processor time of each program, and of the browsers, in seconds."""
        browsers = [child for child in psutil.Process().children() if "run-driver" in " ".join(child.cmdline())]
        return [*(cpu_seconds([program]) for program in self.programs), cpu_seconds(browsers)]


class Measured(NamedTuple):
    """Figures measured while some number of browsers showed the page. Processor time is in percent of a core."""

    browsers: int
    jobs: float  # that ended per second
    refreshes: float  # that were answered per second
    failed: int  # refreshes
    web: float
    postgres: float
    worker: float
    chromium: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="run three browsers for a short time, to check that it works"
    )
    size = QUICK if parser.parse_args().quick else FULL
    path = os.environ.get("CHROMIUM") or chromium.find()
    with site(size) as app, sync_playwright() as playwright:
        print(
            f"{PACE} jobs a second, {size.ended:,} finished jobs, {PROCESSES} web processes on Postgres, "
            f"{os.cpu_count()} cores; {size.seconds:g} s for each line, processor time in % of a core"
        )
        print(
            f"{'browsers':>8}{'jobs/s':>9}{'refreshes/s':>13}{'failed':>8}{'web':>9}{'Postgres':>10}{'worker':>9}{'Chromium':>10}"
        )
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        without, shown = [measure(app, [], size)], []
        for _ in range(size.rounds):
            with opened(browser, app.url, size.browsers) as pages:
                shown.append(measure(app, pages, size))
            without.append(measure(app, [], size))
        browser.close()
    costs = [
        (cost("web", *around), cost("postgres", *around)) for around in zip(without, shown, without[1:], strict=False)
    ]
    web, postgres = sorted(costs, key=sum)[len(costs) // 2]
    print(f"The page costs {', '.join(f'{sum(each):.2f}' for each in costs)} % of a core.")
    print(
        f"The median is {web + postgres:.2f} %: {web:.2f} % for the web processes and {postgres:.2f} % for Postgres. "
        f"The limit is {LIMIT:g} %."
    )
    problems = []
    if min(each.jobs for each in without + shown) < ENOUGH * PACE:
        problems.append(f"Fewer than {ENOUGH * PACE:g} jobs a second ended.")
    enough = ENOUGH * size.browsers * 1000 / REFRESH_MS
    if any(each.failed or each.refreshes < enough for each in shown):
        problems.append(f"Refreshes failed, or browsers did not refresh every {REFRESH_MS / 1000:g} s.")
    if size is FULL and web + postgres >= LIMIT:
        problems.append("The page misses its limit.")
    good = "within the limit" if size is FULL else "The benchmark works. Its figures mean nothing."
    print("\n".join(problems or [good]))
    return 1 if problems else 0


def cost(program: str, before: Measured, meanwhile: Measured, after: Measured) -> float:
    """Return what the page costs in a program, in percent of a core."""
    return getattr(meanwhile, program) - (getattr(before, program) + getattr(after, program)) / 2


@contextlib.contextmanager
def site(size: Size) -> Iterator[Site]:
    """Run the app, and submit jobs to it at an even pace."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        postgres = stack.enter_context(PostgresServer())
        ledger = Ledger(Database(postgres.url))
        stack.callback(ledger.database.close)
        filling.finish(ledger, size.ended, every=1 / PACE)
        app = RunningApp(baking.bake(folder / "apps", app_name="bench", example="blank"))
        app.folder.joinpath("app", "jobs", "paced.py").write_text(TASK)
        settings = {
            "AUTH": "accounts",
            "DATABASE_URL": postgres.url,
            "SECRET_KEY": secrets.token_urlsafe(48),
            "WEB_CONCURRENCY": str(PROCESSES),
        }
        of_the_app = {"cwd": app.folder, "env": os.environ | settings}
        add = [sys.executable, "-m", "app", "users", "add", ADMIN, "--admin"]
        typed = f"{PASSWORD}\n{PASSWORD}\n".encode()
        subprocess.run(add, input=typed, check=True, capture_output=True, **of_the_app)  # type: ignore[call-overload]
        stack.callback(app.stop)
        app.start(**settings)
        load = subprocess.Popen([sys.executable, "-c", SUBMIT], **of_the_app)  # type: ignore[call-overload]
        stack.callback(load.wait)
        stack.callback(load.terminate)
        yield Site(app.url, Statistics(ledger.database), [program(app, "app web"), postgres.processes()[0], program(app, "app worker")])  # fmt: skip


def program(app: RunningApp, part: str) -> psutil.Process:
    """Return the first process of the line of the Procfile that has this text in its command."""
    return next(process for process in app.processes() if part in " ".join(process.cmdline()))


@contextlib.contextmanager
def opened(browser: Browser, url: str, count: int) -> Iterator[list[Page]]:
    """Open the jobs page in `count` browsers of one admin, and wait until it shows its rows and charts."""
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(browser.new_context())
        log_in(first.new_page(), url)
        contexts = [first]
        for _ in range(count - 1):
            contexts.append(stack.enter_context(browser.new_context(storage_state=first.storage_state())))
        pages = [context.pages[0] if context.pages else context.new_page() for context in contexts]
        for page in pages:
            page.goto(f"{url}/jobs")
            expect(page.locator("#jobs-rows tbody tr")).to_have_count(ROWS, timeout=OPENS_IN)
            expect(page.locator(".recharts-surface").first).to_be_visible(timeout=OPENS_IN)
        yield pages
        assert [page.evaluate("document.visibilityState") for page in pages] == ["visible"] * count


def log_in(page: Page, url: str) -> None:
    page.goto(f"{url}/login", timeout=OPENS_IN)
    page.get_by_label("Name").fill(ADMIN)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(lambda address: not address.endswith("/login"), timeout=OPENS_IN, wait_until="commit")


def measure(app: Site, pages: Sequence[Page], size: Size) -> Measured:
    """Measure and print one line."""
    answers: list[int] = []
    for page in pages:
        page.on("response", lambda answer: answers.append(answer.status) if UPDATE in answer.url else None)
    wait(pages, size.warm_up)
    answers.clear()
    began, before = time.monotonic(), app.used()
    wait(pages, size.seconds)
    lasted, after = time.monotonic() - began, app.used()
    (ended,) = app.statistics.stretches(time.time(), lasted, 1)
    good = answers.count(200)
    found = Measured(
        len(pages),
        ended.succeeded / lasted,
        good / lasted,
        len(answers) - good,
        *(100 * (now - then) / lasted for now, then in zip(after, before, strict=True)),
    )
    print(
        f"{found.browsers:8}{found.jobs:9.1f}{found.refreshes:13.2f}{found.failed:8}{found.web:9.2f}{found.postgres:10.2f}"
        f"{found.worker:9.2f}{found.chromium:10.1f}",
        flush=True,
    )
    return found


def wait(pages: Sequence[Page], seconds: float) -> None:
    """Wait. Let Playwright handle the events of the pages meanwhile."""
    if pages:
        pages[0].wait_for_timeout(1000 * seconds)
    else:
        time.sleep(seconds)


if __name__ == "__main__":
    sys.exit(main())
