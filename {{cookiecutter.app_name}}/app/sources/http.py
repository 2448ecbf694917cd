"""Prices from an HTTP server that may be slow, busy, broken or gone.

Requests have a time limit and a minimum distance. Failures that may be temporary are retried with growing pauses. The
server does not send unchanged prices again.
"""

from __future__ import annotations

import io
import logging
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlsplit

import httpx
import stamina

from app.sources import SourceError

if TYPE_CHECKING:
    import pandas as pd

CONNECT, SILENCE, WHOLE = (
    5.0,
    10.0,
    30.0,
)  # seconds: for a connection, between two parts of an answer, for a whole answer
LARGEST = 20_000_000  # bytes of an answer
ATTEMPTS = 4
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 20.0  # seconds between two attempts, before the jitter
APART = 0.1  # seconds from one request to the next
BUSY = (429, 500, 502, 503, 504)  # statuses worth a retry

logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs addresses, which may hold keys


class _Again(SourceError):
    """A failure that is worth a retry, after `after` seconds if the server says so."""

    def __init__(self, message: str, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


@dataclass(frozen=True)
class _Kept:
    """The last answer and its ETag."""

    etag: str
    text: str


class HttpSource:
    """A server that returns CSV with the columns Date and Close (or Price). Safe to use from many threads.

    :param url: with `{symbol}` in it: https://prices.example/daily/{symbol}.csv?key=...
    :param apart: seconds between the starts of two requests, for all symbols together.
    :param silence: seconds between two parts of an answer.
    :param whole: seconds for a whole answer.
    """

    def __init__(self, url: str, *, apart: float = APART, silence: float = SILENCE, whole: float = WHOLE) -> None:
        self._url = url
        self._apart = apart
        self._whole = whole
        self._client = httpx.Client(timeout=httpx.Timeout(silence, connect=CONNECT), follow_redirects=True)
        self._turn = threading.Lock()
        self._free_at = 0.0  # by time.monotonic(), when the next request may start
        self._kept: dict[str, _Kept] = {}

    def fetch(self, symbol: str) -> pd.Series:
        """Return closing prices by day, oldest first. Raises SourceError."""
        for attempt in stamina.retry_context(
            on=_when_again,
            attempts=ATTEMPTS,
            timeout=None,
            wait_initial=FIRST_PAUSE,
            wait_max=LONGEST_PAUSE,
            wait_jitter=FIRST_PAUSE,
        ):
            with attempt:
                return self._parse(symbol, self._get(symbol))
        raise AssertionError("the last attempt raises")

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def _get(self, symbol: str) -> str:
        self._wait_for_turn()
        kept = self._kept.get(symbol)
        headers = {} if kept is None else {"If-None-Match": kept.etag}
        where = self._shown(symbol)
        until = time.monotonic() + self._whole
        try:
            with self._client.stream("GET", self._address(symbol), headers=headers) as response:
                if response.status_code == httpx.codes.NOT_MODIFIED and kept is not None:
                    return kept.text
                if response.status_code in BUSY:
                    raise _Again(f"{where} answered {response.status_code}.", _retry_after(response))
                if response.status_code != httpx.codes.OK:
                    raise SourceError(f"{where} answered {response.status_code}.")
                body = bytearray()
                for part in response.iter_bytes():
                    body += part
                    if len(body) > LARGEST:
                        raise SourceError(f"{where} sent more than {LARGEST:,} bytes.")
                    if time.monotonic() > until:
                        raise _Again(f"{where} did not finish within {self._whole:g} s.")
        except httpx.TimeoutException:
            raise _Again(f"{where} did not answer in time.") from None
        except httpx.TransportError as error:  # its text may hold the address
            raise _Again(f"{where} cannot be reached, or broke the connection ({type(error).__name__}).") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise SourceError(f"{where} cannot be requested ({type(error).__name__}).") from None
        text = body.decode("utf-8", "replace")
        if etag := response.headers.get("ETag"):
            self._kept[symbol] = _Kept(etag, text)
        return text

    def _parse(self, symbol: str, text: str) -> pd.Series:
        import pandas as pd

        try:
            table = pd.read_csv(io.StringIO(text))
            table.columns = [str(name).strip().lower() for name in table.columns]
            value = "close" if "close" in table.columns else "price"
            days = pd.to_datetime(table["date"])
            prices = pd.Series(table[value].to_numpy(float), index=pd.DatetimeIndex(days, name="date"), name=symbol)
        except (KeyError, ValueError) as error:
            self._kept.pop(symbol, None)
            raise SourceError(
                f"{self._shown(symbol)} sent no prices. Expected a CSV with the columns Date and Close."
            ) from error
        return prices.sort_index()

    def _wait_for_turn(self) -> None:
        with self._turn:
            at = max(time.monotonic(), self._free_at)
            self._free_at = at + self._apart
        time.sleep(max(0.0, at - time.monotonic()))

    def _address(self, symbol: str) -> str:
        return self._url.replace("{symbol}", quote(symbol, safe=""))

    def _shown(self, symbol: str) -> str:
        """Return the address without user and password, and without the values of its query."""
        parts = urlsplit(self._address(symbol))
        query = "&".join(f"{name}=…" for name, _ in parse_qsl(parts.query, keep_blank_values=True))
        host = parts.netloc.rpartition("@")[2]
        return f"{parts.scheme}://{host}{parts.path}" + (f"?{query}" if query else "")


def _when_again(error: Exception) -> bool | float:
    """Return whether to retry, or after how many seconds, for stamina."""
    if not isinstance(error, _Again):
        return False
    return True if error.after is None else min(error.after, LONGEST_PAUSE)


def _retry_after(response: httpx.Response) -> float | None:
    """Return the seconds to wait, given as a number or as a date."""
    said = response.headers.get("Retry-After", "")
    if said.isdigit():
        return float(said)
    try:
        return max(timedelta(0), parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError):
        return None
