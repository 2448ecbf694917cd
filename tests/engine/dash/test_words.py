"""Texts are for users: what happened to their job, without the words of operators. Times are in one zone, which is named."""

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

import jobqueue.dash
from jobqueue import DurableHuey, Job, State
from jobqueue.dash import Access
from jobqueue.dash.error_text import for_users
from jobqueue.dash.formatting import TIME, WITH_WEEKDAY, moment
from jobqueue.dash.pages import detail_sections, job_table
from jobqueue.dash.panel import JobPanel
from jobqueue.dash.panel_view import status
from jobqueue.ledger import ending
from jobqueue.ledger.records import NewJob
from jobqueue.monitoring.search import Filter, Listing
from tests.engine.consumers import work
from tests.losing import mark_lost
from tests.waiting import wait_until

DASH = Path(jobqueue.dash.__file__).parent
KIT = Path(__file__).parents[3]
FILES = DASH / "downloads"  # for programs, which read ISO 8601
PAGES = [
    *(path for path in DASH.rglob("*.py") if path.parent != FILES),
    *KIT.glob("{{cookiecutter.app_name}}/app/pages/*.py"),
]
FOR_USERS = [
    *(DASH / f"{name}.py" for name in ("errors", "panel", "panel_view", "status_text")),
    DASH / "pages" / "text.py",
    *KIT.glob("{{cookiecutter.app_name}}/app/pages/*.py"),
]
OPERATORS_WORDS = re.compile(
    r"\b(?i:workers?|consumers?|lease|deploy|installation|server's log|interpreter|timeout)\b"
    r"|python -m|\bmax_\w+|[A-Z]{3,}_[A-Z]|\(\w*\.\.\.\)"
)


@dataclass
class Who:
    name: str
    admin: bool = False


@pytest.fixture
def huey() -> Iterator[DurableHuey]:
    huey = DurableHuey("words", "sqlite://", secret_key="a key for tests", max_result=2_000)
    yield huey
    huey.storage.close()


def lost(huey: DurableHuey) -> None:
    huey.task(name="task")(lambda: None)()
    for _ in range(huey.max_losses):
        task = huey.dequeue()
        assert task is not None
        mark_lost(huey.ledger, task.id, task.attempt.token, "worker-1")


def unknown(huey: DurableHuey) -> None:
    huey.ledger.submit([NewJob(id="job", task="unknown", message=b"")])
    wait_until(lambda: huey.ledger.housekeeping.fail_unknown(0))  # from the next tick of the clock on


def unreadable(huey: DurableHuey) -> None:
    huey.task(name="task")(lambda: None)
    huey.ledger.submit([NewJob(id="job", task=next(iter(huey.tasks_by_name())), message=b"other:key")])
    work(huey)


def expired(huey: DurableHuey) -> None:
    huey.task(name="task", expires=timedelta(seconds=-1))(lambda: None)()
    work(huey)


def out_of_time(huey: DurableHuey) -> None:
    huey.task(name="task")(lambda: None)()
    task = huey.dequeue()
    assert task is not None
    with huey.ledger.database.statement() as tx:
        found = ending.timed_out(tx, task.attempt.token)
    assert found is not None
    huey.ledger.end(task.id, task.attempt.token, found[1])


def not_written(huey: DurableHuey) -> None:
    huey.task(name="task")(lambda: None)()
    task = huey.dequeue()
    assert task is not None
    end, failures = huey.ledger.end, [OSError("SECRET_KEY")]
    huey.ledger.end = lambda *a, **k: fail(failures.pop()) if failures else end(*a, **k)  # type: ignore[method-assign]
    huey.execute(task)


def fail(error: BaseException) -> Any:
    raise error


def ends(function: Callable[[], Any]) -> Callable[[DurableHuey], None]:
    def end(huey: DurableHuey) -> None:
        huey.task(name="task")(function)()
        work(huey)

    return end


def nested() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def followed(huey: DurableHuey) -> None:
    task = huey.task(name="task")(lambda: object())
    huey.enqueue(task.s().then(task))
    work(huey)


ERRORS: dict[str, tuple[Callable[[DurableHuey], None], str]] = {
    "lost": (lost, "It was interrupted 3 times, so it is not tried again by itself."),
    "unknown": (unknown, "This version of the app cannot run it."),
    "unreadable": (unreadable, "It could not be started, because its arguments cannot be read."),
    "expired": (expired, "Expired: it did not start in time."),
    "out of time": (out_of_time, "Timed out: it ran longer than it may."),
    "not written": (not_written, "It ran, but its result could not be saved."),
    "too large": (ends(lambda: "x" * 3_000), " kB, more than the limit of 2 kB."),
    "of no type": (ends(lambda: object()), "Its result cannot be saved."),
    "nested": (ends(nested), "Its result cannot be saved."),
    "exited": (ends(lambda: fail(SystemExit(3))), "It stopped before it had finished."),
    "after another": (followed, "Not run: the job before it failed. Its result cannot be saved."),
}


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_of_the_queue_is_in_words_for_users_and_with_its_remedy_for_operators(
    huey: DurableHuey, error: str
) -> None:
    provoke, words = ERRORS[error]
    provoke(huey)
    (job, *_) = huey.jobs()
    assert job.state in (State.FAILED, State.CANCELLED) and words not in job.error
    page = Listing(huey.ledger.database).page(Filter(), 10, 0)
    for who in (Who("ann"), Who("eve", admin=True)):
        access = Access(huey, lambda who=who: who)  # type: ignore[misc]
        shown = [
            str(status(job, None, "", [], operator=access.sees_all)),
            str(detail_sections.facts(job, access)),
            str(detail_sections.timeline(huey.history(job.id), access)),
            str(detail_sections.arguments(job, access)),
            str(detail_sections.steps([], access)),
            str(detail_sections.log([], access)),
            str(job_table.describe(page.rows[0], "", operator=access.sees_all)["says"]),
        ]
        if who.admin:
            assert job.error.partition("\n")[0][:60] in shown[0] and job.error[:60] in shown[-1]
        else:
            assert words in shown[0] and words in shown[-1]
            assert [text for text in shown if OPERATORS_WORDS.search(text)] == []


def test_a_panel_has_words_for_users_whoever_looks(huey: DurableHuey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobqueue.dash.panel._panels", {})
    lost(huey)
    (job,) = huey.jobs()
    panel = JobPanel(huey, "words", access=Access(huey, lambda: Who("eve", admin=True)))
    assert "It was interrupted 3 times" in str(panel.render(job.id).status)


@pytest.mark.parametrize("error", ["ValueError: no such ticker", "OSError: a file that cannot be saved", ""])
def test_an_error_of_the_apps_code_is_shown_as_it_is(error: str) -> None:
    assert for_users(error) == error


@pytest.mark.parametrize("path", FOR_USERS, ids=lambda path: path.stem)
def test_no_text_for_users_has_words_of_operators(path: Path) -> None:
    assert [text for text in texts(ast.parse(path.read_text())) if OPERATORS_WORDS.search(text)] == []


def texts(module: ast.Module) -> Iterator[str]:
    """Return the texts of a module, except docstrings, what is logged or raised, and names without a space."""
    skipped: set[ast.AST] = set()
    for node in ast.walk(module):
        logged = isinstance(node, ast.Call) and ast.unparse(node.func).startswith("logger.")
        documents = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if logged or documents or isinstance(node, ast.Raise):
            skipped |= set(ast.walk(node))
        elif (
            isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in skipped and " " in node.value
        ):
            yield node.value


# --- times ---

AT = datetime(2026, 11, 29, 19, 3, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "words"),
    [
        (UTC, "2026-11-29 19:03:05 UTC"),
        (ZoneInfo("Europe/Paris"), "2026-11-29 20:03:05 CET"),
        (ZoneInfo("America/Sao_Paulo"), "2026-11-29 16:03:05 UTC-03"),
        (timezone(timedelta(hours=5, minutes=30)), "2026-11-30 00:33:05 UTC+05:30"),
    ],
)
def test_a_time_is_in_24_hours_with_the_name_of_its_zone(zone: Any, words: str) -> None:
    assert (
        moment(AT, zone) == moment(AT.timestamp(), zone) == moment(AT.astimezone(ZoneInfo("Asia/Tokyo")), zone) == words
    )


def test_times_may_have_a_weekday_or_no_date() -> None:
    assert moment(AT, UTC, WITH_WEEKDAY) == "Sun 2026-11-29 19:03:05 UTC"
    assert moment(AT, UTC, TIME) == "19:03:05 UTC"
    assert moment(None, UTC) == ""


def test_pages_show_times_in_the_time_zone_of_the_queue() -> None:
    huey = DurableHuey("zone", immediate=True, timezone="Europe/Paris")
    job: Job = huey.task()(lambda: None)().get_job()
    access = Access(huey, lambda: None)
    assert access.moment(AT) == "2026-11-29 20:03:05 CET"
    shown = f"{detail_sections.facts(job, access)} {detail_sections.timeline(huey.history(job.id), access)}"
    assert access.moment(job.ended_at) in shown
    assert set(re.findall(r"\d\d:\d\d:\d\d (\w+)", shown)) <= {"CET", "CEST"}
    huey.storage.close()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_times_are_written_by_one_function(path: Path) -> None:
    written = re.findall(r"%[HIMSpXcZz]\b|%H:|\bUTC\"|strftime|isoformat", path.read_text())
    assert written == [] or path.name == "formatting.py"


def test_browsers_write_no_times() -> None:
    for script in DASH.rglob("*.js"):
        assert re.findall(r"toLocale\w*|getHours", script.read_text()) == []
