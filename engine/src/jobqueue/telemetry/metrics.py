"""`/metrics` for Prometheus: the ledger's figures, which any web process reads for all processes of the app."""

import hmac
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeHistogramMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from jobqueue.database.database import DatabaseUnavailable
from jobqueue.huey import DurableHuey
from jobqueue.ledger.states import State
from jobqueue.monitoring.snapshot import Snapshot, snapshot
from jobqueue.telemetry.requests import Environ, StartResponse, WsgiApp

PATH = "/metrics"
KEPT = 5.0  # seconds for which a look at the ledger answers further scrapes
BUCKETS = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)  # seconds


class MetricsAddress:
    """WSGI app around another one, which answers `/metrics` to those who send the token.

    :param token: sent as `Authorization: Bearer TOKEN`. Without a token there is no such address.
    """

    def __init__(self, app: WsgiApp, huey: DurableHuey, token: str | None) -> None:
        self._app = app
        self._token = token
        self._page = Page(huey)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ.get("PATH_INFO") != PATH:
            return self._app(environ, start_response)
        status, body = self._answer(environ.get("HTTP_AUTHORIZATION", ""))
        kind = CONTENT_TYPE_PLAIN_0_0_4 if status.startswith("200") else "text/plain; charset=utf-8"
        headers = [("Content-Type", kind), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]
        if status.startswith("401"):
            headers.append(("WWW-Authenticate", "Bearer"))
        start_response(status, headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def _answer(self, authorization: str) -> tuple[str, bytes]:
        if self._token is None:
            return "404 Not Found", b"There are no metrics. Set METRICS_TOKEN to serve them.\n"
        given = authorization.encode("latin-1", "replace")
        if not hmac.compare_digest(given, b"Bearer " + self._token.encode()):
            return "401 Unauthorized", b"Send the header Authorization: Bearer, with the value of METRICS_TOKEN.\n"
        try:
            return "200 OK", self._page.text()
        except DatabaseUnavailable:
            return "503 Service Unavailable", b"The database does not answer.\n"


class Page:
    """The metrics as text. Many scrapes cause one look every KEPT seconds, also while the database does not answer."""

    def __init__(self, huey: DurableHuey) -> None:
        self._huey = huey
        self._looking = threading.Lock()
        self._looked_at = float("-inf")  # time.monotonic()
        self._text = b""
        self._failed: DatabaseUnavailable | None = None

    def text(self) -> bytes:
        """Return the metrics, at most KEPT seconds old. Raises DatabaseUnavailable."""
        with self._looking:
            if time.monotonic() >= self._looked_at + KEPT:
                self._look()
            if self._failed is not None:
                raise self._failed
            return self._text

    def _look(self) -> None:
        try:
            seen = snapshot(self._huey.ledger.database, self._huey.lease_s)
            self._text, self._failed = generate_latest(registry_of(seen, self._huey.version)), None
        except DatabaseUnavailable as error:
            self._failed = error
        self._looked_at = time.monotonic()


def registry_of(seen: Snapshot, release: str | None) -> CollectorRegistry:
    """Return the metrics of a snapshot."""

    class Seen(Collector):
        def collect(self) -> Iterator[Metric]:
            yield gauge(
                "jobqueue_release", "The version of the web process's code.", ["release"], {(release or "",): 1}
            )
            yield from _jobs(seen)
            yield from _ended(seen)
            yield from _surroundings(seen)

    registry = CollectorRegistry()
    registry.register(Seen())
    return registry


def _jobs(seen: Snapshot) -> Iterator[Metric]:
    jobs = {(row["state"], row["queue"], row["task"]): row["jobs"] for row in seen.open}
    yield gauge("jobqueue_jobs", "Jobs that have not ended, up to 20,000 in a state.", ["state", "queue", "task"], jobs)
    oldest: dict[tuple[str, ...], float] = {}
    for row in seen.open:
        if row["state"] == State.QUEUED:
            oldest[row["queue"],] = max(row["oldest_s"], oldest.get((row["queue"],), 0.0))
    text = "Seconds for which the first of a queue's jobs has waited for a worker."
    yield gauge("jobqueue_oldest_wait_seconds", text, ["queue"], oldest)
    lost, fired = Counter[tuple[str, ...]](), Counter[tuple[str, ...]]()
    for row in [*seen.open, *seen.ended]:
        if row["losses"]:
            lost[row["queue"], row["task"]] += int(row["losses"])
        if row["fired"]:
            fired[row["task"],] += int(row["fired"])
    text = "Attempts that died with their worker, of jobs that are open or ended in the window."
    yield gauge("jobqueue_lost_attempts", text, ["queue", "task"], lost)
    yield gauge("jobqueue_fires", "Jobs that a schedule fired in the last 300 s.", ["schedule"], fired)


def _ended(seen: Snapshot) -> Iterator[Metric]:
    ended = Counter[tuple[str, ...]]((row["state"], row["queue"], row["task"]) for row in seen.ended)
    yield gauge("jobqueue_ended_jobs", "Jobs that ended in the window.", ["state", "queue", "task"], ended)
    text = "The window: seconds before now. It is 300 unless more than 2,000 jobs of a state ended in them."
    yield gauge("jobqueue_window_seconds", text, [], {(): seen.covered_s})
    waits, runs = dict[str, list[float]](), dict[str, list[float]]()
    for row in seen.ended:
        if row["waited_s"] is not None:
            waits.setdefault(row["queue"], []).append(max(0.0, row["waited_s"]))
        if row["ran_s"] is not None:
            runs.setdefault(row["task"], []).append(max(0.0, row["ran_s"]))
    text = "Seconds for which the jobs that ended in the window waited for a worker, before their last attempt."
    yield histogram("jobqueue_wait_seconds", text, "queue", waits)
    text = "Seconds for which the last attempts of the jobs that ended in the window ran."
    yield histogram("jobqueue_run_seconds", text, "task", runs)


def _surroundings(seen: Snapshot) -> Iterator[Metric]:
    workers, busy = Counter[tuple[str, ...]](), Counter[tuple[str, ...]]()
    for row in seen.of_kind("consumer"):
        workers[row["name"],] += row["amount"]
        busy[row["name"],] += row["part"]
    yield gauge("jobqueue_workers", "Workers of live consumers.", ["host"], workers)
    yield gauge("jobqueue_busy_workers", "Workers that run a job.", ["host"], busy)
    schedules = [row for row in seen.of_kind("schedule") if row["seconds"] is not None]
    text = "Seconds since the due moment that a schedule fired last."
    yield gauge(
        "jobqueue_last_fire_age_seconds", text, ["schedule"], {(row["name"],): row["seconds"] for row in schedules}
    )
    paused = {(row["name"],): row["amount"] for row in seen.of_kind("schedule")}
    yield gauge("jobqueue_schedule_paused", "1 for a schedule that is paused.", ["schedule"], paused)
    text = "Seconds between the due moment that a schedule fired last and its job's submit."
    late = {(row["name"],): max(0.0, row["seconds"]) for row in seen.of_kind("lateness")}
    yield gauge("jobqueue_fire_lateness_seconds", text, ["schedule"], late)
    ages = {(row["name"],): row["seconds"] for row in seen.of_kind("dataset")}
    yield gauge("jobqueue_dataset_age_seconds", "Seconds since the time that a dataset describes.", ["dataset"], ages)
    for row in seen.of_kind("connections"):
        yield gauge("jobqueue_connections", "Connections to the database server.", [], {(): row["amount"]})
        yield gauge("jobqueue_max_connections", "Connections that the app may open there.", [], {(): row["part"]})


def gauge(name: str, text: str, labels: list[str], values: Mapping[Any, float]) -> Metric:
    """Return a gauge. `values`: by a tuple of the labels' values."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for of, value in values.items():
        family.add_metric(of, value)
    return family


def histogram(name: str, text: str, label: str, values: dict[str, list[float]]) -> Metric:
    """Return a histogram of the present window, with the values of each label's value. It goes down as jobs leave the window."""
    family = GaugeHistogramMetricFamily(name, text, labels=[label])
    for of, seconds in values.items():
        below = Counter(next((bound for bound in BUCKETS if value <= bound), float("inf")) for value in seconds)
        bounds = [*BUCKETS, float("inf")]
        counts = accumulate(below[bound] for bound in bounds)
        buckets = [
            ("+Inf" if bound == float("inf") else str(bound), count)
            for bound, count in zip(bounds, counts, strict=True)
        ]
        family.add_metric([of], buckets, sum(seconds))
    return family
