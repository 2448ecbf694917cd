"""Tests of the notices about jobs that ended: whom the address answers, and in which words."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import dash
import pytest
from dash import Dash, html
from huey.api import TaskWrapper
from werkzeug.exceptions import Unauthorized

from jobqueue import DurableHuey
from jobqueue.dash import Access, Jobs, panel
from jobqueue.dash.job_notices import ADDRESS, MOST_NOTICES, JobNotices
from jobqueue.database.database import DatabaseUnavailable


@dataclass
class Who:
    name: str
    admin: bool = False


@pytest.fixture
def huey() -> Iterator[DurableHuey]:
    """Return a queue in immediate mode, in which a submit returns when the job has ended."""
    huey = DurableHuey("notices", immediate=True)
    yield huey
    huey.storage.close()


@pytest.fixture
def add(huey: DurableHuey) -> TaskWrapper:
    return huey.task(name="add")(lambda a, b: a + b)


@pytest.fixture
def ask(huey: DurableHuey, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return a function that asks as a visitor, of an app under a URL prefix. It returns the JSON, or the status."""
    monkeypatch.setattr(panel, "_panels", {})
    monkeypatch.setattr(dash, "page_registry", {})
    visitor: list[Who | None] = [None]
    app = Dash("notices", url_base_pathname="/explorer/")
    app.layout = html.Div()
    JobNotices(Access(huey, lambda: visitor[0])).register(app)

    def ask(who: Who | None, **query: Any) -> Any:
        visitor[0] = who
        answer = app.server.test_client().get(f"/explorer/{ADDRESS}", query_string={"within": 60} | query)
        return answer.get_json() if answer.status_code == 200 else answer.status_code

    return ask


def told(ask: Callable[..., Any], who: Who | None, **query: Any) -> list[dict[str, Any]]:
    """Return the notices of all ends that the visitor has not been told of."""
    keys = [ended["key"] for ended in ask(who, **query)["ended"]]
    return [notice["shown"] for notice in ask(who, tell=keys, **query)["notices"]]


def text(component: Any) -> str:
    """Return the texts of a component as it is sent."""
    if isinstance(component, dict):
        return text(component["props"]["children"])
    return " ".join(map(text, component)) if isinstance(component, list) else str(component)


def address(notice: dict[str, Any]) -> str:
    return str(notice["message"]["props"]["children"][1]["props"]["href"])


def test_only_the_owner_is_told_even_if_another_names_the_end(add: TaskWrapper, ask: Callable[..., Any]) -> None:
    job = add.using(owner="ann")(1, 2)
    (ended,) = ask(Who("ann"))["ended"]
    assert ended["id"] == job.id
    for other in (Who("ben"), Who("carl", admin=True)):
        assert ask(other)["ended"] == []
        assert ask(other, tell=ended["key"], id=job.id)["notices"] == []


def test_notice_has_the_words_and_the_page_of_the_jobs_panel(
    huey: DurableHuey, add: TaskWrapper, ask: Callable[..., Any]
) -> None:
    fail = huey.task(name="fail")(lambda: 1 / 0)
    jobs = Jobs(huey, lambda: None)
    jobs.panel("app.pages.sums", task=add, title=lambda job: f"{job.args[0]} and {job.args[1]}")
    dash.page_registry["app.pages.sums"] = {"path": "/sums", "path_template": None}
    sum_id, fail_id = add.using(owner="ann")(1, 2).id, fail.using(owner="ann")().id
    good, bad = told(ask, Who("ann"))
    assert (text(good["title"]), address(good)) == ("1 and 2", f"/explorer/sums?job={sum_id}")
    assert text(good["message"]).startswith("Done in 1 s.") and good["autoClose"]
    assert (text(bad["title"]), address(bad)) == ("fail", f"/explorer/jobs/{fail_id}")
    assert text(bad["message"]).startswith("Failed: ZeroDivisionError") and bad["autoClose"] is False


def test_many_ends_share_a_notice(huey: DurableHuey, add: TaskWrapper, ask: Callable[..., Any]) -> None:
    for _ in range(MOST_NOTICES):
        add.using(owner="ann")(1, 2)
    add.using(owner="ann")(1, "a")
    (notice,) = told(ask, Who("ann"))
    assert text(notice["title"]) == "4 jobs ended" and text(notice["message"]).startswith("3 succeeded, 1 failed.")
    assert address(notice) == "/explorer/jobs" and notice["color"] == "red"


def test_where_nobody_logs_in_a_browser_is_told_of_the_jobs_that_it_names(
    huey: DurableHuey, add: TaskWrapper, ask: Callable[..., Any]
) -> None:
    job = add(1, 2)
    add(3, 4)
    assert [ended["id"] for ended in ask(None, id=[job.id, "unknown"])["ended"]] == [job.id]
    assert ask(None)["ended"] == []


def test_background_callbacks_tell_nothing(huey: DurableHuey, ask: Callable[..., Any]) -> None:
    def out() -> None: ...

    out.__module__ = "callback"
    huey.task(name="out:children")(out).using(owner="ann")()
    assert ask(Who("ann")) == {"active": 0, "ended": []}


def test_silent_database_is_no_error(
    huey: DurableHuey, ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise DatabaseUnavailable("away")

    monkeypatch.setattr("jobqueue.dash.job_notices.news", away)
    assert ask(Who("ann")) == 204


def test_odd_questions_get_an_answer(ask: Callable[..., Any]) -> None:
    for within in ("nan", "inf", "-1", "x", ""):
        assert ask(Who("ann"), within=within, tell="\0")["notices"] == []
        assert ask(None, within=within, id=["\0", "x" * 1000])["ended"] == []


def test_header_links_an_admin_to_their_own_jobs_and_can_be_made_before_anybody_logs_in(
    huey: DurableHuey, ask: Callable[..., Any]
) -> None:
    def refuse() -> None:
        raise Unauthorized

    visitors: list[Callable[[], Who | None]] = [lambda: Who("ann ä", admin=True), lambda: Who("ben"), refuse]
    entries = [Jobs(huey, visitor).my_jobs() for visitor in visitors]
    assert [entry.to_plotly_json()["props"]["href"] for entry in entries] == [
        "/explorer/jobs?owner=ann+%C3%A4",
        "/explorer/jobs",
        "/explorer/jobs",
    ]
