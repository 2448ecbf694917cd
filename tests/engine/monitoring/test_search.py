"""Search: pages of jobs by any filter, and statistics."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from jobqueue import DurableHuey, State
from jobqueue.ledger.records import NewJob
from jobqueue.monitoring.figures import Statistics
from jobqueue.monitoring.search import DAY, Filter, Listing

Make = Callable[..., str]


@pytest.fixture
def listing(huey: DurableHuey) -> Listing:
    return Listing(huey.ledger.database)


@pytest.fixture
def statistics(huey: DurableHuey) -> Statistics:
    return Statistics(huey.ledger.database)


@pytest.fixture
def make(huey: DurableHuey) -> Make:
    """Insert a job with these columns. `age`: seconds since its submit and its end."""
    numbers = itertools.count(1)

    def make(state: State = State.QUEUED, age: float = 0, error: str = "", **given: Any) -> str:
        new = {"id": f"job-{next(numbers):04}", "task": "app.jobs.prices.fetch", "message": b""} | given
        huey.ledger.submit([NewJob(**new)])
        with huey.ledger.database.statement() as tx:
            tx.run(
                "UPDATE jobs SET state = :state, error = :error, created_at = NOW - :age, queued_at = NOW - :age, "
                "claimed_at = NOW - :age + 1, ended_at = CASE WHEN :ended THEN NOW - :age + 3 END WHERE id = :id",
                state=state, error=error, age=age, ended=state.ended, id=new["id"],
            )  # fmt: skip
        return str(new["id"])

    return make


def ids(listing: Listing, offset: int = 0, limit: int = 50, **wanted: Any) -> list[str]:
    return [row["id"] for row in listing.page(Filter(**wanted), limit, offset).rows]


def test_jobs_are_listed_newest_first_without_a_filter(listing: Listing, make: Make) -> None:
    made = [make() for _ in range(3)]
    assert ids(listing) == made[::-1]


def test_filters_work_alone_and_together(listing: Listing, make: Make) -> None:
    wanted: dict[str, Any] = {"state": State.FAILED, "task": "app.b", "owner": "ann", "queue": "heavy"}
    others: dict[str, Any] = {"state": State.CANCELLED, "task": "app.a", "owner": "ben", "queue": "default"}
    fits = make(**wanted, error="no price of SPY")
    for name in wanted:
        make(**wanted | {name: others[name]}, error="no price of SPY")
    make(**wanted, error="something else")
    assert ids(listing, **wanted, text="PRICE of spy", age_s=60.0) == [fits]
    for name, value in wanted.items():
        assert len(ids(listing, **{name: value})) == len(wanted) + 1, name


def test_page_says_whether_more_jobs_follow(listing: Listing, make: Make) -> None:
    made = [make() for _ in range(5)][::-1]
    first, second = (listing.page(Filter(), 3, offset) for offset in (0, 3))
    assert [row["id"] for row in (*first.rows, *second.rows)] == made
    assert first.more and not second.more
    assert ids(listing, offset=10) == []


def test_jobs_above_the_given_age_are_left_out(listing: Listing, make: Make) -> None:
    ages = [90, 70, 50, 30, 10]
    made = [make(age=age) for age in ages]
    for age_s in (5, 20, 40, 60, 80, 100):
        expected = [job for job, age in zip(made, ages, strict=True) if age < age_s][::-1]
        assert ids(listing, age_s=float(age_s)) == expected


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("job-0002", ["job-0002"]),
        ("job-000", ["job-0003", "job-0002", "job-0001"]),  # the beginning of an id
        ("JOBS.prices", ["job-0001"]),
        ("100%", ["job-0002"]),
        ("100_", []),  # no wildcard
        (r"a\b", ["job-0003"]),
        ("price of", []),
        ("'; DROP TABLE jobs --", []),
    ],
)
def test_text_is_searched_in_ids_tasks_and_errors(listing: Listing, make: Make, text: str, found: list[str]) -> None:
    make()
    make(task="other", state=State.FAILED, error="It is at 100% now")
    make(task="another", state=State.FAILED, error=r"no path a\b")
    assert ids(listing, text=text) == found


def test_words_in_old_errors_are_found_with_an_index_of_words(huey: DurableHuey, listing: Listing, make: Make) -> None:
    old = make(state=State.FAILED, error="the market is closed", age=40 * DAY)
    new = make(state=State.FAILED, error="the market is closed", age=10 * DAY)
    page = listing.page(Filter(text="market is"), 50)
    if huey.ledger.database.dialect.one_writer:
        assert [row["id"] for row in page.rows] == [new] and page.errors_of_days == 30
    else:
        assert [row["id"] for row in page.rows] == [new, old] and page.errors_of_days is None
        with huey.ledger.database.statement() as tx:
            tx.run("DROP INDEX jobs_words")
        page = listing.page(Filter(text="market is"), 50)
        assert [row["id"] for row in page.rows] == [new] and page.errors_of_days == 30


def test_owner_finds_a_run_that_others_share(huey: DurableHuey, listing: Listing) -> None:
    task = huey.task(name="shared")(lambda: None)
    ann, ben = (task.using(owner=name, unique=True).schedule(delay=60) for name in ("ann", "ben"))
    alone = task.using(owner="ben").schedule(delay=60)
    assert ids(listing, owner="ann") == [ann.id]
    assert ids(listing, owner="ben") == [alone.id, ben.id]
    ben.cancel()
    assert ids(listing, owner="ben", state=State.CANCELLED) == [ben.id]
    assert ids(listing, owner="ann", state=State.SCHEDULED, task=huey.name_of(task), text="shared") == [ann.id]
    assert len(ids(listing)) == 2  # the runs


def test_figures_count_queued_running_and_failed_jobs(statistics: Statistics, make: Make) -> None:
    for state, age, owner in (
        (State.QUEUED, 50, "ann"), (State.QUEUED, 20, "ben"), (State.RUNNING, 5, "ann"), (State.FAILED, 60, "ann"),
        (State.FAILED, 2 * DAY, "ann"), (State.SUCCEEDED, 60, "ann"),
    ):  # fmt: skip
        make(state=state, age=age, owner=owner)
    figures = statistics.figures()
    assert (figures.queued, figures.running, figures.failed) == (2, 1, 1)
    assert figures.waits_s == pytest.approx(50, abs=5)
    own = statistics.figures("ben")
    assert (own.queued, own.running, own.failed) == (1, 0, 0)
    assert own.waits_s == pytest.approx(20, abs=5)
    nobodys = statistics.figures("nobody")
    assert (nobodys.queued, nobodys.waits_s) == (0, None)


def test_stretches_count_ended_jobs_and_their_durations(huey: DurableHuey, statistics: Statistics, make: Make) -> None:
    for age in (40, 41, 130):
        make(state=State.SUCCEEDED, age=age)
    make(state=State.FAILED, age=42)
    with huey.ledger.database.statement() as tx:
        now = (tx.one("SELECT NOW AS now") or {})["now"]
    before, last = statistics.stretches(now, 100, 2)
    assert (before.succeeded, before.failed, last.succeeded, last.failed) == (1, 0, 2, 1)
    assert last.waited == pytest.approx((1, 1), abs=0.01) and last.ran == pytest.approx((2, 2), abs=0.01)
    (nothing,) = statistics.stretches(now - 1000, 100, 1)
    assert nothing.waited is nothing.ran is None


def test_tasks_with_jobs_are_listed_once(listing: Listing, make: Make) -> None:
    for task in ("b", "a", "b"):
        make(task=task)
    assert listing.tasks() == ["a", "b"]


def test_page_takes_few_statements(listing: Listing, make: Make, statements: list[str]) -> None:
    make(), make()
    listing.page(Filter(), 50)
    statements.clear()
    listing.page(Filter(state=State.QUEUED, task="app.jobs.prices.fetch"), 50)
    assert len(statements) == 1


@pytest.mark.empty_database
@pytest.mark.parametrize("storage", ["postgres"], indirect=True)
def test_migration_continues_without_permission_to_create_an_extension(
    make_huey: Callable[..., DurableHuey], storage: Any
) -> None:
    with make_huey().ledger.database.connect() as connection:
        plain, role = storage.database_url.rpartition("/")[2], "plain_" + storage.database_url[-8:]
        connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'plain'")
        connection.execute(f"REVOKE CREATE ON DATABASE {plain} FROM PUBLIC")
        connection.execute(f"GRANT ALL ON SCHEMA public TO {role}")
        try:
            scheme, _, rest = storage.database_url.partition("://")
            huey = make_huey(database_url=f"{scheme}://{role}:plain@{rest.partition('@')[2]}")
            huey.migrate()
            with huey.ledger.database.statement() as tx:
                assert tx.one("SELECT to_regclass('jobs_words') AS words") == {"words": None}
            assert Listing(huey.ledger.database).page(Filter(text="any text"), 5).errors_of_days == 30
            huey.storage.close()
        finally:
            connection.execute(f"DROP OWNED BY {role} CASCADE")
            connection.execute(f"DROP ROLE {role}")


def test_search_text_never_becomes_part_of_a_statement(listing: Listing, make: Make, statements: list[str]) -> None:
    make()
    statements.clear()
    listing.page(Filter(task="typed", owner="typed", queue="typed", text="typed"), 5)
    assert statements and not any("typed" in sql for sql in statements)
