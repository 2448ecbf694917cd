"""All text that a job says is cut at the limits of `jobqueue.text`, and lists read no more than they show."""

import logging
import sys
from collections.abc import Callable
from typing import Any

import pytest
from huey.exceptions import CancelExecution, TaskException, TaskTimeout
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobqueue import DurableHuey, State, current_job, text
from jobqueue.database.database import Transaction
from jobqueue.ledger.reading import LONGEST_FAILURE, LONGEST_HISTORY
from jobqueue.monitoring.search import Filter, Listing
from tests.engine.consumers import work

MEGABYTES = 5_000_000
LARGEST = 3_000_000  # bytes of the largest parameter of a statement: a log of 200 lines that JSON escapes


def raise_(error: BaseException) -> None:
    raise error


def noted(error: BaseException, words: str) -> None:
    error.add_note(words)
    raise error


def logged(words: str) -> None:
    try:
        raise ValueError(words)
    except ValueError:
        logging.getLogger("app").exception(words)


# Each way in which a job says something.
SAYS: dict[str, Callable[[str], Any]] = {
    "error": lambda words: raise_(ValueError(words)),
    "error without a repr": lambda words: raise_(KeyError([words])),
    "type of an error": lambda words: raise_(type(words.replace("\0", "") or "E", (Exception,), {})("short")),
    "note on an error": lambda words: noted(ValueError("short"), words),
    "cause of an error": lambda words: raise_from(ValueError("short"), ValueError(words)),
    "exit": lambda words: sys.exit(words),
    "cancel": lambda words: raise_(CancelExecution(words)),
    "timeout": lambda words: raise_(TaskTimeout(words)),
    "value that cannot be stored": lambda words: {words: object()},
    "progress": lambda words: current_job().progress(1, 2, words),
    "progress, twice": lambda words: list(map(current_job().progress, (1, 2), (2, 2), (words, words))),
    "step": lambda words: current_job().step(words, int),
    "step that is no text": lambda words: current_job().step([words], int),  # type: ignore[arg-type]
    "step, twice": lambda words: [current_job().step(words, int) for _ in range(2)],
    "log": lambda words: logging.getLogger("app").warning(words),
    "logger": lambda words: logging.getLogger("app" + words).warning("short"),
    "logged error": logged,
}


def raise_from(error: BaseException, cause: BaseException) -> None:
    raise error from cause


PATTERNS = ["x", "é", "😀", "\n", "a\n", "a\r\n", "\0", '"', "\\", "%s", "\ud800", "\u2028", "<b>"]
SIZES = st.one_of(
    st.integers(0, 3),
    st.sampled_from([text.NOTE, text.ERROR, text.TRACEBACK, text.STEP, text.LOG_LINE]).flatmap(
        lambda limit: st.integers(limit - 30, limit + 30)
    ),
    st.integers(100_000, MEGABYTES),
)
EXAMPLES = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture
def task(huey: DurableHuey, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a task that says `words` in the way `how`. Any statement with a larger parameter fails the test."""
    execute = Transaction._execute

    def measured(self: Transaction, sql: str, params: dict[str, Any]) -> None:
        for name, value in params.items():
            assert not isinstance(value, str | bytes) or len(value) <= LARGEST or name == "message", name
        execute(self, sql, params)

    monkeypatch.setattr(Transaction, "_execute", measured)
    monkeypatch.setattr(logging.getLogger("huey"), "disabled", True)  # pytest prints and keeps what Huey logs
    monkeypatch.setattr(logging, "raiseExceptions", False)
    words: dict[str, str] = {}

    @huey.task()
    def says(how: str) -> Any:
        return SAYS[how](words["said"])

    says.words = words
    return says


@EXAMPLES
@given(how=st.sampled_from(sorted(SAYS)), pattern=st.sampled_from(PATTERNS), size=SIZES)
def test_all_that_a_job_says_is_within_the_limits(
    huey: DurableHuey, task: Any, how: str, pattern: str, size: int
) -> None:
    task.words["said"] = (pattern * (size // len(pattern) + 1))[:size]
    handle = task(how)
    work(huey)
    job = handle.get_job()
    assert (job.state.ended, job.attempt, job.losses) == (True, 1, 0), job.error
    with huey.ledger.database.statement() as tx:
        stored = tx.one("SELECT error, note, events FROM jobs WHERE id = :id", id=handle.id)
        result = tx.one("SELECT length(body) AS bytes FROM results WHERE job_id = :id", id=handle.id)
        steps = tx.all("SELECT name FROM steps WHERE job_id = :id", id=handle.id)
    assert stored is not None
    assert len(stored["error"]) <= text.ERROR
    assert len(stored["note"]) <= text.NOTE
    assert len(stored["events"]) <= LONGEST_HISTORY
    assert result is None or result["bytes"] <= LONGEST_FAILURE
    assert all(len(step["name"]) <= text.STEP for step in steps)
    log = handle.log()
    assert len(log) <= text.LOG_LINES
    assert all(len(line.text) <= text.LOG_LINE and len(line.logger) <= text.LOG_NAME for line in log)
    assert all(len(event.traceback) <= text.EARLIER_TRACEBACK for event in handle.history())
    assert len(job.traceback) <= text.TRACEBACK
    if job.state is not State.SUCCEEDED:
        with pytest.raises(TaskException) as raised:
            handle.get()
        assert len(str(raised.value)) <= text.ERROR
    (row,) = Listing(huey.ledger.database).page(Filter(), 1).rows
    assert (row["id"], len(row["error"]) <= text.LISTED + 1, len(row["note"]) <= text.LISTED + 1) == (
        handle.id, True, True,
    )  # fmt: skip


@pytest.mark.parametrize("size", [text.NOTE, 40_000_000])
def test_progress_note_is_kept_to_its_limit_and_says_what_was_cut(huey: DurableHuey, task: Any, size: int) -> None:
    task.words["said"] = "n" * size
    handle = task("progress")
    work(huey)
    ending = "n" if size == text.NOTE else "… (cut, 40 MB)"
    assert handle.get_job().note == "n" * (text.NOTE - len(ending)) + ending


def test_error_is_kept_to_its_limit_and_says_what_was_cut(huey: DurableHuey, task: Any) -> None:
    task.words["said"] = "e" * 20_000_000
    handle = task("error")
    work(huey)
    job = handle.get_job()
    assert job.error.startswith("ValueError: eee") and job.error.endswith("… (cut, 20 MB)")
    assert "in says" in job.traceback and "… (cut, 20 MB)" in job.traceback
    with pytest.raises(TaskException, match=r"ValueError\('eee.*… \(cut, 20 MB\)$"):
        handle.get()


def test_steps_whose_long_names_differ_at_their_ends_are_two_steps(huey: DurableHuey) -> None:
    @huey.task(retries=1)
    def task() -> list[str]:
        names = ["n" * MEGABYTES + end for end in ("a", "b", "\0", "?")]
        values = [current_job().step(name, str, name[-1]) for name in names]
        if current_job().attempt == 1:
            raise ValueError
        return values

    handle = task()
    work(huey)
    assert handle() == ["a", "b", "\0", "?"]


def test_text_of_an_earlier_version_is_read_within_the_limits(huey: DurableHuey) -> None:
    handle = huey.task(name="task")(lambda: None).s()
    handle = huey.enqueue(handle)
    work(huey)
    long = "x" * MEGABYTES
    with huey.ledger.database.statement() as tx:
        tx.run(
            "UPDATE jobs SET state = 'failed', error = :long, note = :long, events = :events WHERE id = :id",
            long=long,
            events=f'["ended",1,1,"error","{long}"]\n["put back",2,1]\n',
            id=handle.id,
        )
    job = huey.get_job(handle.id)
    assert (len(job.error), len(job.note)) == (text.ERROR, text.NOTE)
    assert [event.name for event in handle.history()] == ["submitted", "put back"]
    assert [len(listed.error) for listed in huey.jobs()] == [text.ERROR]
    (row,) = Listing(huey.ledger.database).page(Filter(), 1).rows
    assert (len(row["error"]), len(row["note"])) == (text.LISTED + 1, text.LISTED + 1)


def test_lists_of_jobs_do_not_read_arguments(huey: DurableHuey, statements: list[str]) -> None:
    echo = huey.task(name="echo")(lambda value: None)
    echo("x" * 500_000)
    statements.clear()
    (job,) = huey.jobs()
    Listing(huey.ledger.database).page(Filter(), 10)
    assert not any("message" in statement for statement in statements)
    assert job.args == ("x" * 500_000,)
    assert any("message" in statement for statement in statements)


@given(st.text(), st.integers(40, 100))
def test_cut_text_fits_and_is_not_cut_again(words: str, limit: int) -> None:
    for cut in (text.cut, text.cut_start):
        once = cut(words, limit)
        assert len(once) <= limit
        assert cut(once, limit) == once
        assert once == words or "(cut, " in once
