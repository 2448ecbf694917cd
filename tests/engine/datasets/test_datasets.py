"""Datasets: a periodic job saves versions, whole or not at all, and reading them is cheap."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import pytest
from huey import crontab
from pandas.testing import assert_frame_equal
from plotly.graph_objects import Figure

from jobqueue import DatabaseUnavailable, DurableHuey, EmptyDataset, NotReady, VersionNotFound, codec
from jobqueue.database.database import Transaction
from jobqueue.datasets import single_flight
from jobqueue.datasets.dataset import Dataset
from tests.engine.conftest import HueyFactory
from tests.engine.consumers import work
from tests.losing import mark_lost
from tests.servers import redis_client
from tests.storages import Storage
from tests.waiting import wait_until

NEVER = crontab(month="2", day="30")
READERS = 20

with_redis = pytest.mark.parametrize("storage", ["postgres+valkey"], indirect=True)


def frame(number: float) -> pd.DataFrame:
    days = pd.date_range("2022-01-03", periods=3, freq="B", name="day")
    return pd.DataFrame({"AAPL": [number, 2.0, 3.0], "XOM": [4.0, 5.0, 6.0]}, index=days)


def same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    assert_frame_equal(one, other, check_freq=False)


class World:
    """The source of a dataset, which tests change. If the content is an exception, the refresh raises it."""

    def __init__(self) -> None:
        self.content: Any = frame(1)

    def dataset(self, huey: DurableHuey, **options: Any) -> Dataset[Any]:
        @huey.dataset(NEVER, **options)
        def prices() -> Any:
            if isinstance(self.content, Exception):
                raise self.content
            return self.content

        return prices


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def prices(huey: DurableHuey, world: World) -> Dataset[Any]:
    """Return the dataset in the worker's process."""
    return world.dataset(huey)


@pytest.fixture
def seen(make_huey: HueyFactory, world: World) -> Dataset[Any]:
    """Return the same dataset as another process sees it."""
    return world.dataset(make_huey())


def refresh(dataset: Dataset[Any], content: Any = None, world: World | None = None) -> None:
    if world is not None:
        world.content = content
    dataset.refresh()
    work(dataset.task.huey)


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Record the executed statements."""
    executed: list[str] = []
    execute = Transaction._execute

    def noted(self: Transaction, sql: str, params: dict[str, Any]) -> None:
        executed.append(sql)
        execute(self, sql, params)

    monkeypatch.setattr(Transaction, "_execute", noted)
    yield executed


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the media types of all values that are decoded."""
    media_types: list[str] = []
    decode = codec.decode

    def noted(media_type: str, body: bytes) -> Any:
        media_types.append(media_type)
        return decode(media_type, body)

    monkeypatch.setattr(codec, "decode", noted)
    return media_types


# --- saving and reading ---


CONTENTS = [
    frame(1),
    frame(1)["AAPL"],
    {"rates": [1, 2.5, None], "on": date(2022, 1, 3)},
    [frame(1), frame(2)],
    0,
    "text",
]


def test_another_process_reads_the_value_of_a_refresh(prices: Dataset[Any], seen: Dataset[Any], world: World) -> None:
    for content in CONTENTS:
        refresh(prices, content, world)
        assert codec.encode(seen.read()) == codec.encode(content)
        assert type(seen.read()) is type(content)


def test_figures_and_arrays_are_read_unchanged(prices: Dataset[Any], seen: Dataset[Any], world: World) -> None:
    refresh(prices, {"figure": Figure(data=[{"y": [1, 2]}]), "array": np.arange(4.0)}, world)
    first = seen.read()
    first["figure"].update_layout(title="mine")
    assert seen.read()["figure"].layout.title.text is None
    with pytest.raises(ValueError, match="read-only"):
        first["array"][0] = 9


@dataclass
class Fit:
    weights: Any
    notes: list[str]


@pytest.mark.parametrize("storage", ["sqlite"], indirect=True)
def test_readers_of_a_dataclass_have_their_own(prices: Dataset[Any], seen: Dataset[Any], world: World) -> None:
    refresh(prices, Counter({Fit.__name__: Fit(np.arange(2), ["first"])}), world)
    mine: Any = seen.read()
    assert type(mine).__name__ == "Counter"
    mine["Fit"].notes.append("mine")
    mine["Fit"].weights = None
    fit = seen.read()["Fit"]
    assert fit.notes == ["first"]
    with pytest.raises(ValueError, match="read-only"):
        fit.weights[0] = 9


def test_readers_do_not_see_each_others_changes(prices: Dataset[Any], seen: Dataset[Any]) -> None:
    refresh(prices)
    mine = seen.read()
    mine.iloc[0, 0] = -1
    mine["new"] = 0
    mine.columns = ["mine", "too", "new"]
    mine.index.name = "mine"
    same(seen.read(), frame(1))


def test_newest_version_and_kept_earlier_versions_can_be_read(
    huey: DurableHuey, make_huey: HueyFactory, world: World
) -> None:
    prices, seen = world.dataset(huey, keep=2), world.dataset(make_huey(), keep=2)
    for number in (1, 2, 3):
        refresh(prices, frame(number), world)
        assert seen.read().iloc[0, 0] == number
    assert seen.read(version=2).iloc[0, 0] == 2
    assert seen.read(version=3).iloc[0, 0] == 3
    with pytest.raises(VersionNotFound, match=r"has no version 1. It keeps the last 2: 2, 3\."):
        seen.read(version=1)


def test_calling_a_dataset_runs_its_function_and_saves_nothing(prices: Dataset[Any]) -> None:
    same(prices(), frame(1))
    same(prices.task.func(), frame(1))  # as `jobs run` calls it
    assert prices.info().version is None


def test_refresh_in_immediate_mode_can_be_read_immediately(world: World) -> None:
    prices = world.dataset(DurableHuey("tests", immediate=True))
    prices.refresh()
    same(prices.read(), frame(1))


# --- info ---


def test_info_describes_the_newest_version(huey: DurableHuey, world: World) -> None:
    last_day = timedelta(days=1)
    prices = world.dataset(huey, stale_after=last_day, as_of=lambda prices: prices.index[-1])
    handle = prices.refresh()
    work(huey)
    info = prices.info()
    assert (info.version, info.rows, info.job_id, info.error) == (1, 3, handle.id, "")
    assert info.as_of == datetime(2022, 1, 5, tzinfo=UTC)
    assert info.saved_at is not None and abs(info.saved_at - datetime.now(UTC)) < timedelta(seconds=5)
    assert info.age is not None and abs(info.age - (datetime.now(UTC) - info.as_of)) < timedelta(seconds=5)
    assert info.stale
    assert info.size == len(codec.encode(frame(1))[1])


MOMENTS = [
    datetime(2026, 11, 30, 1, tzinfo=timezone(timedelta(hours=1))),
    datetime(2026, 11, 30),
    date(2026, 11, 30),
    pd.Timestamp("2026-11-30", tz="UTC"),
    pd.Period("2026-11-30", "D"),
    np.datetime64("2026-11-30"),
    np.datetime64("2026-11-30T00:00:00", "ns"),
    "2026-11-30",
    "2026-11-30T01:00+01:00",
]


@pytest.mark.parametrize("storage", ["sqlite"], indirect=True)
def test_as_of_is_a_moment_in_any_of_these_types(huey: DurableHuey, world: World) -> None:
    prices = world.dataset(huey, as_of=lambda content: content[0], keep=1)
    for moment in MOMENTS:
        refresh(prices, [moment], world)
        assert prices.info().as_of == datetime(2026, 11, 30, tzinfo=UTC), moment
    assert prices.info().version == len(MOMENTS)
    for wrong in (pd.NaT, np.datetime64("NaT"), "soon", 1.5, None, frame(1)):
        refresh(prices, [wrong], world)
        assert "TypeError: as_of returned" in prices.info().error
        assert "Return a datetime, a date, a Period, a datetime64 or ISO text." in prices.info().error
    assert prices.info().version == len(MOMENTS)


def test_dataset_is_stale_from_its_stale_after_age_on(huey: DurableHuey, world: World) -> None:
    now = datetime.now(UTC)
    prices = world.dataset(huey, stale_after="1 hour", as_of=lambda content: content["at"])
    refresh(prices, {"at": now - timedelta(hours=2)}, world)
    assert prices.info().stale
    refresh(prices, {"at": now}, world)
    assert not prices.info().stale


@pytest.mark.parametrize(
    ("stale_after", "seconds"), [("90 seconds", 90), ("1 hour", 3600), ("2 days", 172800), (5, 5), (None, None)]
)
def test_stale_after_accepts_words(huey: DurableHuey, world: World, stale_after: Any, seconds: float | None) -> None:
    expected = None if seconds is None else timedelta(seconds=seconds)
    assert world.dataset(huey, stale_after=stale_after).stale_after == expected


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"stale_after": "soon"}, "stale_after='soon' is not a duration"),
        ({"stale_after": "99999999999 days"}, "stale_after='99999999999 days' is not a duration"),
        ({"stale_after": float("inf")}, "stale_after=inf is not a duration"),
        ({"keep": 0}, "keeps at least one version"),
    ],
    ids=str,
)
def test_invalid_options_are_refused(huey: DurableHuey, world: World, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        world.dataset(huey, **options)


# --- failed refreshes ---

FAILURES = {
    "raises": (RuntimeError("no route to the exchange"), "RuntimeError: no route to the exchange"),
    "none": (None, "EmptyDataset: .*prices returned None, so no version was made."),
    "no rows": (frame(1).iloc[:0], "EmptyDataset: .*prices returned a DataFrame without rows"),
    "no columns": (frame(1)[[]], "EmptyDataset: .*prices returned a DataFrame without rows"),
    "no items": ([], "EmptyDataset: .*prices returned a list without rows"),
    "not kept": (object(), "result is a builtins.object, which cannot be saved"),
}


@pytest.mark.parametrize("storage", ["sqlite"], indirect=True)
@pytest.mark.parametrize("failure", FAILURES)
def test_failed_refresh_keeps_the_last_version_and_shows_its_error(
    prices: Dataset[Any], seen: Dataset[Any], world: World, failure: str
) -> None:
    content, sentence = FAILURES[failure]
    refresh(prices, frame(1), world)
    refresh(prices, content, world)
    same(seen.read(), frame(1))
    info = seen.info()
    assert info.version == 1
    start, _, end = sentence.partition(".*")
    assert info.error.startswith(start) and end in info.error
    assert info.failed_job_id is not None and prices.task.huey.get_job(info.failed_job_id).state == "failed"
    refresh(prices, frame(2), world)
    assert (seen.info().version, seen.info().error, seen.info().failed_job_id) == (2, "", None)


def test_value_larger_than_max_result_is_refused(make_huey: HueyFactory, world: World) -> None:
    prices = world.dataset(make_huey(max_result=100))
    refresh(prices)
    assert "the limit for a result or a step is 100 " in prices.info().error and prices.info().version is None


def test_error_of_a_failed_attempt_shows_before_the_retry(huey: DurableHuey, world: World) -> None:
    prices = world.dataset(huey, retries=1, retry_delay=60)
    refresh(prices, ValueError("at first"), world)
    assert prices.info().error == "ValueError: at first"


def test_empty_value_is_refused_outside_a_worker_too(prices: Dataset[Any], world: World) -> None:
    world.content = []
    with pytest.raises(EmptyDataset):
        prices.task.func()


# --- before the first version ---


def test_read_without_a_version_says_what_to_do(prices: Dataset[Any], world: World) -> None:
    with pytest.raises(NotReady, match=r"prices has no version yet.*prices\.refresh\(\)") as not_ready:
        prices.read()
    assert "failed" not in str(not_ready.value)
    info = prices.info()
    assert (info.version, info.as_of, info.age, info.stale, info.error) == (None, None, None, False, "")
    refresh(prices, ValueError("no key"), world)
    with pytest.raises(NotReady, match="Its last refresh failed: ValueError: no key"):
        prices.read()


def test_read_can_wait_for_the_first_version(prices: Dataset[Any], seen: Dataset[Any]) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(seen.read, wait=60)
        refresh(prices)
        same(waiting.result(60), frame(1))


def test_read_waits_no_longer_than_requested(prices: Dataset[Any]) -> None:
    with pytest.raises(NotReady):
        prices.read(wait=0.05)


# --- the cost of a read ---


def test_repeated_read_costs_one_query_and_decodes_nothing(
    prices: Dataset[Any], seen: Dataset[Any], statements: list[str], decoded: list[str]
) -> None:
    refresh(prices)
    seen.read()
    assert len(decoded) == 1
    for _ in range(3):
        statements.clear()
        same(seen.read(), frame(1))
        assert len(statements) == 1
    assert len(decoded) == 1


def test_many_threads_share_queries_and_decode_a_new_version_once(
    prices: Dataset[Any],
    seen: Dataset[Any],
    world: World,
    statements: list[str],
    decoded: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refresh(prices, frame(1), world)
    seen.read()
    refresh(prices, frame(2), world)
    statements.clear()
    decoded.clear()
    joined: list[None] = []
    query = seen._newest._query

    class Joined(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            joined.append(None)
            return super().wait(timeout)

    class CountedCall(single_flight._Call[Any]):
        def __init__(self) -> None:
            super().__init__()
            self.done = Joined()

    def answers_when_all_wait() -> Any:
        wait_until(lambda: len(joined) >= READERS - 1)
        return query()

    monkeypatch.setattr(single_flight, "_Call", CountedCall)
    monkeypatch.setattr(seen._newest, "_query", answers_when_all_wait)
    with ThreadPoolExecutor(READERS) as pool:
        numbers = list(pool.map(lambda _: seen.read().iloc[0, 0], range(READERS)))
    assert numbers == [2] * READERS
    assert len(decoded) == 1
    assert len(statements) <= 4  # two queries for the newest version, and one for its bytes


def test_read_never_returns_a_version_older_than_its_request(
    prices: Dataset[Any], seen: Dataset[Any], world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    refresh(prices, frame(1), world)
    ask, asked, go = seen._newest._query, threading.Event(), threading.Event()

    def slowly() -> Any:
        answer = ask()
        if not asked.is_set():
            asked.set()
            assert go.wait(10)
        return answer

    monkeypatch.setattr(seen._newest, "_query", slowly)
    with ThreadPoolExecutor(2) as pool:
        before = pool.submit(lambda: seen.read().iloc[0, 0])
        assert asked.wait(10)
        refresh(prices, frame(2), world)
        after = pool.submit(lambda: seen.read().iloc[0, 0])
        wait_until(lambda: not after.done())
        go.set()
        assert after.result(10) == 2
        assert before.result(10) in (1, 2)


@pytest.mark.parametrize("storage", ["sqlite"], indirect=True)
def test_database_error_is_raised_and_not_cached(prices: Dataset[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    refresh(prices)
    with monkeypatch.context() as down:

        def no_route() -> None:
            raise DatabaseUnavailable("no route")

        down.setattr(prices._newest, "_query", no_route)
        with pytest.raises(DatabaseUnavailable):
            prices.read()
    assert len(prices.read()) == 3


# --- concurrency ---


def test_version_replaced_during_a_read_is_read_again(
    huey: DurableHuey, make_huey: HueyFactory, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices, seen = world.dataset(huey, keep=1), world.dataset(make_huey(), keep=1)
    refresh(prices, frame(1), world)
    monkeypatch.setattr(seen, "_cache", lambda: None)  # so that it reads from the database
    versions = seen._ledger().versions
    version = versions.get

    def late(name: str, number: int) -> Any:
        if number == 1:
            refresh(prices, frame(2), world)
        return version(name, number)

    monkeypatch.setattr(versions, "get", late)
    assert seen.read().iloc[0, 0] == 2


def test_two_refreshes_that_end_together_make_two_versions(make_huey: HueyFactory, world: World) -> None:
    datasets = [world.dataset(make_huey()) for _ in range(2)]
    handles = [dataset.refresh() for dataset in datasets]
    tasks = [dataset.task.huey.dequeue() for dataset in datasets]
    with ThreadPoolExecutor(2) as pool:
        for dataset, task in zip(datasets, tasks, strict=True):
            pool.submit(dataset.task.huey.execute, task)
    assert {handle.state.value for handle in handles} == {"succeeded"}
    assert datasets[0].task.huey.ledger.versions.kept(datasets[0].name) == [1, 2]


def test_late_version_of_a_worker_that_lost_its_claim_is_refused(
    huey: DurableHuey, make_huey: HueyFactory, world: World
) -> None:
    prices, again = world.dataset(huey), world.dataset(make_huey())
    prices.refresh()
    zombie = huey.dequeue()
    assert zombie is not None and mark_lost(huey.ledger, zombie.id, zombie.attempt.token, "taken for dead")
    world.content = frame(2)
    work(again.task.huey)
    world.content = frame(1)
    huey.execute(zombie)
    assert prices.info().version == 1
    assert prices.read().iloc[0, 0] == 2


# --- the copy in Redis ---


@pytest.fixture
def copy_key(prices: Dataset[Any]) -> str:
    return f"jobqueue:tests:dataset:{prices.name}"


def bodies(statements: list[str]) -> int:
    return sum("body" in sql and sql.startswith("SELECT") for sql in statements)


@with_redis
def test_new_version_is_read_from_redis(prices: Dataset[Any], seen: Dataset[Any], statements: list[str]) -> None:
    refresh(prices)
    same(seen.read(), frame(1))
    assert bodies(statements) == 0


SPOILED: dict[str, Callable[[bytes], bytes]] = {
    "gone": lambda body: b"",
    "cut short": lambda body: body[:-1],
    "longer": lambda body: body + b"x",
    "another": lambda body: codec.encode(frame(9))[1],
    "a pickle": lambda body: b"\x80\x04cposix\nsystem\n",
}


@with_redis
def test_copy_in_redis_is_used_only_if_its_digest_is_in_the_ledger(
    prices: Dataset[Any], make_huey: HueyFactory, world: World, storage: Storage, copy_key: str
) -> None:
    refresh(prices)
    assert storage.redis_url is not None
    with redis_client(storage.redis_url) as client:
        body = client.get(copy_key)
        assert isinstance(body, bytes)
        for spoiled in SPOILED.values():
            client.set(copy_key, spoiled(body))
            same(world.dataset(make_huey()).read(), frame(1))


@with_redis
def test_emptied_or_foreign_redis_content_does_not_affect_reads(
    prices: Dataset[Any], make_huey: HueyFactory, world: World, storage: Storage, copy_key: str
) -> None:
    refresh(prices)
    assert storage.redis_url is not None
    with redis_client(storage.redis_url) as client:
        client.flushdb()
        assert len(world.dataset(make_huey()).read()) == 3
        client.lpush(copy_key, "a list")
        assert len(world.dataset(make_huey()).read()) == 3


@with_redis
def test_redis_holds_one_copy_of_each_dataset(
    prices: Dataset[Any], seen: Dataset[Any], world: World, storage: Storage, copy_key: str
) -> None:
    assert storage.redis_url is not None
    for number in (1, 2):
        refresh(prices, frame(number), world)
    with redis_client(storage.redis_url) as client:
        assert client.keys("jobqueue:tests:dataset:*") == [copy_key.encode()]
        assert client.get(copy_key) == codec.encode(frame(2))[1]
    assert seen.read().iloc[0, 0] == 2
