"""Datasets: values that a periodic job saves in versions for other processes to read.

The transaction that ends the job saves the version, so it is stored whole or not at all, and a failed job leaves the last
version in place. Each read asks the ledger which version is the newest. The bytes come from Redis if their digest is the one in
the ledger, and from the ledger otherwise. Each process decodes a version once.
"""

import functools
import math
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Generic, TypeVar

from huey.api import TaskWrapper

from jobqueue import codec
from jobqueue.database.database import Row
from jobqueue.database.times import utc
from jobqueue.datasets.cache import DatasetCache, digest_of
from jobqueue.datasets.copies import own_copy, read_only
from jobqueue.datasets.single_flight import SingleFlight
from jobqueue.execution.attempt import current_attempt
from jobqueue.execution.coroutines import finished
from jobqueue.execution.current_job import current_job
from jobqueue.files.file import naming
from jobqueue.jobs.handle import JobHandle
from jobqueue.ledger.ledger import Ledger
from jobqueue.ledger.records import NewVersion
from jobqueue.ledger.states import State
from jobqueue.text import shown

T = TypeVar("T")
KEEP = 3  # versions

SHORTEST_POLL, LONGEST_POLL = 0.05, 0.5  # seconds between two queries for the first version

Moment = Any  # a datetime, a date, ISO text, a NumPy datetime64, or a pandas Period, whose start counts
UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 24 * 3600, "week": 7 * 24 * 3600}  # seconds


class NotReady(LookupError):
    """A read of a dataset that has no version yet."""


class VersionNotFound(LookupError):
    """A read of a version that never existed, or is not kept any more."""


class EmptyDataset(ValueError):
    """A refresh that returned None or a value without rows. It makes no version."""


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """Information about a dataset and its newest version. Times are aware, in UTC.

    Without a version, everything about the version is None.
    """

    name: str
    version: int | None
    as_of: datetime | None  # the time that its content describes
    saved_at: datetime | None
    age: timedelta | None  # since `as_of`, by the database's clock
    stale: bool  # whether its age has reached `stale_after`
    rows: int | None  # None also for a value without a length
    size: int | None  # stored bytes
    job_id: str | None  # the job that made it
    error: str  # a sentence about the last refresh if it failed, else ""
    failed_job_id: str | None  # that refresh


@dataclass(frozen=True)
class _Held:
    """The version that this process has decoded, with the digest of its bytes."""

    digest: str
    value: Any


class Dataset(Generic[T]):
    """A dataset: a function whose return values are saved in versions. `@huey.dataset(...)` makes one.

    Example::

        @huey.dataset(every("15 minutes"), stale_after="1 hour", as_of=lambda prices: prices.index[-1])
        def prices() -> pd.DataFrame:
            return fetch_prices()

        prices.read()      # the newest version, in any process
        prices.info()      # its age, size and last error, without reading it
        prices.refresh()   # submits a job that makes a new version now

    Calling it, as `prices()`, runs the function in the calling process and saves nothing.
    """

    def __init__(
        self,
        function: Callable[[], T],
        *,
        periodic: Callable[[Callable[[], Any]], TaskWrapper],
        name_of: Callable[[TaskWrapper], str],
        ledger: Callable[[], Ledger],
        cache: Callable[[], DatasetCache | None],
        stale_after: float | str | timedelta | None,
        keep: int,
        as_of: Callable[[T], Moment] | None,
    ) -> None:
        if keep < 1:
            raise ValueError(f"keep={keep} is too small. A dataset keeps at least one version.")
        self.function = function
        self.stale_after = None if stale_after is None else _duration(stale_after)
        self.keep = keep
        self.__doc__ = function.__doc__
        self._ledger = ledger
        self._cache = cache
        self._as_of = as_of
        refresh = functools.wraps(function)(lambda: self._refresh())
        self.task = periodic(refresh)
        self.name = name_of(self.task)
        self._held: _Held | None = None
        self._loading = threading.Lock()
        self._newest = SingleFlight(lambda: ledger().versions.newest(self.name))

    def __repr__(self) -> str:
        return f"<Dataset {self.name}>"

    def __call__(self) -> T:
        return self.function()

    def read(self, version: int | None = None, *, wait: float = 0) -> T:
        """Return the value of the newest version, or of a given one.

        Changing the value changes it for the caller only. Arrays are read-only: copy them before you write to them.

        :param version: the number of a version that is still kept. By default the newest.
        :param wait: seconds to wait for the first version if none exists.

        Raises NotReady if no version exists within this time, VersionNotFound if the given one is not kept, and
        DatabaseUnavailable. In a running job it waits for the database instead.
        """
        if version is not None:
            return self._read_kept(version)
        until, pause = time.monotonic() + wait, SHORTEST_POLL
        while True:
            newest = current_job().patiently(self._newest.get)
            if newest is None:
                if time.monotonic() >= until:
                    raise NotReady(self._not_ready_message())
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_POLL)
            elif (held := self._held_as(newest)) is not None:
                return own_copy(held.value)

    def info(self) -> DatasetInfo:
        """Return information about the dataset without reading its value. Raises DatabaseUnavailable."""
        row = current_job().patiently(self._newest.get)
        newest: dict[str, Any] = {} if row is None else dict(row)
        last = current_job().patiently(lambda: self._ledger().versions.last_refresh(self.name))
        failed = None if last is None or last["state"] == State.SUCCEEDED else last
        age = None if row is None else timedelta(seconds=max(0.0, row["age_s"]))
        return DatasetInfo(
            name=self.name,
            version=newest.get("version"),
            as_of=utc(newest.get("as_of")),
            saved_at=utc(newest.get("saved_at")),
            age=age,
            stale=age is not None and self.stale_after is not None and age >= self.stale_after,
            rows=newest.get("rows"),
            size=newest.get("size"),
            job_id=newest.get("job_id"),
            error="" if failed is None else failed["error"],
            failed_job_id=None if failed is None else failed["id"],
        )

    def refresh(self) -> JobHandle:
        """Submit a job that makes a new version now. Return its handle. Raises QueueUnavailable."""
        handle: JobHandle = self.task()
        return handle

    # --- making a version ---

    def _refresh(self) -> Any:
        """Run the function, and have the attempt's end save its value as a version. Outside a worker, return the value."""
        value = finished(self.function())
        rows = _length(value)
        if value is None or rows == 0:
            raise EmptyDataset(f"{self.name} returned {_described(value)}, so no version was made.")
        attempt = current_attempt.get()
        if attempt is None:
            return value
        with naming() as files:
            media_type, body = codec.encode(value, attempt.job.max_result)
        if files:  # it would be deleted with its job, while the version is kept
            raise codec.ResultNotEncodable(
                f"{self.name} returned a File, which a dataset cannot keep. Return its content."
            )
        attempt.version = NewVersion(
            name=self.name,
            keep=self.keep,
            as_of=None if self._as_of is None else _epoch(self._as_of(value)),
            rows=rows,
            size=len(body),
            digest=digest_of(body),
            media_type=media_type,
            body=body,
        )
        return None

    # --- reading one ---

    def _held_as(self, newest: Row) -> _Held | None:
        """Return the newest version, decoded. Return None if it was replaced meanwhile: the caller then asks again."""
        held = self._held
        if held is not None and held.digest == newest["digest"]:
            return held
        with self._loading:
            if self._held is held:
                body, media_type = self._body(newest)
                if body is None:
                    return None
                self._held = _Held(newest["digest"], read_only(codec.decode(media_type, body)))
            held = self._held
        return held if held is not None and held.digest == newest["digest"] else None

    def _body(self, newest: Row) -> tuple[bytes | None, str]:
        cache = self._cache()
        body = None if cache is None else cache.get(self.name, newest["size"], newest["digest"])
        if body is None:
            kept = self._kept(newest["version"])
            body = None if kept is None else kept["body"]
        return body, newest["media_type"]

    def _kept(self, version: int) -> Row | None:
        return current_job().patiently(lambda: self._ledger().versions.get(self.name, version))

    def _read_kept(self, version: int) -> T:
        kept = self._kept(version)
        if kept is None:
            versions = ", ".join(map(str, self._ledger().versions.kept(self.name))) or "none"
            raise VersionNotFound(f"{self.name} has no version {version}. It keeps the last {self.keep}: {versions}.")
        held = self._held
        if held is not None and held.digest == kept["digest"]:
            return own_copy(held.value)
        return codec.decode(kept["media_type"], kept["body"])

    def _not_ready_message(self) -> str:
        error = self.info().error
        return (
            f"{self.name} has no version yet. A worker makes the first one as soon as it runs this code. To make one now, call "
            f"{self.function.__name__}.refresh(), then {self.function.__name__}.read(wait=60)."
            + (f" Its last refresh failed: {error}" if error else "")
        )


def _length(value: Any) -> int | None:
    """Return the rows of a frame or the items of a list or an array, or None for a value without a length."""
    if getattr(value, "size", None) == 0:  # a frame with rows but no columns is empty too
        return 0
    try:
        return len(value)
    except TypeError:
        return None


def _described(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__} without rows"


def _epoch(moment: Moment) -> float:
    """Return a moment in seconds since the epoch. A datetime without a time zone is in UTC. A date stands for its midnight."""
    found = moment
    try:
        if hasattr(found, "to_timestamp"):  # a pandas Period
            found = found.to_timestamp()
        elif hasattr(found, "astype"):  # a NumPy datetime64
            found = found.astype("datetime64[us]").item()
        elif isinstance(found, str):
            found = datetime.fromisoformat(found)
        if isinstance(found, date) and not isinstance(found, datetime):
            found = datetime(found.year, found.month, found.day)
        seconds = float((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())
    except (AttributeError, TypeError, ValueError):
        seconds = math.nan
    if math.isnan(seconds):
        raise TypeError(
            f"as_of returned {shown(moment)}. Return a datetime, a date, a Period, a datetime64 or ISO text."
        )
    return seconds


def _duration(given: float | str | timedelta) -> timedelta:
    if isinstance(given, timedelta):
        return given
    try:
        if not isinstance(given, str):
            return timedelta(seconds=given)
        found = re.fullmatch(r"(\d+(?:\.\d+)?) (second|minute|hour|day|week)s?", given.strip())
        if found is not None:
            return timedelta(seconds=float(found[1]) * UNITS[found[2]])
    except (TypeError, ValueError, OverflowError):
        pass  # not a number, or longer than a timedelta
    raise ValueError(f"stale_after={given!r} is not a duration. Give, for example, '90 seconds', '1 hour' or '2 days'.")
