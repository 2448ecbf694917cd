"""Access: nothing without a log-in, and only one's own jobs. Add your own pages to these tests."""

import re
from pathlib import Path

import dash
import pytest
from browser import PASSWORD, Browser
from jobqueue import DurableHuey
from jobqueue.accounts import users

from app import web
from app.access import accounts
from app.jobs.hello import greet
from app.settings import ROOT

PANEL = "app.pages.hello"


@pytest.fixture
def people(queue: DurableHuey, monkeypatch: pytest.MonkeyPatch) -> None:
    """Turn accounts on, and add ann, ben, and eve, who is an admin. All have the same password."""
    monkeypatch.setattr(users, "SCRYPT", "scrypt:512:8:1")  # a cheap hash
    monkeypatch.setattr("app.jobs.hello.time.sleep", lambda _: None)
    monkeypatch.setitem(web.server.config, "ACCOUNTS", True)
    monkeypatch.setitem(web.server.config, "SECRET_KEY", "a key for tests")
    for name in ("ann", "ben", "eve"):
        accounts.users.add(name, PASSWORD, admin=name == "eve")


@pytest.mark.parametrize("address", ["/", "/hello", "/hello?job=7", "/account"])
def test_a_page_without_a_log_in_redirects_to_it(people: None, address: str) -> None:
    answer = Browser().get(address)
    assert answer.status_code == 302 and answer.location.startswith(dash.get_relative_path("/login"))
    assert "hello-start" not in answer.text


@pytest.mark.parametrize("name", [None, "ann"])
def test_an_unknown_address_is_404_and_no_reason_to_log_in(people: None, name: str | None) -> None:
    answer = Browser(name).get("/no/such/page")
    assert answer.status_code == 404 and answer.location is None


@pytest.mark.parametrize("address", ["/_dash-layout", "/_dash-dependencies", "/_reload-hash"])
def test_dashs_own_requests_are_refused_without_a_log_in(people: None, address: str) -> None:
    assert Browser().get(address).status_code == 401


def test_a_callback_is_refused_without_a_log_in(people: None, queue: DurableHuey) -> None:
    assert Browser().start("hello", 1, "Ann").status_code == 401
    assert queue.jobs() == []


def test_a_submitted_job_belongs_to_the_user(people: None, queue: DurableHuey) -> None:
    assert Browser("ann").start("hello", 1, "Ann").status_code == 200
    (job,) = queue.jobs()
    assert job.owner == "ann"


def test_only_the_owner_and_admins_see_a_job(people: None) -> None:
    job = greet.using(owner="ann")("Ann")
    for name, found in (("ann", True), ("eve", True), ("ben", False)):
        browser = Browser(name)
        answer = browser.look(PANEL, job.id)
        assert ("Hello, Ann!" in answer.text) is found
        assert ("Of ann" in answer.text) is (name == "eve")
        assert answer.status_code == (200 if found else 404)
        assert browser.get(f"/hello?job={job.id}").status_code == (200 if found else 404)


def test_another_users_job_is_answered_like_one_that_does_not_exist(people: None) -> None:
    ben, job = Browser("ben"), greet.using(owner="ann")("Ann")
    foreign, unknown = (ben.look(PANEL, job_id) for job_id in (job.id, "0" * len(job.id)))
    assert (foreign.status_code, foreign.data) == (unknown.status_code, unknown.data)


def test_only_the_owner_and_admins_cancel_or_rerun_a_job(people: None, queue: DurableHuey) -> None:
    job = greet.using(owner="ann").schedule(("Ann",), delay=60)
    for act in ("cancel", "retry", "again"):
        assert Browser("ben").press(act, PANEL, job.id).status_code == 404
        assert job.state == "scheduled"
    assert Browser("ann").press("cancel", PANEL, job.id).status_code == 200
    assert Browser("eve").press("retry", PANEL, job.id).status_code == 200
    assert job.state == "succeeded"
    assert Browser("eve").press("again", PANEL, job.id).status_code == 200
    assert [each.owner for each in queue.jobs()] == ["eve", "ann"]  # a rerun belongs to the user who asked for it


def test_pages_read_jobs_only_through_the_users_access() -> None:
    """Pages must not use the queue itself, which knows no users."""
    for page in Path(ROOT, "app", "pages").glob("*.py"):
        assert not re.search(r"\bhuey\b|\bledger\b", page.read_text(encoding="utf-8")), page.name
