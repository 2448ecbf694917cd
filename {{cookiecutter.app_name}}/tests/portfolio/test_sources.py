"""Sources of prices: a server that fails in every way, and the bundled history."""

import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pandas as pd
import pytest
from jobqueue import DurableHuey

from app import sources
from app.jobs import market
from app.sources import SourceError, http
from app.sources.http import HttpSource
from app.sources.replay import SHOWN, Replay

PRICES = b"Date,Open,Close\n2022-01-04,1,11.5\n2022-01-03,1,10.5\n"


class Exchange(ThreadingHTTPServer):
    """A real server. `does[symbol]` lists how it answers the next requests. After that it answers with prices."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.does: dict[str, list[Callable[[Handler], None]]] = {}
        self.asked: list[str] = []
        self.answered: Counter[str] = Counter()
        self.at: list[float] = []  # when each request came, by time.monotonic()
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://ann:hunter2@127.0.0.1:{self.server_port}/{{symbol}}.csv?key=s3cret"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that gave up, as some tests make them."""


class Handler(BaseHTTPRequestHandler):
    server: Exchange

    def do_GET(self) -> None:
        symbol = self.path.partition(".")[0].removeprefix("/")
        self.server.asked.append(symbol)
        self.server.at.append(time.monotonic())
        todo = self.server.does.get(symbol)
        (todo.pop(0) if todo else well)(self)

    def log_message(self, *args: Any) -> None:
        """Log nothing on the terminal."""


def answer(handler: Handler, status: int, body: bytes = b"", length: int | None = None, **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    handler.end_headers()
    handler.wfile.write(body)


def well(handler: Handler) -> None:
    handler.server.answered[handler.path.partition(".")[0].removeprefix("/")] += 1
    answer(handler, 200, PRICES)


def broken(handler: Handler) -> None:
    answer(handler, 500)


def busy(handler: Handler) -> None:
    answer(handler, 429, Retry_After="0")


def half(handler: Handler) -> None:
    answer(handler, 200, PRICES[:20], length=len(PRICES))
    handler.close_connection = True


def hangs(handler: Handler) -> None:
    handler.server.released.wait(30)


def drips(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    while not handler.server.released.wait(0.02):
        handler.wfile.write(b"x")


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    with Exchange() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "FIRST_PAUSE", 0.01)


@pytest.fixture
def source(exchange: Exchange) -> Iterator[HttpSource]:
    made = HttpSource(exchange.url, apart=0, silence=1.5, whole=2.0)
    yield made
    made.close()


def test_prices_are_ordered_by_day(source: HttpSource) -> None:
    prices = source.fetch("AAPL")
    assert prices.tolist() == [10.5, 11.5]
    assert prices.index.equals(pd.DatetimeIndex(["2022-01-03", "2022-01-04"]))


@pytest.mark.parametrize("fault", [broken, busy, half, hangs, drips], ids=lambda fault: str(fault.__name__))
def test_a_server_that_fails_once_is_retried(
    exchange: Exchange, source: HttpSource, fault: Callable[[Handler], None]
) -> None:
    exchange.does["AAPL"] = [fault]
    assert len(source.fetch("AAPL")) == 2
    assert exchange.asked == ["AAPL", "AAPL"]


def test_a_retry_waits_as_long_as_the_server_says(exchange: Exchange, source: HttpSource) -> None:
    exchange.does["AAPL"] = [lambda handler: answer(handler, 429, Retry_After="1")]
    source.fetch("AAPL")
    first, second = exchange.at
    assert 1 <= second - first < 5


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        ([broken] * 9, "answered 500"),
        ([half] * 9, "cannot be reached, or broke the connection"),
        ([lambda handler: answer(handler, 404)], "answered 404"),
        ([lambda handler: answer(handler, 200, b"<html>no key")], "sent no prices"),
    ],
    ids=["broken", "half", "not there", "no prices"],
)
def test_a_failure_is_a_sentence_without_secrets(
    exchange: Exchange, source: HttpSource, faults: list[Any], said: str
) -> None:
    exchange.does["AAPL"] = faults
    with pytest.raises(SourceError, match=said) as error:
        source.fetch("AAPL")
    assert f"http://127.0.0.1:{exchange.server_port}/AAPL.csv?key=…" in str(error.value)
    shown = "".join(traceback.format_exception(error.value))
    assert "s3cret" not in shown and "hunter2" not in shown


def test_an_unreachable_server_is_a_sentence(exchange: Exchange) -> None:
    source = HttpSource("http://127.0.0.1:9/{symbol}?key=s3cret", apart=0)
    with pytest.raises(SourceError, match=r"http://127.0.0.1:9/AAPL\?key=… cannot be reached, or broke the connection"):
        source.fetch("AAPL")
    source.close()


def test_unchanged_prices_are_not_sent_again(exchange: Exchange, source: HttpSource) -> None:
    seen: list[str | None] = []

    def marked(handler: Handler) -> None:
        seen.append(handler.headers["If-None-Match"])
        if seen[-1] == '"v1"':
            handler.send_response(304)
            handler.end_headers()
        else:
            answer(handler, 200, PRICES, ETag='"v1"')

    exchange.does["AAPL"] = [marked, marked]
    assert source.fetch("AAPL").equals(source.fetch("AAPL"))
    assert seen == [None, '"v1"']


def test_requests_keep_their_minimum_distance(exchange: Exchange) -> None:
    source = HttpSource(exchange.url, apart=0.05)
    market.gather(source.fetch, ["A", "B", "C"])
    source.close()
    assert sorted(exchange.asked) == ["A", "B", "C"]
    assert exchange.at[-1] - exchange.at[0] >= 0.09


def test_a_retried_refresh_fetches_only_what_had_failed(
    exchange: Exchange, source: HttpSource, queue: DurableHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first attempt of the job fails for four of twelve symbols. The second fetches these four."""
    monkeypatch.setattr(sources, "source", lambda turn: source)
    monkeypatch.setattr(http, "ATTEMPTS", 1)
    failing = dict(zip(market.SHOWN, [broken, busy, hangs, half], strict=False))
    exchange.does = {symbol: [fault] for symbol, fault in failing.items()}
    job = queue.enqueue(market.prices.task.s(retry_delay=0)).get_job()
    assert (job.state, job.attempt) == ("succeeded", 2)
    assert exchange.answered == Counter(market.SHOWN)
    assert Counter(exchange.asked) == {symbol: 2 if symbol in failing else 1 for symbol in market.SHOWN}
    assert list(market.prices.read().columns) == list(market.SHOWN)


def test_a_failed_refresh_names_the_symbols(
    exchange: Exchange, source: HttpSource, queue: DurableHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "source", lambda turn: source)
    exchange.does = {symbol: [lambda handler: answer(handler, 404)] for symbol in market.SHOWN[:2]}
    queue.enqueue(market.prices.task.s(retries=0))
    error = market.prices.info().error
    assert error.startswith("SourceError: 2 of 12 failed: AAPL, AMD. http://127.0.0.1:")
    assert "s3cret" not in error and "hunter2" not in error


def test_the_history_moves_on_a_day_with_each_turn() -> None:
    first, second = (Replay(turn).fetch("AAPL") for turn in (0, 1))
    assert len(first) == len(second) == SHOWN
    assert second.index[0] == first.index[1]
    last = 8313 - SHOWN
    assert Replay(last).fetch("AAPL").index[-1] == pd.Timestamp("2022-12-28")
    assert Replay(last + 1).fetch("AAPL").equals(first)


def test_without_an_address_the_history_is_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PRICES_URL", raising=False)
    assert isinstance(sources.source(0), Replay)
    monkeypatch.setenv("PRICES_URL", "http://127.0.0.1:9/{symbol}")
    assert isinstance(sources.source(0), HttpSource)
