"""Dash's background callbacks with accounts: each belongs to its user, and so does its answer. None stores a log-in."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from browser import HERE, Browser
from dash import Dash, Input, Output, hooks, html
from flask import Flask
from werkzeug.test import TestResponse

from app.access import accounts
from app.access import jobs as access
from app.settings import settings
from jobqueue import DatabaseUnavailable, DurableHuey
from jobqueue.dash import Errors, request_context
from jobqueue.dash.manager import HueyManager
from tests.engine.dash.background.page import NONE, Page

SECRET = "Zanzibar"


class UsersPage(Page):
    """The page of a user who is logged in."""

    def __init__(self, app: Dash, name: str) -> None:
        cookie = Browser(name).client.get_cookie("session")
        assert cookie is not None
        super().__init__(app, cookies={"session": cookie.value})

    def post(self, body: dict[str, Any], headers: Mapping[str, str] = NONE, **query: Any) -> TestResponse:
        return super().post(body, {**HERE, **headers}, **query)


@pytest.fixture
def app(people: None, queue: DurableHuey) -> Iterator[Dash]:
    """Yield an app with a background callback, protected as in app/web.py. Its manager does not serve later apps."""
    attending = list(hooks._ns["setup"])
    errors = Errors(access)
    server = Flask("background")
    app = Dash(
        "background",
        server=server,  # type: ignore[arg-type]
        background_callback_manager=HueyManager(queue),
        on_error=errors.in_callback,
    )
    app.layout = html.Div()

    @app.callback(
        Output("out", "children"),
        Input("in", "value"),
        background=True,
        cancel=Input("stop", "n_clicks"),
        prevent_initial_call=True,
    )
    def update(value: object) -> str:
        if value == "a mistake":
            raise ValueError(SECRET)
        return SECRET

    accounts.protect(server, app)
    server.config.update(ACCOUNTS=True, SECRET_KEY="of these tests")
    errors.install(app)
    accounts.harden(server, app)
    yield app
    for task in app._background_manager._tasks.values():  # type: ignore[union-attr]
        task.unregister()
    app._background_manager._tasks.clear()  # type: ignore[union-attr]
    hooks._ns["setup"][:] = attending


def test_a_callbacks_job_belongs_to_its_user_and_others_can_neither_read_nor_cancel_it(
    app: Dash, queue: DurableHuey
) -> None:
    ann, ben, eve = (UsersPage(app, name) for name in ("ann", "ben", "eve"))
    call = ann.call("out.children")
    (job,) = queue.jobs()
    assert job.owner == "ann"
    for other in (ben, eve):  # who is an admin, and looks at it among the jobs
        replayed = {"endId": ann.end_id, **call.handles}
        answer = other.browser.post("/_dash-update-component", query_string=replayed, json=call.body, headers=HERE)
        assert answer.status_code == 404 and SECRET not in answer.text
        for stop in ({"oldJob": call.job}, {"cancelJob": call.job}):
            answer = other.browser.post(
                "/_dash-update-component", query_string={"endId": ann.end_id, **stop}, json=call.body, headers=HERE
            )
            assert SECRET not in answer.text
    call.wait()
    assert ann.shown == {"out.children": SECRET}


def test_a_callbacks_handle_is_useless_without_a_log_in(app: Dash) -> None:
    ann = UsersPage(app, "ann")
    call = ann.call("out.children")
    replayed = {"endId": ann.end_id, **call.handles}
    anybody = app.server.test_client()
    answer = anybody.post("/_dash-update-component", query_string=replayed, json=call.body, headers=HERE)
    assert answer.status_code == 401 and SECRET not in answer.text
    assert anybody.get("/_callback", query_string={"token": "x"}).status_code == 401


CREDENTIALS = {
    "Authorization": "Bearer bear-credential",
    "Proxy-Authorization": "Basic basic-credential",
    "X-Api-Key": "key-credential",
    "X-Auth-Token": "token-credential",
    "X-Forwarded-Access-Token": "forwarded-credential",
    "Cf-Access-Jwt-Assertion": "jwt-credential",
}
PRIVATE = {"Referer": "http://localhost/reset?code=private-code", "X-Forwarded-Email": "private@mail.example"}


def test_nothing_that_a_callback_stores_can_be_replayed_as_a_log_in(app: Dash, queue: DurableHuey) -> None:
    ann = UsersPage(app, "ann")
    session = ann.browser.get_cookie("session")
    assert session is not None
    device = Browser("ann").client.get_cookie("session-device")
    assert device is not None
    cookies = {
        "session-device": device.value,
        "remember_token": "remember-credential",
        "sessionid": "django-credential",
    }
    for name, value in (cookies | {"region": "private-region"}).items():
        ann.browser.set_cookie(name, value)
    sent = CREDENTIALS | PRIVATE
    ann.browser.environ_base |= {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in sent.items()}
    ann.call("out.children").wait()

    (job,) = queue.jobs()
    with queue.ledger.database.statement() as tx:
        tables = [row["name"] for row in tx.all("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = b"".join(
            value if isinstance(value, bytes) else str(value).encode()
            for table in tables
            for row in tx.all(f"SELECT * FROM {table}")
            for value in tuple(row)
        )
    readable = rows + job.args[1]._pickled
    assert b"triggered_inputs" in readable  # so the messages are among the rows
    for secret in (session.value, *cookies.values()):
        assert secret.encode() not in readable
    assert b"-credential" not in readable and b"private" not in readable

    manager = app._background_manager
    assert isinstance(manager, HueyManager)
    context = request_context.decrypt(job.args[1].encrypted, manager._secrets(request_context.PURPOSE))
    assert context["cookies"] == {"region": "private-region"}
    assert {name: context["headers"][name] for name in PRIVATE} == PRIVATE
    assert session.value not in str(context) and device.value not in str(context) and "-credential" not in str(context)


def test_the_submit_limit_holds_for_background_callbacks(
    app: Dash, queue: DurableHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "settings", settings.model_copy(update={"submits": 1}))
    ann = UsersPage(app, "ann")
    call = ann.call("out.children")
    assert "You can submit at most 1 jobs per minute." in ann.post(call.body, {"Callback-Call": "1"}).text
    assert len(queue.jobs()) == 1


def test_a_failed_callback_shows_a_notice_and_the_page_goes_on(app: Dash, queue: DurableHuey) -> None:
    ann = UsersPage(app, "ann")
    asked: dict[str, Any] = {"in": "a mistake"}
    call = ann.call("out.children", **asked).wait()
    assert [job.state for job in queue.jobs()] == ["failed"]
    assert not call.failed
    assert "Something went wrong" in str(ann.shown) and SECRET not in str(ann.shown)


def test_a_page_polls_again_after_the_database_was_unavailable(app: Dash, monkeypatch: pytest.MonkeyPatch) -> None:
    ann = UsersPage(app, "ann")
    call = ann.call("out.children")

    def down(token: str) -> None:
        raise DatabaseUnavailable("no route")

    with monkeypatch.context() as changed:
        changed.setattr(accounts.sessions, "user", down)
        assert call.poll(lost=True).status_code == 503
        assert ann.post(call.body, {"Callback-Call": "1"}).status_code == 503
    call.wait()
    assert ann.shown == {"out.children": SECRET}
