"""Limits of a request, and compressed responses."""

import pytest
from dash import Dash, Input, Output, html
from flask import Flask
from flask.testing import FlaskClient

from jobqueue import DurableHuey
from jobqueue.web import preparing

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def client() -> FlaskClient:
    server = Flask(__name__)
    app = Dash(__name__, server=server)  # type: ignore[arg-type]
    app.layout = html.Div("long " * 1000)

    @app.callback(Output("end", "children"), Input("start", "children"))
    def answer(value: object) -> str:
        return "never called"

    server.add_url_rule("/form", view_func=lambda: "<p>" * 1000)
    preparing.prepare(app, DurableHuey("limits"))
    return server.test_client()


@pytest.mark.parametrize("body", ["[" * 100_000, '{"a":' * 100_000, "[" * 100_000 + "]" * 100_000, "no JSON"])
def test_json_that_is_absurdly_nested_is_a_bad_request(client: FlaskClient, body: str) -> None:
    assert client.post("/_dash-update-component", data=body, headers=JSON).status_code == 400


def test_a_body_above_the_limit_is_refused(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(client.application.config, "MAX_CONTENT_LENGTH", 1000)
    assert client.post("/_dash-update-component", data=b"1" * 1001, headers=JSON).status_code == 413


def test_responses_are_compressed_but_for_pages_which_may_hold_a_forms_token(client: FlaskClient) -> None:
    asked = {"Accept-Encoding": "gzip"}
    assert client.get("/_dash-layout", headers=asked).headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in client.get("/_dash-layout").headers
    assert "Content-Encoding" not in client.get("/form", headers=asked).headers
