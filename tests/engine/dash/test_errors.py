"""Errors in words: what a person reads when a callback or a page fails, and what the answer hides."""

from collections.abc import Iterator
from typing import Any

import dash
import pytest
from dash import Dash, Input, Output, html
from dash._callback import GLOBAL_CALLBACK_LIST, GLOBAL_CALLBACK_MAP
from flask import redirect
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from jobqueue import DatabaseUnavailable, DurableHuey, FileRefused, JobNotFound, SubmitRefused
from jobqueue.dash import Access, Errors
from jobqueue.dash.callback_updates import CALL

SECRET = "Zanzibar"  # in the text of errors


def fail(error: Exception) -> Any:
    raise error


@pytest.fixture
def huey() -> Iterator[DurableHuey]:
    huey = DurableHuey("errors", immediate=True)
    yield huey
    huey.storage.close()


@pytest.fixture
def errors(huey: DurableHuey) -> Errors:
    return Errors(Access(huey, lambda: None))


@pytest.fixture
def client(errors: Errors) -> Iterator[FlaskClient]:
    """Yield a client of an app whose callback raises the error that the test puts into `raised`."""
    callbacks, known, pages = list(GLOBAL_CALLBACK_LIST), dict(GLOBAL_CALLBACK_MAP), dict(dash.page_registry)
    for global_ in GLOBAL_CALLBACK_LIST, GLOBAL_CALLBACK_MAP, dash.page_registry:
        global_.clear()
    app = Dash("errors", use_pages=True, pages_folder="", on_error=errors.in_callback)
    dash.register_page("a_page", path="/page", layout=html.Div("a page"))
    app.layout = html.Div([html.Div(id="in"), html.Div(id="out"), dash.page_container])

    @app.callback(Output("out", "children"), Input("in", "n_clicks"))
    def update(_: object) -> None:
        fail(raised[0])

    errors.install(app)
    app.server.add_url_rule("/unavailable", view_func=lambda: fail(DatabaseUnavailable(SECRET)))
    yield app.server.test_client()
    GLOBAL_CALLBACK_LIST[:] = callbacks
    for global_, before in ((GLOBAL_CALLBACK_MAP, known), (dash.page_registry, pages)):
        global_.clear()
        global_.update(before)


raised: list[Exception] = []


def call(client: FlaskClient, error: Exception, **options: Any) -> TestResponse:
    raised[:] = [error]
    body = {
        "output": "out.children",
        "outputs": {"id": "out", "property": "children"},
        "inputs": [{"id": "in", "property": "n_clicks", "value": 1}],
        "changedPropIds": ["in.n_clicks"],
    }
    return client.post("/_dash-update-component", json=body, **options)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError(SECRET), "Something went wrong"),
        (DatabaseUnavailable(SECRET), "The database does not answer"),
        (SubmitRefused("Wait a minute."), "Wait a minute."),
        (FileRefused("Choose a file first."), "Choose a file first."),
    ],
    ids=["mistake", "database", "refused", "file"],
)
@pytest.mark.parametrize("headers", [{}, {CALL: "1"}], ids=["plain", "background"])
def test_an_error_in_a_callback_is_a_notice_without_details(
    client: FlaskClient, error: Exception, words: str, headers: dict[str, str]
) -> None:
    answer = call(client, error, headers=headers)
    assert answer.status_code == 200 and words in answer.text
    assert SECRET not in answer.text and "Traceback" not in answer.text
    (notice, _) = answer.get_json()["sideUpdate"]["notices"]["sendNotifications"]
    assert (notice["color"], notice["autoClose"]) == ("red", False)  # it stays until it is dismissed


def test_a_callback_about_an_unknown_job_is_a_404(client: FlaskClient) -> None:
    assert call(client, JobNotFound(SECRET)).status_code == 404


@pytest.mark.parametrize(("path", "status"), [("/page", 200), ("/page/", 200), ("/jobs/7", 200), ("/no/page", 404)])
def test_an_address_without_a_page_is_a_404(client: FlaskClient, path: str, status: int) -> None:
    dash.register_page("a_job", path_template="/jobs/<job>", layout=html.Div())
    assert client.get(path).status_code == status


def test_an_address_without_a_page_is_no_reason_to_log_in(client: FlaskClient) -> None:
    client.application.before_request(lambda: redirect("/login"))
    answer = client.get("/no/page")
    assert answer.status_code == 404 and answer.location is None and "There is no such page</h1>" in answer.text
    assert client.get("/page").location == "/login"


def test_a_forged_callback_is_answered_without_details(client: FlaskClient) -> None:
    bodies: list[Any] = [{}, [], {"output": "none.children"}, {"output": "out.children", "inputs": [SECRET]}]
    for body in bodies:
        answer = client.post("/_dash-update-component", json=body)
        assert answer.status_code == 500
        assert SECRET not in answer.text and "Traceback" not in answer.text and ".py" not in answer.text


def test_debugging_leaves_mistakes_to_dash_but_says_when_the_database_is_away(errors: Errors) -> None:
    errors.debug = True
    with pytest.raises(ValueError):
        errors.in_callback(ValueError(SECRET))
    with pytest.raises(ValueError):
        errors.in_page(lambda: fail(ValueError(SECRET)))()
    assert "The database does not answer" in str(errors.in_page(lambda: fail(DatabaseUnavailable(SECRET)))())


@pytest.mark.parametrize(
    ("error", "words"),
    [(ValueError(SECRET), "Something went wrong"), (DatabaseUnavailable(SECRET), "The database does not answer")],
    ids=["mistake", "database"],
)
def test_an_error_in_a_layout_stands_in_the_pages_place(errors: Errors, error: Exception, words: str) -> None:
    shown = str(errors.in_page(lambda: fail(error))())
    assert words in shown and SECRET not in shown


def test_a_page_may_be_a_component(errors: Errors) -> None:
    component = html.Div("as it is")
    assert errors.in_page(component)(job="any") is component


def test_an_unknown_job_in_the_address_is_a_note_above_the_page_and_a_404(
    errors: Errors, client: FlaskClient, huey: DurableHuey
) -> None:
    page = errors.in_page(lambda job=None: html.Div(f"the page of {job}"))
    assert "was not found" in str(page(job="none")) and "the page of None" in str(page(job="none"))
    assert client.get("/page?job=none").status_code == 404
    job = huey.task()(lambda: 1)()
    assert str(page(job=job.id)) == str(html.Div(f"the page of {job.id}"))
    assert client.get(f"/page?job={job.id}").status_code == 200


@pytest.mark.parametrize(("accept", "kind"), [("text/html,*/*;q=0.8", "text/html"), ("*/*", "text/plain")])
def test_a_request_that_fails_before_its_page_is_a_503_in_words(client: FlaskClient, accept: str, kind: str) -> None:
    answer = client.get("/unavailable", headers={"Accept": accept})
    assert (answer.status_code, answer.mimetype) == (503, kind)
    assert "The database does not answer" in answer.text and SECRET not in answer.text
