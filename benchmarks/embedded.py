"""A comparison of the embedded queue (SQLite, no server) with stock Huey on SQLite, and the cost of an idle app.

Run by `make bench`. Prints the time from submit to start on an idle queue, for both in one run. For a baked app, prints
the time until it is ready, the processor time while it is idle, and its memory: at the start, and after a visit to every page.
"""

import argparse
import contextlib
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil

KIT = Path(__file__).parent.parent
ENGINE = KIT / "engine" / "src"
JOBS = 200
PAUSE = 0.25  # seconds between two jobs, in which the queue is idle
PORT = 8059
IDLE = 30  # seconds over which the processor time of an idle app is measured

TASKS = """
import time
from pathlib import Path

{make}

@huey.task()
def started():
    return time.time()
"""
OURS = 'from jobqueue import DurableHuey\nhuey = DurableHuey("bench", "sqlite:///{path}")'
STOCK = 'from huey import SqliteHuey\nhuey = SqliteHuey("bench", filename="{path}")'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--app", type=Path, help="a baked and installed app to measure; its web process must not be running"
    )
    arguments = parser.parse_args()
    print(f"submit to start on an idle queue, {JOBS} jobs, 2 process workers, SQLite (ms)")
    print(f"{'':16}{'p50':>10}{'p99':>10}{'max':>10}")
    ours, stock = latencies("ours", OURS), latencies("stock SqliteHuey", STOCK)
    print(f"{'ours / stock':16}" + "".join(f"{a / b:10.2f}" for a, b in zip(ours, stock, strict=True)))
    if arguments.app is not None:
        idle_app(arguments.app)


def latencies(label: str, make: str) -> tuple[float, float, float]:
    """Return the milliseconds from submit to start: median, 99th percentile, maximum."""
    with tempfile.TemporaryDirectory() as folder:
        module = Path(folder, f"bench_{label.split()[0]}.py")
        module.write_text(TASKS.format(make=make.format(path=Path(folder, "jobs.sqlite"))))
        sys.path[:0] = [folder, str(ENGINE)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([folder, str(ENGINE)])}
        consumer = [
            Path(sys.executable).with_name("huey_consumer"),
            f"{module.stem}.huey",
            "-k",
            "process",
            "-w",
            "2",
            "-q",
        ]
        task = __import__(module.stem).started
        with running([str(part) for part in consumer], env=environment, cwd=folder):
            task().get(blocking=True, timeout=30)  # it is up
            waits = []
            for _ in range(JOBS):
                time.sleep(PAUSE)
                submitted = time.time()
                waits.append((task().get(blocking=True, timeout=30) - submitted) * 1000)
    found = statistics.median(waits), statistics.quantiles(waits, n=100)[98], max(waits)
    print(f"{label:16}" + "".join(f"{value:10.1f}" for value in found))
    return found


def idle_app(app: Path) -> None:
    """Print what an idle app takes: seconds until it is ready, processor time, and megabytes. Shared memory counts once."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    Path(app, ".env").write_text(f"PORT={PORT}\n")
    began = time.monotonic()
    with running([str(Path(sys.executable).with_name("honcho")), "start"], cwd=app, env=environment) as honcho:
        wait_for(f"http://127.0.0.1:{PORT}/readyz")
        print(f"ready after {time.monotonic() - began:.1f} s: web and worker start together")
        processes = psutil.Process(honcho.pid).children(recursive=True)
        print(f"at the start: {memory(processes)}")
        pages = visit_every_page(app)
        processes = psutil.Process(honcho.pid).children(recursive=True)
        before = cpu_seconds(processes)
        time.sleep(IDLE)
        share = (cpu_seconds(processes) - before) / IDLE
        print(f"idle app, {len(processes)} processes: {share:.2%} of a core over {IDLE} s")
        print(f"after a visit to its {pages} pages: {memory(processes)}")


def memory(processes: list[psutil.Process]) -> str:
    """Return the memory of the web process, and of the worker's main process with its workers (PSS)."""
    took = {
        name: sum(p.memory_full_info().pss for p in processes if f"app {name}" in " ".join(p.cmdline())) / 1e6
        for name in ("web", "worker")
    }
    return f"web {took['web']:.0f} MB, worker {took['worker']:.0f} MB"


def visit_every_page(app: Path) -> int:
    """Open each page in Chromium, so that its callbacks run too."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=os.environ.get("CHROMIUM"), args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{PORT}/", wait_until="networkidle")
        links = {link.get_attribute("href") for link in page.locator("a[href^='/']").all()}
        for link in sorted(filter(None, links)):
            page.goto(f"http://127.0.0.1:{PORT}{link}", wait_until="networkidle")
        browser.close()
    return len(links)


def cpu_seconds(processes: list[psutil.Process]) -> float:
    return sum(process.cpu_times().user + process.cpu_times().system for process in processes)


def wait_for(url: str) -> None:
    until = time.monotonic() + 30
    while True:
        try:
            urllib.request.urlopen(url, timeout=1).close()
            return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


@contextlib.contextmanager
def running(command: list[str], **options: object) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)


if __name__ == "__main__":
    main()
