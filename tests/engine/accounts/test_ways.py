"""Every way to reach another user's job answers 404; without a log-in it answers 401 or redirects to the log-in."""

import json
import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from browser import HERE, START, Browser, asked
from flask.sessions import SecureCookieSessionInterface
from werkzeug.test import TestResponse

from app.jobs.analysis import analyse
from app.jobs.hello import greet
from app.web import server
from jobqueue import DurableHuey, JobHandle
from jobqueue.reports.page import PRINTED_FOR

HELLO, FRONTIER, ANALYSIS = "app.pages.hello", "app.pages.frontier", "app.pages.analysis"
PAGE = "_pages_content.children"
PAST = "analysis-past.children"
FILES = '{"job":["MATCH"],"jobs":"choices"}.children'

SMALL = {"assets": ["AAPL", "JNJ", "XOM"], "risk": "variance", "training": 2520, "rebalance": 252, "cap": 0.6}
SECRET = "Zanzibar"  # in Ann's job, and in what it returned


# Requests that Ben makes with the id of a job of Ann's, which is a greeting or an analysis.
LOOKS: dict[str, Callable[[Browser, str], Any]] = {
    "the address of its page": lambda ben, job: ben.get(f"/hello?job={job}"),
    "the address of another task's page": lambda ben, job: ben.get(f"/analysis?job={job}"),
    "the small page's panel": lambda ben, job: ben.look(HELLO, job),
    "another page's panel": lambda ben, job: ben.look(FRONTIER, job),
    "the analysis page's panel": lambda ben, job: ben.look(ANALYSIS, job),
    "a panel with a glance of before": lambda ben, job: ben.look(
        ANALYSIS, job, glance={"attempt": 1, "at": 0, "done": 1}, mark=["running", 1, 1, ""], given={"beside": job}
    ),
    "the list of what was before": lambda ben, job: ben.call(PAST, 0, {"job": job, "beside": None}),
    "cancelling": lambda ben, job: ben.press("cancel", HELLO, job),
    "trying it again": lambda ben, job: ben.press("retry", ANALYSIS, job),
    "running it again under its own id": lambda ben, job: ben.press("again", ANALYSIS, job, job),
    "the files of its result": lambda ben, job: ben.call(FILES, 1, at=[{"job": job}]),
}


@pytest.fixture
def jobs(people: None, queue: DurableHuey) -> list[JobHandle]:
    """Two jobs of Ann's; the first has succeeded."""
    return [greet.using(owner="ann")(SECRET), analyse.using(owner="ann").schedule(kwargs=SMALL, delay=600)]


@pytest.mark.parametrize("way", LOOKS)
def test_every_way_to_another_users_job_is_404_as_for_an_unknown_job(jobs: list[JobHandle], way: str) -> None:
    ben, unknown = Browser("ben"), str(uuid.uuid4())
    for job in jobs:
        before = job.get_job()
        foreign, none = LOOKS[way](ben, job.id), LOOKS[way](ben, unknown)
        assert foreign.status_code == none.status_code == 404
        assert told(foreign).replace(job.id, unknown) == told(none)
        assert job.get_job() == before


def told(answer: TestResponse) -> str:
    """Return the response's text without the number that Dash gives to each load of a page."""
    return re.sub(r'"end_id":"[^"]*"', "", answer.text)


def test_an_admin_reaches_the_same_jobs(jobs: list[JobHandle]) -> None:
    """This shows that the ways above lead to the jobs."""
    eve = Browser("eve")
    for way in LOOKS:
        assert all(LOOKS[way](eve, job.id).status_code in (200, 204) for job in jobs), way
    assert jobs[1].state == "succeeded"  # cancelled, and tried again


def test_changing_the_address_to_another_users_job_shows_nothing_of_it(jobs: list[JobHandle]) -> None:
    ben = Browser("ben")
    shown = ben.call(PAGE, "/hello", f"?job={jobs[0].id}").text
    assert "No such job" in shown and SECRET not in shown


def test_another_users_analysis_cannot_be_compared_with_ones_own(jobs: list[JobHandle]) -> None:
    own = analyse.using(owner="ben")(**SMALL)
    jobs.append(analyse.using(owner="ann")(**SMALL | {"assets": ["KO", "PEP"]}))
    for beside, drawn in ((jobs[2].id, 4), (own.id, 5)):
        shown = Browser("ben").look(ANALYSIS, own.id, given={"beside": beside}).text
        assert shown.count('"type":"Graph"') == drawn
        assert ("The analysis to compare with was not found" in shown) is (drawn == 4)
        assert "PEP" not in shown


def test_another_users_job_is_in_no_list(jobs: list[JobHandle]) -> None:
    asks = lambda name: Browser(name).call(PAST, 0, {"job": None, "beside": None}).text  # noqa: E731
    assert jobs[1].id in asks("ann") and jobs[1].id in asks("eve")
    assert jobs[1].id not in asks("ben")


def test_users_who_share_a_run_reach_it_only_by_their_own_handle(people: None) -> None:
    first, second = (greet.using(owner=name, unique=True).schedule((SECRET,), delay=60) for name in ("ann", "ben"))
    ben = Browser("ben")
    assert ben.look(HELLO, first.id).status_code == 404
    assert ben.look(HELLO, second.id).status_code == 200
    ben.press("cancel", HELLO, second.id)
    assert (first.state, second.state) == ("scheduled", "cancelled")


def test_a_form_with_another_jobs_id_makes_a_job_of_ones_own(jobs: list[JobHandle], queue: DurableHuey) -> None:
    form = jobs[1].id
    values = [*SMALL.values()]
    answers = [Browser("ben").start("analysis", 1, form, *values[:4], 60).text for _ in range(2)]
    (own,) = queue.jobs(owner="ben")
    assert own.id != form
    assert all(f'"href":"?job={own.id}"' in answer for answer in answers)
    assert jobs[1].state == "scheduled"


@pytest.mark.parametrize(
    "handle",
    [lambda job: [job], lambda job: {"id": job}, lambda job: f"{job}\n", lambda job: f" {job}", lambda job: job.upper(),
     lambda job: f"{job}\0", lambda job: f"{job}'--", lambda job: "%", lambda job: True, lambda job: "\ud800"],
    ids=["list", "dict", "newline", "space", "capitals", "nul", "quote", "wildcard", "true", "surrogate"],
)  # fmt: skip
def test_a_forged_handle_finds_nothing(jobs: list[JobHandle], handle: Callable[[str], Any]) -> None:
    assert Browser("ben").look(HELLO, handle(jobs[0].id)).status_code == 404


# --- without a log-in, or with one that is over or made up ---


def ways_without(browser: Browser, job: str) -> list[tuple[str, int, str]]:
    got = [(way, LOOKS[way](browser, job)) for way in LOOKS]
    got += [("a submit", browser.start("hello", 1, "Ann"))]
    got += [(address, browser.get(address)) for address in ("/", "/hello", "/_dash-layout", "/_dash-dependencies")]
    return [(way, answer.status_code, answer.headers.get("Location", "")) for way, answer in got]


def all_are_refused(browser: Browser, job: str) -> bool:
    found = ways_without(browser, job)
    for way, status, location in found:
        assert status == 401 or (status == 302 and location.startswith("/login")), way
    return len(found) > 12


def test_without_a_log_in_pages_redirect_to_it_and_callbacks_are_401(jobs: list[JobHandle], queue: DurableHuey) -> None:
    assert all_are_refused(Browser(), jobs[0].id)
    assert len(queue.jobs()) == 2


def test_the_cookie_of_an_ended_session_is_refused(jobs: list[JobHandle]) -> None:
    ann = Browser("ann")
    cookie = ann.client.get_cookie("session")
    assert cookie is not None
    assert LOOKS["the small page's panel"](ann, jobs[0].id).status_code == 200
    ann.send("/logout")
    ann.client.set_cookie("session", cookie.value)
    assert all_are_refused(ann, jobs[0].id)


FORGED = {
    "of another key": lambda data: signed("another key", data),
    "not signed": lambda data: "eyJfdXNlcl9pZCI6ImFubiJ9.aaaaaa.bbbbbb",
    "garbage": lambda data: "\xe9;|%00",
    "a name for a session": lambda data: signed("of these tests", {"_user_id": "ann"}),
    "no text for a session": lambda data: signed("of these tests", {"_user_id": ["ann"]}),
}


@pytest.mark.parametrize("cookie", FORGED)
def test_a_forged_cookie_opens_no_session(jobs: list[JobHandle], cookie: str) -> None:
    ann = Browser("ann")
    with ann.client.session_transaction() as session:
        forged = FORGED[cookie](dict(session))
    other = Browser()
    other.client.set_cookie("session", forged)
    assert all_are_refused(other, jobs[0].id)


def signed(key: str, data: dict[str, Any]) -> str:
    before, server.config["SECRET_KEY"] = server.config["SECRET_KEY"], key
    try:
        signer = SecureCookieSessionInterface().get_signing_serializer(server)
        assert signer is not None
        return str(signer.dumps(data))
    finally:
        server.config["SECRET_KEY"] = before


@pytest.mark.parametrize("header", ["Basic bad", "Basic YW5uOm1vdW50YWlu", "Bearer x", "", "é"])
def test_an_authorization_header_is_401(people: None, header: str) -> None:
    browser, headers = Browser(), HERE | {"Authorization": header}
    for address in ("/", "/hello", "/account", "/no/such/page", "/_dash-layout"):
        assert browser.client.get(address, headers=headers).status_code == 401
    body = asked(START.format("hello"), 1, "Ann", at=[{"job": ""}])
    assert browser.client.post("/_dash-update-component", json=body, headers=headers).status_code == 401


@pytest.mark.parametrize("cookie", ["remember_token=ann|é", "=ann|é", "remember_token=ann|0000"])
def test_a_remember_me_cookie_is_not_read(people: None, cookie: str) -> None:
    answer = server.test_client(use_cookies=False).get("/", headers={"Cookie": cookie.encode().decode("latin-1")})
    assert answer.status_code == 302


# --- a request that a page of another host makes in the user's name ---


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "http://localhost.evil.example"},
     {"Origin": "https://localhost"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
     {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"}, {}],
    ids=str,
)  # fmt: skip
def test_requests_from_other_sites_are_refused(people: None, queue: DurableHuey, headers: dict[str, str]) -> None:
    ann = Browser("ann")
    body = asked(START.format("hello"), 1, "Ann", at=[{"job": ""}])
    for address in ("/_dash-update-component", "/login", "/account", "/logout", "/hello"):
        for kind in ({"json": body}, {"data": json.dumps(body), "content_type": "text/plain"}):
            assert ann.client.post(address, headers=headers, **kind).status_code == 403
    assert queue.jobs() == []
    assert ann.get("/account").status_code == 200


@pytest.mark.usefixtures("people")
def test_a_page_is_printed_for_the_user_that_the_worker_names_and_no_request_can_name_one(queue: DurableHuey) -> None:
    job = greet.using(owner="ann")("Ann")
    client = server.test_client()

    def status(**environ: Any) -> int:
        return client.get(f"/jobs/{job.id}", environ_overrides=environ).status_code

    assert status(**{PRINTED_FOR: "ann"}) == status(**{PRINTED_FOR: None}) == 200  # nobody's job: as an admin
    assert status(**{PRINTED_FOR: "ben"}) == 404
    assert status(**{PRINTED_FOR: "gone"}) == 401
    assert client.get(f"/jobs/{job.id}", headers={PRINTED_FOR: "ann"}).status_code == 302  # to the log-in
    with client.session_transaction() as session:
        assert "_user_id" not in session
