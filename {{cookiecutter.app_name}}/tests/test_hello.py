"""The smallest job and its page."""

import pytest
from jobqueue import DurableHuey

from app.jobs.hello import greet
from app.pages import hello


@pytest.fixture(autouse=True)
def no_thinking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.jobs.hello.time.sleep", lambda _: None)


def test_the_job_says_hello() -> None:
    assert greet("Ann").get() == "Hello, Ann!"


def test_the_button_starts_a_job(queue: DurableHuey) -> None:
    started = hello.start(1, "Ann")
    (job,) = queue.jobs()
    assert (job.id, job.args) == (started.id, ("Ann",))


def test_the_page_shows_the_result() -> None:
    view = hello.panel.render(greet("Ann").id)
    assert "Hello, Ann!" in str(view.result) and view.seen["ended"]


def test_the_page_is_refreshed_until_the_job_has_ended() -> None:
    view = hello.panel.render(greet.schedule(("Ann",), delay=60).id)
    assert "Starts in" in str(view.status) and not view.seen["ended"]


def test_the_page_says_what_went_wrong() -> None:
    view = hello.panel.render(greet("Ann", seconds="many").id)
    assert "Failed: TypeError" in str(view.status) and "Traceback" in str(view.status)
