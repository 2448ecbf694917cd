"""Tests of the upload page of docs/start.md in Chromium: production, accounts, two web processes, two worker machines, Postgres."""

import contextlib
import os
import secrets
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from jobqueue import DurableHuey
from jobqueue.consumer.pruner import Pruner
from jobqueue.database.database import Row
from tests.end_to_end.running import PASSWORD, RunningApp, log_in, wait_until
from tests.end_to_end.test_downloads import save
from tests.end_to_end.test_production import run, workers_of
from tests.end_to_end.test_start_page_of_the_docs import paste_files
from tests.engine.consumers import ConsumerProcess, consumer_process
from tests.engine.files.rows import rows

pytestmark = [pytest.mark.long, pytest.mark.parametrize("app", ["blank"], indirect=True)]

MB = 1_000_000
ROW = "AAPL,{},0.25,31.5,2026-11-29,the same words in every row\n"
SLOW = 60_000  # milliseconds


@pytest.fixture
def settings(app: RunningApp, fresh_postgres: str) -> dict[str, str]:
    """Start the app with the page of the docs. Return its settings."""
    paste_files(app.folder)
    key = secrets.token_urlsafe(48)
    settings = {"APP_ENV": "production", "SECRET_KEY": key, "DATABASE_URL": fresh_postgres, "WEB_CONCURRENCY": "2"}
    app.start(**settings)
    return settings


@pytest.fixture
def second(app: RunningApp, settings: dict[str, str], tmp_path: Path) -> Iterator[ConsumerProcess]:
    """Yield the consumer of a second machine for workers, with a folder of its own."""
    folder = shutil.copytree(app.folder, tmp_path / "second")
    log = tmp_path / "second.log"
    with consumer_process(["-m", "app", "worker"], log, cwd=folder, env=os.environ | settings) as consumer:
        wait_until(consumer.worker_pids, "the second machine has workers")
        yield consumer


@pytest.fixture
def huey(settings: dict[str, str]) -> Iterator[DurableHuey]:
    """Yield the app's queue, as another process sees it."""
    huey = DurableHuey("seen", settings["DATABASE_URL"], secret_key=settings["SECRET_KEY"])
    yield huey
    huey.storage.close()


def csv(path: Path, size: int) -> Path:
    """Write a CSV file of at least so many bytes."""
    with path.open("w") as stream:
        stream.write("ticker,price,weight,volume,day,remark\n")
        number = 0
        while stream.tell() < size:
            stream.write("".join(ROW.format(number + i) for i in range(1000)))
            number += 1000
    return path


def test_a_large_file_goes_from_its_upload_to_its_table_and_its_download(
    app: RunningApp,
    settings: dict[str, str],
    second: ConsumerProcess,
    huey: DurableHuey,
    tmp_path: Path,
    watched: Page,
    browser: Browser,
) -> None:
    wait_until(lambda: len({worker.consumer for worker in huey.workers()}) == 2, "both machines have registered")
    workers = [*workers_of(app), *map(psutil.Process, second.worker_pids())]
    file = csv(tmp_path / "prices.csv", 50 * MB)
    add_users(app, settings, "ann", "ben")
    watched.goto(f"{app.url}/summary")
    log_in(watched, "ann")
    size = file.stat().st_size
    with peak_memory(webs_of(app)) as web, peak_memory(workers) as worker:
        choose(watched, file)
        expect(watched.get_by_text(f"Uploading {file.name}")).to_be_visible()
        expect(watched.get_by_text(f"{file.name} is uploaded (50 MB).")).to_be_visible(timeout=SLOW)
        watched.get_by_role("button", name="Summarise").click()
        expect(watched.get_by_role("table", name="Result")).to_contain_text("price", timeout=SLOW)
        expect(watched.locator(".js-plotly-plot .main-svg").first).to_be_visible()
        watched.get_by_role("button", name="Download", exact=True).click()
        excel = watched.get_by_role("link", name="Excel", exact=True)
        address = str(excel.get_attribute("href"))
        assert pd.read_excel(save(watched, "Excel", tmp_path))["column"].tolist() == ["price", "weight", "volume"]
    for name, memory in (("web", web), ("worker", worker)):
        print(f"{name}: {max(memory) / MB:.0f} MB more for a file of {size / MB:.0f} MB")
        assert max(memory) < 3 * size

    (job,) = huey.jobs()
    (stored,) = huey.get_job(job.id).args
    stranger = browser.new_context().new_page()
    stranger.goto(watched.url)
    log_in(stranger, "ben")
    expect(stranger.get_by_text("No such job")).to_be_visible()
    for path in (f"/_files/{stored.id}", f"/jobs/{job.id}", address):
        assert stranger.context.request.get(app.url + path).status == 404
    assert watched.context.request.get(f"{app.url}/_files/{stored.id}").json() == {"received": size}

    watched.get_by_role("button", name="Run again").click()
    wait_until(lambda: huey.jobs()[0].id != job.id and huey.jobs()[0].state == "running", "the job runs again")
    for process in workers:
        process.kill()
    wait_until(lambda: huey.jobs()[0].state.ended, "the job ends")
    assert (huey.jobs()[0].state, huey.jobs()[0].attempt) == ("succeeded", 2)
    expect(watched.get_by_role("table", name="Result")).to_contain_text("price", timeout=SLOW)


def test_an_upload_survives_a_killed_web_process(
    app: RunningApp, settings: dict[str, str], huey: DurableHuey, tmp_path: Path, page: Page
) -> None:
    def disturb(route: Route) -> None:
        """Kill all web processes before some pieces come, and lose others or the answers to them."""
        sent.append(f"{route.request.method} {route.request.headers.get('upload-offset', '')}")
        match len(sent):
            case 3 | 4:
                return route.abort()
            case 6:
                return route.fulfill(status=502)
            case 8:
                route.fetch()  # the piece is stored
                return route.abort()
            case 10 | 13:
                for process in webs_of(app):
                    process.send_signal(signal.SIGKILL)
        route.continue_()

    sent = list[str]()
    file = csv(tmp_path / "prices.csv", 10 * MB)
    add_users(app, settings, "ann")
    page.goto(f"{app.url}/summary")
    log_in(page, "ann")
    before = webs_of(app)
    page.route("**/_files/*", disturb)
    choose(page, file)
    expect(page.get_by_text(f"{file.name} is uploaded (10 MB).")).to_be_visible(timeout=SLOW)
    page.unroute("**/_files/*")
    assert sent[2:8] == ["PATCH 2000000", "GET ", "GET ", "PATCH 2000000", "GET ", "PATCH 2000000"]
    assert sent[8] == "GET "
    assert sent[9] == "PATCH 3000000"
    assert not any(process.is_running() for process in before)
    (stored,) = files(huey)
    assert (stored["size"], stored["state"]) == (file.stat().st_size, "complete")
    assert huey.files.get(stored["id"]).open().read() == file.read_bytes()

    def kill_at_the_fifth(route: Route) -> None:
        more.append(route)
        app.kill() if len(more) == 5 else route.continue_()

    more = list[Route]()
    page.route("**/_files/*", kill_at_the_fifth)
    choose(page, file)
    wait_for(page, lambda: not app.answers())
    page.close()
    assert [(row["size"], row["state"]) for row in files(huey)][1:] == [(4 * MB, "incomplete")]
    with huey.ledger.database.statement() as tx:
        tx.run("UPDATE files SET touched_at = touched_at - 3601 WHERE state = 'incomplete'")
    for _ in Pruner(huey.ledger.retention, keep_days=30, keep_jobs=None).batches():
        pass
    assert rows(huey) == {"files": 1, "file_pieces": 11, "job_files": 0}  # the complete file has a day


# ---


def add_users(app: RunningApp, settings: dict[str, str], *names: str) -> None:
    for name in names:
        made = run(app, settings, "-m", "app", "users", "add", name, typed=f"{PASSWORD}\n{PASSWORD}\n")
        assert made.returncode == 0, made.stdout + made.stderr


def files(huey: DurableHuey) -> list[Row]:
    with huey.ledger.database.statement() as tx:
        return tx.all("SELECT id, size, state FROM files ORDER BY seq")


def choose(page: Page, file: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="A CSV file with a header").click()
    chooser.value.set_files(file)


def wait_for(page: Page, condition: Any) -> None:
    """Wait as `wait_until`, while the page's requests are answered."""
    until = time.monotonic() + SLOW / 1000
    while not condition():
        assert time.monotonic() < until
        page.wait_for_timeout(10)


def webs_of(app: RunningApp) -> list[psutil.Process]:
    """Return the processes that serve, which are forks of the first web process."""
    forks = [process for process in app.processes() if process.cmdline()[-3:] == ["-m", "app", "web"]]
    return [process for process in forks if process.ppid() in {fork.pid for fork in forks}]


@contextlib.contextmanager
def peak_memory(processes: list[psutil.Process]) -> Iterator[list[int]]:
    """Yield a list to which each process adds, at the end, the bytes by which its memory grew at most."""

    def watch() -> None:
        while not done.wait(0.02):
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    most[process.pid] = max(most[process.pid], process.memory_info().rss)

    before = {process.pid: process.memory_info().rss for process in processes}
    most, done, grown = dict(before), threading.Event(), list[int]()
    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield grown
    finally:
        done.set()
        thread.join()
        grown.extend(most[pid] - before[pid] for pid in before)
