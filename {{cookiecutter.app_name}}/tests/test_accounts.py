"""Who may see what: nothing without a log-in, and of the jobs one's own. See to it that a page of yours is among these."""

import re
from pathlib import Path

import pytest
from browser import PASSWORD, Browser
from jobqueue import DurableHuey

from app import users, web
from app.about import ROOT
from app.jobs.hello import greet


@pytest.fixture
def people(queue: DurableHuey, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ann, Ben, and Eve who is an admin, all with the same password; and one has to log in."""
    monkeypatch.setattr(users, "SCRYPT", "scrypt:512:8:1")
    monkeypatch.setattr("app.jobs.hello.time.sleep", lambda _: None)
    monkeypatch.setitem(web.server.config, "ACCOUNTS", True)
    monkeypatch.setitem(web.server.config, "SECRET_KEY", "of these tests")
    users._nobodys_hash.cache_clear()
    for name in ("ann", "ben", "eve"):
        users.add(name, PASSWORD, admin=name == "eve")


PANEL = "app.pages.hello"


@pytest.mark.parametrize("address", ["/", "/hello", "/hello?job=7", "/account", "/no/such/page"])
def test_a_page_leads_to_the_log_in_and_back(people: None, address: str) -> None:
    answer = Browser().get(address)
    assert answer.status_code == 302 and answer.location.startswith("/login")
    assert "hello-start" not in answer.text


@pytest.mark.parametrize("address", ["/_dash-layout", "/_dash-dependencies", "/_reload-hash"])
def test_what_pages_are_made_of_is_refused_without_a_log_in(people: None, address: str) -> None:
    assert Browser().get(address).status_code == 401


def test_a_callback_is_refused_without_a_log_in(people: None, queue: DurableHuey) -> None:
    assert Browser().start("hello", 1, "Ann").status_code == 401
    assert queue.jobs() == []


def test_what_one_submits_is_ones_own(people: None, queue: DurableHuey) -> None:
    assert Browser("ann").start("hello", 1, "Ann").status_code == 200
    (job,) = queue.jobs()
    assert job.owner == "ann"


def test_a_job_is_there_for_its_owner_and_for_admins_alone(people: None) -> None:
    job = greet.using(owner="ann")("Ann")
    for name, found in (("ann", True), ("eve", True), ("ben", False)):
        browser = Browser(name)
        answer = browser.look(PANEL, job.id)
        assert ("Hello, Ann!" in answer.text) is found
        assert ("Of ann" in answer.text) is (name == "eve")
        assert answer.status_code == (200 if found else 404)
        assert browser.get(f"/hello?job={job.id}").status_code == (200 if found else 404)


def test_somebody_elses_job_is_answered_as_one_that_does_not_exist(people: None) -> None:
    ben, job = Browser("ben"), greet.using(owner="ann")("Ann")
    foreign, unknown = (ben.look(PANEL, job_id) for job_id in (job.id, "0" * len(job.id)))
    assert (foreign.status_code, foreign.data) == (unknown.status_code, unknown.data)


def test_only_the_owner_and_admins_can_cancel_a_job_or_have_it_run_again(people: None, queue: DurableHuey) -> None:
    job = greet.using(owner="ann").schedule(("Ann",), delay=60)
    for act in ("cancel", "retry", "again"):
        assert Browser("ben").press(act, PANEL, job.id).status_code == 404
        assert job.state == "scheduled"
    assert Browser("ann").press("cancel", PANEL, job.id).status_code == 200
    assert Browser("eve").press("retry", PANEL, job.id).status_code == 200
    assert job.state == "succeeded"
    assert Browser("eve").press("again", PANEL, job.id).status_code == 200
    assert [each.owner for each in queue.jobs()] == ["eve", "ann"]  # whoever runs a job again has one more


def test_a_page_looks_at_jobs_through_what_its_reader_may_see() -> None:
    """`from app.access import jobs`, not `from app.jobs import huey`: the queue itself knows no users."""
    for page in Path(ROOT, "app", "pages").glob("*.py"):
        assert not re.search(r"\bhuey\b|\bledger\b", page.read_text(encoding="utf-8")), page.name
