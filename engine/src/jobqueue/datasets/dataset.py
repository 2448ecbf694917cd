"""Datasets: what a periodic job makes of the world, kept in versions for others to read.

A version is saved by the transaction that ends its job, so it is there whole or not at all, and a job that failed leaves the
last one in place. Which is the newest, the ledger says, at each read; its bytes come from Redis where they are the ones that
the ledger means, and from the ledger where not; and each process decodes them once.
"""

import functools
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
from jobqueue.datasets.cache import DatasetCache, digest_of
from jobqueue.datasets.copies import own_copy, read_only
from jobqueue.datasets.single_flight import SingleFlight
from jobqueue.execution.attempt import current_attempt
from jobqueue.execution.current_job import current_job
from jobqueue.jobs.handle import JobHandle
from jobqueue.ledger.ledger import Ledger
from jobqueue.ledger.records import NewVersion
from jobqueue.ledger.states import State

T = TypeVar("T")
KEEP = 3  # versions

FIRST_LOOK, LAST_LOOK = 0.05, 0.5  # seconds between two looks for a first version

Moment = datetime | date
UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 24 * 3600, "week": 7 * 24 * 3600}  # seconds


class NotReady(LookupError):
    """The dataset has no version yet."""


class VersionNotFound(LookupError):
    """The dataset never had that version, or keeps it no longer."""


class EmptyDataset(ValueError):
    """A refresh came to nothing: None, or something without rows. No version was made of it."""


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """One look at a dataset. Times are aware, in UTC; None, like the rest, as long as there is no version."""

    name: str
    version: int | None
    as_of: datetime | None  # of when its content is
    saved_at: datetime | None
    age: timedelta | None  # since `as_of`, by the database's clock
    stale: bool  # as old as it may be, or older
    rows: int | None  # None too for a value that has no length
    size: int | None  # bytes, as it is kept
    job_id: str | None  # the job that made it
    error: str  # of the last refresh, a sentence; "" if that succeeded
    failed_job_id: str | None


@dataclass(frozen=True)
class _Held:
    """What this process has decoded, by the digest of its bytes."""

    digest: str
    value: Any


class Dataset(Generic[T]):
    """What `@huey.dataset(...)` makes of a function. Calling it runs the function, here and now, and saves nothing."""

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
            raise ValueError(f"keep={keep}: a dataset keeps one version at least.")
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
        """The newest version, or that one. It is the caller's own: changing it changes nothing for others.

        :param wait: seconds to wait for a first version.
        Arrays cannot be written to; copy them first. Raises NotReady, VersionNotFound, DatabaseUnavailable.
        """
        if version is not None:
            return self._read_kept(version)
        until, pause = time.monotonic() + wait, FIRST_LOOK
        while True:
            newest = current_job().patiently(self._newest.get)
            if newest is None:
                if time.monotonic() >= until:
                    raise NotReady(self._why_not_ready())
                time.sleep(pause)
                pause = min(2 * pause, LAST_LOOK)
            elif (held := self._held_as(newest)) is not None:
                return own_copy(held.value)

    def info(self) -> DatasetInfo:
        """What is known about it, without reading it. Raises DatabaseUnavailable."""
        row = current_job().patiently(self._newest.get)
        newest: dict[str, Any] = {} if row is None else dict(row)
        last = current_job().patiently(lambda: self._ledger().versions.last_refresh(self.name))
        failed = None if last is None or last["state"] == State.SUCCEEDED else last
        age = None if row is None else timedelta(seconds=max(0.0, row["age_s"]))
        return DatasetInfo(
            name=self.name,
            version=newest.get("version"),
            as_of=_utc(newest.get("as_of")),
            saved_at=_utc(newest.get("saved_at")),
            age=age,
            stale=age is not None and self.stale_after is not None and age >= self.stale_after,
            rows=newest.get("rows"),
            size=newest.get("size"),
            job_id=newest.get("job_id"),
            error="" if failed is None else failed["error"],
            failed_job_id=None if failed is None else failed["id"],
        )

    def refresh(self) -> JobHandle:
        """Ask a worker for a new version now. Returns the job."""
        handle: JobHandle = self.task()
        return handle

    # --- making a version ---

    def _refresh(self) -> Any:
        """What the periodic job does. Outside of a worker it only returns what it made."""
        value = self.function()
        rows = _length(value)
        if value is None or rows == 0:
            raise EmptyDataset(f"{self.name} came to nothing ({_described(value)}), so no version was made of it.")
        attempt = current_attempt.get()
        if attempt is None:
            return value
        media_type, body = codec.encode(value, attempt.job.max_result)
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
        """What the ledger means, decoded; None if another was loaded, or this one replaced, meanwhile: look again."""
        held = self._held
        if held is None or held.digest != newest["digest"]:
            with self._loading:
                if self._held is not held:
                    return None
                body, media_type = self._body(newest)
                if body is None:
                    return None
                value = read_only(codec.decode(media_type, body))
                held = self._held = _Held(newest["digest"], value)
        return held

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

    def _why_not_ready(self) -> str:
        error = self.info().error
        return (
            f"{self.name} has no version yet. A running worker makes the first when it is due, or at once when asked: "
            f"{self.function.__name__}.refresh(), then {self.function.__name__}.read(wait=60)."
            + (f" Its last refresh failed: {error}" if error else "")
        )


def _length(value: Any) -> int | None:
    """Rows of a frame, items of a list or an array; None where there is no such thing."""
    if getattr(value, "size", None) == 0:  # also a frame of rows without columns
        return 0
    try:
        return len(value)
    except TypeError:
        return None


def _described(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__} without rows"


def _epoch(moment: Moment) -> float:
    """Seconds since the epoch. What has no time zone is in UTC, a date its midnight."""
    if isinstance(moment, datetime):
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if isinstance(moment, date):
        return datetime(moment.year, moment.month, moment.day, tzinfo=UTC).timestamp()
    raise TypeError(f"as_of gave {moment!r}, which is no datetime or date.")


def _utc(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _duration(given: float | str | timedelta) -> timedelta:
    if isinstance(given, timedelta):
        return given
    if not isinstance(given, str):
        return timedelta(seconds=given)
    found = re.fullmatch(r"(\d+(?:\.\d+)?) (second|minute|hour|day|week)s?", given.strip())
    if found is None:
        raise ValueError(f"stale_after={given!r}: it is a duration, for example '90 seconds', '1 hour' or '2 days'.")
    return timedelta(seconds=float(found[1]) * UNITS[found[2]])
