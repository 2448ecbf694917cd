"""Options of a submit: every storage accepts the same ones, with the same effect, and refuses the others by name."""

import math
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from jobqueue import DurableHuey, every
from tests.storages import STORAGES

ODD_TEXT = (
    st.text(max_size=5)
    | st.text(st.characters(codec=None), max_size=5)  # with halves of surrogate pairs
    | st.sampled_from(
        [
            "",
            " ",
            "\0",
            "ann\0",
            "\ud800",
            "ann@example.com",
            "é",
            "high",
            "5",
            "NaN",
            "a" * 256,
            "é" * 251,
            "x" * 100_000,
        ]
    )
)
ODD_NUMBERS = (
    st.integers()
    | st.floats()
    | st.sampled_from(
        [True, False, 2**31 - 1, 2**31, 2**63, -(2**63) - 1, 10**400, math.inf, -math.inf, math.nan, 1e308, -0.0, 0.5]
        + [
            Decimal("1.5"),
            Decimal("NaN"),
            Fraction(1, 3),
            1j,
            np.int64(3),
            np.float32(1.5),
            np.float64("nan"),
            np.bool_(True),
        ]
    )
)
ODD_TIMES = (
    st.timedeltas()
    | st.datetimes()
    | st.datetimes(timezones=st.just(UTC))
    | st.sampled_from([date(2030, 1, 1), datetime.max, datetime.min, datetime.max.replace(tzinfo=UTC), timedelta.max])
)
ODD = st.none() | ODD_TEXT | ODD_NUMBERS | ODD_TIMES | st.sampled_from([b"x", (), [], {}, object, sys.maxsize])

COLUMNS = ("state", "priority", "queue", "owner", "retries", "retry_delay")


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[list[tuple[DurableHuey, Any]]]:
    """Return a DurableHuey on each kind of database, with the same task."""
    folder = tmp_path_factory.mktemp("options")
    with STORAGES["sqlite"](folder, shared, False) as file, STORAGES["postgres"](folder, shared, False) as server:
        hueys = [DurableHuey("tests", storage.database_url, secret_key="a key for tests") for storage in (file, server)]
        yield [(huey, huey.task(name="nothing")(lambda argument=None: None)) for huey in hueys]
        for huey in hueys:
            huey.storage.close()


def as_argument(task: Any, name: str, value: Any) -> Any:
    return task.s(**{name: value})


def as_attribute(task: Any, name: str, value: Any) -> Any:
    made = task.s()
    setattr(made, name, value)
    return made


def by_using(task: Any, name: str, value: Any) -> Any:
    return task.using(**{name: value}).s()


WAYS: dict[Any, list[str]] = {
    as_argument: [
        "id",
        "eta",
        "delay",
        "retries",
        "retry_delay",
        "retry_backoff",
        "priority",
        "expires",
        "timeout",
        "argument",
    ],
    as_attribute: [
        "id",
        "owner",
        "queue",
        "run_in",
        "retries",
        "retry_delay",
        "priority",
        "expires",
        "unique",
        "cache_for",
    ],
    by_using: ["owner", "queue", "unique", "cache_for"],
}
OPTIONS = [(way, name) for way, names in WAYS.items() for name in names]


@settings(
    max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(option=st.sampled_from(OPTIONS), value=ODD)
@example(option=(as_argument, "priority"), value="high")
@example(option=(as_argument, "id"), value="a\0b")
@example(option=(by_using, "owner"), value="ann\0")
@example(option=(by_using, "owner"), value=5)
@example(option=(as_argument, "delay"), value=math.nan)
@example(option=(as_argument, "retries"), value=2**31)
def test_odd_option_is_accepted_alike_on_both_storages_or_refused_by_name(both: Any, option: Any, value: Any) -> None:
    way, name = option
    seen = [outcome(huey, lambda task=task: way(task, name, value)) for huey, task in both]
    on_sqlite, on_postgres = seen
    assert on_sqlite == on_postgres
    if isinstance(on_sqlite, str):
        assert {"run_in": "delay", "queue": "a queue"}.get(name, name) in on_sqlite


def outcome(huey: DurableHuey, make: Any) -> Any:
    """Submit a task. Return the columns of its job as the ledger has them, or the sentence that refuses it."""
    before = {job.id for job in huey.jobs(limit=1)}
    try:
        handle = huey.enqueue(make())
    except ValueError as refusal:
        assert type(refusal) is ValueError
        assert {job.id for job in huey.jobs(limit=1)} == before
        return str(refusal)
    row = huey.reader.row(handle.id)
    huey.ledger.cancel(handle.id, "Not needed.")
    started = {name: row[name] - row["created_at"] if row[name] else row[name] for name in ("run_at", "expires_at")}
    return {name: row[name] for name in COLUMNS} | {name: about(after) for name, after in started.items()}


def about(seconds: float | None) -> float | None:
    """Round a time to minutes, half way between two of which no test submits."""
    return None if seconds is None else round(seconds / 60 + 0.25)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"priority": "high"}, "priority is 'high'. Give a finite number."),
        ({"id": "a\0"}, "id is 'a\\x00'. Give text without NUL"),
        ({"retries": 1.5}, "retries is 1.5. Give a whole number from 0 to 2,147,483,647."),
        (
            {"delay": math.inf},
            "delay is inf. Give seconds as an int or a float, or a timedelta, of at most a hundred years.",
        ),
        ({"expires": "soon"}, "expires is 'soon'. Give seconds as an int"),
        ({"eta": "tomorrow"}, "eta must be a datetime instance"),
    ],
    ids=str,
)
def test_refusal_says_which_option_what_was_given_and_what_to_give(both: Any, options: Any, sentence: str) -> None:
    for huey, task in both:
        with pytest.raises(ValueError) as refusal:
            huey.enqueue(task.s(**options))
        assert sentence in str(refusal.value)


@pytest.mark.parametrize("value", [True, 3, np.int64(3), np.float32(1.5), Fraction(1, 2)], ids=repr)
def test_any_kind_of_number_is_a_priority(both: Any, value: Any) -> None:
    for huey, task in both:
        assert huey.get_job(huey.enqueue(task.s(priority=value)).id).priority == float(value)


@pytest.mark.parametrize(
    "options",
    [{"name": "é" * 501}, {"priority": "high"}, {"retries": "3"}, {"owner": 5}, {"expires": math.nan}],
    ids=lambda options: next(iter(options)),
)
def test_option_that_no_submit_can_use_is_refused_where_the_task_is_defined(both: Any, options: dict[str, Any]) -> None:
    for huey, _ in both:
        for decorate in (huey.task(**options), huey.periodic_task(every("hour"), **options)):
            with pytest.raises(ValueError, match=f"{next(iter(options))} is "):
                decorate(lambda: None)


def test_longest_texts_fit_into_the_indexes_of_both(both: Any) -> None:
    odd = "".join(map(chr, range(0x4E00, 0x4E00 + 400)))  # three bytes each; Postgres cannot compress it
    for huey, _ in both:
        task = huey.task(name=odd[:320])(lambda: None)
        handle = huey.enqueue(task.using(owner=odd[:166], queue="q" * 100, unique=odd).s(id=odd[:85]))
        assert huey.get_job(handle.id).owner == odd[:166]
        task.unregister()


@pytest.mark.parametrize(
    "call",
    [
        lambda huey: huey.storage.put_data("a\0", b"x"),
        lambda huey: huey.storage.put_if_empty("a\ud800", b"x"),
        lambda huey: huey.storage.incr("a\0"),
        lambda huey: huey.result("a\0"),
        lambda huey: huey.retry_job("a\0"),
        lambda huey: huey.jobs(owner="a\0"),
        lambda huey: huey.jobs(limit=-1),
        lambda huey: huey.jobs(limit=2.5),
    ],
)
def test_other_text_that_postgres_cannot_store_is_refused_on_both(both: Any, call: Any) -> None:
    for huey, _ in both:
        with pytest.raises(ValueError):
            call(huey)
