"""/healthz and /readyz: what they say, and that nothing stands in their way."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from dash import Dash, html
from flask import Flask, abort
from flask.testing import FlaskClient

from jobqueue import DurableHuey
from jobqueue.web.preparing import prepare
from jobqueue.web.stopping import stopping


@pytest.fixture
def huey(tmp_path: Path) -> Iterator[DurableHuey]:
    huey = DurableHuey("probed", f"sqlite:///{tmp_path}/hunter2.sqlite", version="r7")
    huey.migrate()
    yield huey
    huey.storage.close()


@pytest.fixture
def client(huey: DurableHuey) -> FlaskClient:
    """A client of an app under a URL prefix, which refuses everybody."""
    server = Flask(__name__)
    app = Dash(__name__, server=server, url_base_pathname="/desk/")  # type: ignore[arg-type]
    app.layout = html.Div()
    server.before_request(lambda: abort(401))
    prepare(app, huey)
    return server.test_client()


@pytest.mark.parametrize("address", ["/healthz", "/health", "/readyz"])
def test_probes_are_answered_with_and_without_the_prefix_whoever_asks(client: FlaskClient, address: str) -> None:
    for path in (address, f"/desk{address}"):
        answer = client.get(path, headers={"X-Forwarded-Proto": "http"})
        assert answer.status_code == 200
        assert answer.headers["Cache-Control"] == "no-store" and "Set-Cookie" not in answer.headers
    assert client.head(address).data == b""
    assert client.post(address).status_code == 405
    assert client.get(f"{address}/more").status_code == 401  # the app's to answer


def test_a_ready_process_names_each_check_the_release_and_the_workers(client: FlaskClient) -> None:
    assert client.get("/readyz").json == {
        "ready": True,
        "release": "r7",
        "checks": {"process": "ok", "database": "ok", "schema": "ok", "key": "ok"},
        "informative": {"workers": 0},
    }


def test_a_process_that_stops_is_not_ready_and_healthy(client: FlaskClient) -> None:
    stopping.is_set = True
    try:
        answer = client.get("/readyz")
        assert (answer.status_code, (answer.json or {})["checks"]["process"]) == (503, "stopping")
        assert client.get("/healthz").status_code == 200
    finally:
        stopping.is_set = False


def test_a_process_without_its_database_says_so_without_a_name(client: FlaskClient, huey: DurableHuey) -> None:
    path = huey.ledger.database.path
    assert path is not None
    huey.ledger.database.close()
    path.unlink()
    path.mkdir()
    answer = client.get("/readyz")
    assert (answer.status_code, (answer.json or {})["checks"]["database"]) == (503, "unreachable")
    assert "hunter2" not in json.dumps(answer.json)
    assert client.get("/healthz").status_code == 200


def test_a_key_that_does_not_sign_is_named(
    client: FlaskClient, huey: DurableHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huey, "_key_file", Path("/dev/null/key"))
    answer = client.get("/readyz")
    assert (answer.status_code, (answer.json or {})["checks"]["key"]) == (503, "does not sign")
