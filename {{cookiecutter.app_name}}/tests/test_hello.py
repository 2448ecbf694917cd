"""The smallest job and its page."""

import pytest
from dash import no_update
from jobqueue import DurableHuey

from app.jobs.hello import greet
from app.pages import hello


@pytest.fixture(autouse=True)
def no_thinking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.jobs.hello.time.sleep", lambda _: None)


def test_the_job_says_hello() -> None:
    assert greet("Ann").get() == "Hello, Ann!"


def test_the_button_makes_a_job_and_leads_to_it(queue: DurableHuey) -> None:
    (address, trouble), (job,) = hello.start(1, "Ann"), queue.jobs()
    assert trouble is None and address == f"?job={job.id}"
    assert job.args == ("Ann",)


def test_without_a_queue_the_page_says_to_try_again(no_database: None) -> None:
    address, trouble = hello.start(1, "Ann")
    assert address is no_update and "Try again in a moment" in str(trouble)


def test_the_page_shows_the_result() -> None:
    look = hello.panel.render(greet("Ann").id)
    assert "Hello, Ann!" in str(look.result) and look.seen["ended"]


def test_the_page_looks_on_while_the_job_has_not_ended() -> None:
    look = hello.panel.render(greet.schedule(("Ann",), delay=60).id)
    assert "Starts in" in str(look.status) and not look.seen["ended"]


def test_the_page_says_what_went_wrong() -> None:
    look = hello.panel.render(greet("Ann", seconds="many").id)
    assert "Failed: TypeError" in str(look.status) and "Traceback" in str(look.status)
