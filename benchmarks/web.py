"""The cost of watching jobs: how long an unrelated quick callback takes while many browsers watch running jobs.

`python -m benchmarks.web [--quick] [--only NAME]`, run by `make bench`. There are two web processes, as in the app's
Procfile, and eight jobs that report progress each second. More and more simulated browsers on this machine watch the
jobs. Each polls again one second after its last answer. Prints a table, also for Dash's DiskcacheManager. Exits with 1
if a limit is missed.
"""

import argparse
import asyncio
import contextlib
import http.client
import json
import multiprocessing
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from tests.servers import PostgresServer, free_port
from tests.waiting import wait_until

KIT = Path(__file__).parents[1]
ENGINE = KIT / "engine" / "src"

JOBS = 8
PROCESSES = 2
EVERY = 1.0  # seconds from an answer to the next poll: Dash's interval, and a panel's while something changes
PROBES = 20  # quick callbacks a second
LIMIT = 200, 60.0  # browsers, and the limit in milliseconds for the 95th percentile of the quick callback
STARTS_IN = 60.0  # seconds

UPDATE = "/_dash-update-component"
JSON = {"Content-Type": "application/json"}


class Size(NamedTuple):
    browsers: tuple[int, ...]
    warm_up: float  # seconds before the measurement
    seconds: float


FULL = Size((0, 10, 50, 100, 200, 300, 400, 600, 800, 1000), 4.0, 20.0)
QUICK = Size((0, 10, 50), 1.0, 3.0)

# What the browsers watch: a name, the manager of the web process, and the kind of request.
WATCHED = [("callbacks, HueyManager", "huey", "callback"), ("panels", "huey", "panel"), ("callbacks, DiskcacheManager", "diskcache", "callback")]  # fmt: skip


class Measured(NamedTuple):
    """Figures measured while some number of browsers watched."""

    p50: float  # milliseconds of the quick callback
    p95: float
    answers: float  # that the browsers received per second
    failed: int
    web: float  # cores used by the web processes
    others: float  # cores used by the consumer, its jobs and the database
    browsers: float  # cores used by the simulated browsers


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="run few browsers for a short time, to check that the benchmark works"
    )
    parser.add_argument("--only", default="", help="watch only what has this text in its name")
    asked = parser.parse_args()
    size = QUICK if asked.quick else FULL
    print(
        f"{JOBS} waiting jobs, {PROCESSES} web processes, {os.cpu_count()} cores; "
        "p50 and p95 of a quick callback in ms; web, others and browsers in cores"
    )
    p95: dict[str, float] = {}
    for name, manager, kind in WATCHED:
        if asked.only.lower() not in name.lower():
            continue
        print(
            f"\n{name}\n{'browsers':>8}{'p50':>8}{'p95':>8}{'answers/s':>11}{'failed':>8}{'web':>7}{'others':>8}{'browsers':>10}"
        )
        with site(manager) as (port, web, others):
            requests = [callback_request(port) if kind == "callback" else panel_request(port) for _ in range(JOBS)]
            for count in size.browsers:
                found = measure(port, requests, count, size, web, others)
                print(
                    f"{count:8}{found.p50:8.1f}{found.p95:8.1f}{found.answers:11.0f}{found.failed:8}"
                    f"{found.web:7.2f}{found.others:8.2f}{found.browsers:10.2f}",
                    flush=True,
                )
                if count == LIMIT[0]:
                    p95[name] = found.p95
    missed = [name for name, manager, _ in WATCHED if manager == "huey" and p95.get(name, 0.0) >= LIMIT[1]]
    for name in missed:
        print(f"\n{name}: p95 with {LIMIT[0]} browsers is {p95[name]:.1f} ms; the limit is {LIMIT[1]:g} ms.")
    return 1 if missed else 0


@contextlib.contextmanager
def site(manager: str) -> Iterator[tuple[int, psutil.Process, list[psutil.Process]]]:
    """Yield the port and the process of a web server, and the other processes. End the jobs on leaving."""
    port = free_port()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        postgres = stack.enter_context(PostgresServer())
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(map(str, [KIT, ENGINE])),
            "MANAGER": manager,
            "FOLDER": folder,
            "DATABASE_URL": postgres.url,
            "WEB_CONCURRENCY": str(PROCESSES),
            "PORT": str(port),
        }

        def run(*command: str) -> psutil.Process:
            program = subprocess.Popen([sys.executable, "-m", *command], env=environment, stdout=log, stderr=log)
            stack.callback(program.wait, STARTS_IN)
            stack.callback(program.terminate)
            return psutil.Process(program.pid)

        log = stack.enter_context(Path(folder, "log").open("w"))
        web = run("jobqueue.web", "benchmarks.watched:server")
        consumer = run("huey.bin.huey_consumer", "benchmarks.watched.huey", "-k", "process", "-w", str(JOBS))
        try:
            wait_until(lambda: answers(port), STARTS_IN)
            yield port, web, [consumer, *postgres.processes()[:1]]
        except BaseException:
            print(Path(folder, "log").read_text()[-5000:])
            raise
        finally:
            Path(folder, "over").touch()
            time.sleep(2)  # the jobs end


def answers(port: int) -> bool:
    with contextlib.suppress(OSError):
        return ask(port, "GET", "/_dash-layout")[0] == 200
    return False


# --- the requests of a browser, as bytes ---


def callback_request(port: int) -> bytes:
    """Call a background callback. Return the request with which its page polls."""
    page = ask(port, "GET", "/")[1]
    config = re.search(r'<script id="_dash-config" type="application/json">(.*?)</script>', page)
    assert config is not None, page
    end_id = json.loads(config[1])["end_id"]
    wanted = body("waited", "wait", "children")
    status, answer = ask(port, "POST", f"{UPDATE}?endId={end_id}", wanted)
    assert status == 200, answer
    handles = json.loads(answer)
    return as_bytes(f"{UPDATE}?endId={end_id}&cacheKey={handles['cacheKey']}&job={handles['job']}", wanted)


def panel_request(port: int) -> bytes:
    """Submit a task. Return the request with which a page polls for its panel."""
    status, answer = ask(port, "POST", UPDATE, body("panel", "begin", "children"))
    assert status == 200, answer
    panel = json.loads(answer)["response"]["panel"]["children"]["props"]["children"]
    outputs = [spec["output"] for spec in json.loads(ask(port, "GET", "/_dash-dependencies")[1])]
    (output,) = [output for output in outputs if '"part":"status"' in output]
    return as_bytes(UPDATE, panel_body(output, *(part["props"] for part in panel)))


def panel_body(output: str, *parts: dict[str, Any]) -> dict[str, Any]:
    """Return the body of the first poll of a page with one panel."""
    status, result, seen = (part["id"] for part in parts)
    kept, pace, tick = parts[2]["data"], {"of": "page", "panels": "pace"}, {"of": "page", "panels": "tick"}
    return {
        "output": output,
        "outputs": [
            [{"id": status, "property": "children"}],
            [{"id": result, "property": "children"}],
            [{"id": seen, "property": "data"}],
            [{"id": pace, "property": "data"}],
        ],
        "inputs": [
            [{"id": tick, "property": "n_intervals", "value": 1}],
            [{"id": seen, "property": "id", "value": seen}],
        ],
        "state": [
            [{"id": seen, "property": "data", "value": kept}],
            [{"id": pace, "property": "data", "value": None}],
        ],
        "changedPropIds": [json.dumps(tick, sort_keys=True, separators=(",", ":")) + ".n_intervals"],
    }


def body(output: str, by: str, of: str) -> dict[str, Any]:
    return {
        "output": f"{output}.{of}",
        "outputs": {"id": output, "property": of},
        "inputs": [{"id": by, "property": "title", "value": "now"}],
        "changedPropIds": [f"{by}.title"],
        "state": [],
    }


def ask(port: int, method: str, path: str, sent: dict[str, Any] | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=STARTS_IN)
    with contextlib.closing(connection):
        connection.request(method, path, None if sent is None else json.dumps(sent), JSON)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def as_bytes(path: str, sent: dict[str, Any]) -> bytes:
    text = json.dumps(sent).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
    return head.encode() + text


# --- the browsers, in a separate process, and the measurement ---


def measure(
    port: int, requests: list[bytes], count: int, size: Size, web: psutil.Process, others: list[psutil.Process]
) -> Measured:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    lasts = size.warm_up + size.seconds
    crowd = context.Process(target=watch, args=(port, requests, count, size.warm_up, lasts, sender))
    crowd.start()
    assert receiver.recv() == "begun"
    time.sleep(size.warm_up)
    before = [cpu_seconds([web]), cpu_seconds(others), cpu_seconds([psutil.Process(crowd.pid)])]
    started = time.monotonic()
    took = sorted(probe(port, size.seconds))
    lasted = time.monotonic() - started
    after = [cpu_seconds([web]), cpu_seconds(others), cpu_seconds([psutil.Process(crowd.pid)])]
    answered, failed = receiver.recv()
    crowd.join()
    cores = [(now - then) / lasted for now, then in zip(after, before, strict=True)]
    return Measured(statistics.median(took), took[int(0.95 * len(took))], answered / size.seconds, failed, *cores)


def probe(port: int, seconds: float) -> Iterator[float]:
    """Yield the duration of each quick callback, in milliseconds."""
    sent = json.dumps(body("quickly", "quick", "children"))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=STARTS_IN)
    for n in range(int(seconds * PROBES)):
        due = n / PROBES
        if n == 0:
            began = time.monotonic()
        time.sleep(max(0.0, began + due - time.monotonic()))
        asked = time.monotonic()
        connection.request("POST", UPDATE, sent, JSON)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200, answer.status
        yield 1000 * (time.monotonic() - asked)
        if time.monotonic() > began + seconds:
            break
    connection.close()


def watch(port: int, requests: list[bytes], count: int, after: float, until: float, sender: Any) -> None:
    """Run `count` browsers for `until` seconds. Send the numbers of answers and failures since second `after`."""

    async def all_of_them() -> tuple[int, int]:
        sender.send("begun")
        crowd = Crowd(port, time.monotonic() + after, time.monotonic() + until)
        await asyncio.gather(asyncio.sleep(until), *(crowd.browser(requests[n % len(requests)]) for n in range(count)))
        return crowd.answers, crowd.failed

    sender.send(asyncio.run(all_of_them()))


class Crowd:
    def __init__(self, port: int, after: float, until: float) -> None:
        self.port, self.after, self.until = port, after, until
        self.answers = self.failed = 0

    async def browser(self, request: bytes) -> None:
        """Poll over one connection, with one request at a time."""
        await asyncio.sleep(random.random() * EVERY)
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while time.monotonic() < self.until:
            fresh = streams is None
            try:
                if streams is None:
                    streams = await asyncio.open_connection("127.0.0.1", self.port)
                ok, stays = await answer(*streams, request)
            except (OSError, asyncio.IncompleteReadError):
                streams = None
                if not fresh:
                    continue  # the server may close an idle connection
                ok, stays = False, True
            if time.monotonic() > self.after:
                self.answers += ok
                self.failed += not ok
            if not stays and streams is not None:
                streams[1].close()
                streams = None
            await asyncio.sleep(EVERY)
        if streams is not None:
            streams[1].close()


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> tuple[bool, bool]:
    """Send a request. Return whether it succeeded, and whether the connection stays open."""
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = re.search(rb"content-length: (\d+)", head)
    if length is not None:
        await reader.readexactly(int(length[1]))
    return head.startswith(b"http/1.1 200"), b"connection: close" not in head


def cpu_seconds(processes: list[psutil.Process]) -> float:
    """Return the processor time of the processes and their children, in seconds."""
    seconds = 0.0
    for process in processes:
        for each in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                times = each.cpu_times()
                seconds += times.user + times.system
    return seconds


if __name__ == "__main__":
    sys.exit(main())
