"""The addresses of uploads: they take pieces from any process, refuse in a sentence, and leave nothing of what they refuse."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from dash import Dash, html
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from jobqueue import DurableHuey
from jobqueue.dash import Access, Jobs
from jobqueue.dash.upload import ADDRESS, OFFSET, Uploads
from jobqueue.files.pieces import PIECE
from tests.engine.conftest import HueyFactory
from tests.engine.files.rows import rows

CONTENT = b"ticker,weight\n" + b"AAPL,0.5\n" * 10
SIZE = len(CONTENT)
LIMIT = 3 * PIECE


@dataclass
class Who:
    name: str
    admin: bool = False


@dataclass
class Site:
    """An app with uploads. `who` is the visitor."""

    huey: DurableHuey
    client: FlaskClient
    who: Who | None = None

    def begin(self, name: Any = "weights.csv", size: Any = SIZE) -> TestResponse:
        return self.client.post(ADDRESS, json={"name": name, "size": size})

    def send(self, file_id: str, offset: object, piece: bytes) -> TestResponse:
        return self.client.patch(f"{ADDRESS}/{file_id}", data=piece, headers={OFFSET: str(offset)})


@pytest.fixture
def site(make_huey: HueyFactory) -> Site:
    app = Dash("uploads")
    app.layout = html.Div()
    huey = make_huey(max_file=LIMIT)
    site = Site(huey, app.server.test_client())
    Uploads(Access(huey, lambda: site.who)).register(app)
    return site


def test_a_file_comes_in_pieces_and_is_then_the_visitors(site: Site) -> None:
    site.who = Who("ann")
    file_id = site.begin("C:\\data\\weights.csv").get_json()["id"]
    assert site.send(file_id, 0, CONTENT[:50]).get_json() == {"received": 50}
    assert site.client.get(f"{ADDRESS}/{file_id}").get_json() == {"received": 50}
    assert site.send(file_id, 50, CONTENT[50:]).get_json() == {"received": len(CONTENT)}
    file = Jobs(site.huey, lambda: site.who).files.get(file_id)
    assert (file.name, file.open().read()) == ("weights.csv", CONTENT)
    assert site.client.delete(f"{ADDRESS}/{file_id}").status_code == 200  # a cancel that comes too late changes nothing
    assert site.huey.files.get(file_id) == file


BEGINS: dict[str, tuple[Any, int, str]] = {
    "empty": ({"name": "a.csv", "size": 0}, 400, "a.csv is empty. Choose a file with content."),
    "negative": ({"name": "a.csv", "size": -5}, 400, "a.csv is empty."),
    "too large": (
        {"name": "a.csv", "size": 10 * LIMIT},
        413,
        "a.csv takes 30 MB, which is more than the limit of 3 MB.",
    ),
    "a byte too large": (
        {"name": "../a.csv", "size": LIMIT + 1},
        413,
        "a.csv takes 3,000,001 bytes, which is more than",
    ),
    "huge": ({"name": "a.csv", "size": 10**30}, 413, "which is more than the limit of 3 MB."),
    "no number": ({"name": "a.csv", "size": "7"}, 400, "Send"),
    "no name": ({"size": 7}, 400, "Send"),
    "no object": ([1], 400, "Send"),
}


@pytest.mark.parametrize("case", BEGINS)
def test_an_upload_is_refused_before_its_first_piece(site: Site, case: str) -> None:
    asked, status, words = BEGINS[case]
    answer = site.client.post(ADDRESS, json=asked)
    assert (answer.status_code, words in answer.get_json()["error"]) == (status, True), answer.get_json()
    assert set(rows(site.huey).values()) == {0}


def test_a_form_of_another_site_begins_nothing(site: Site) -> None:
    body = json.dumps({"name": "a.csv", "size": 7})
    assert site.client.post(ADDRESS, data=body, content_type="text/plain").status_code == 400  # browsers ask about JSON
    assert set(rows(site.huey).values()) == {0}


PIECES: dict[str, tuple[Callable[[Site, str], TestResponse], int, dict[str, Any]]] = {
    "beyond the end": (lambda site, file: site.send(file, 50, b"x"), 409, {"received": 10}),
    "sent twice": (lambda site, file: site.send(file, 0, CONTENT[:10]), 409, {"received": 10}),
    "more than was told": (lambda site, file: site.send(file, 10, b"x" * 1000), 413, {}),
    "larger than a piece": (lambda site, file: site.send(file, 10, b"x" * (PIECE + 1)), 413, {}),
    "no offset": (lambda site, file: site.client.patch(f"{ADDRESS}/{file}", data=b"x"), 400, {}),
    "negative offset": (lambda site, file: site.send(file, -1, b"x"), 400, {}),
    "odd offset": (lambda site, file: site.send(file, "1e1", b"x"), 400, {}),
    "huge offset": (lambda site, file: site.send(file, "9" * 5000, b"x"), 400, {}),
    "another file": (lambda site, file: site.send("0" * 32, 0, b"x"), 404, {}),
}


@pytest.mark.parametrize("case", PIECES)
def test_a_piece_that_does_not_fit_changes_nothing(site: Site, case: str) -> None:
    send, status, more = PIECES[case]
    file_id = site.begin().get_json()["id"]
    site.send(file_id, 0, CONTENT[:10])
    answer = send(site, file_id)
    error = answer.get_json().pop("error")
    assert (answer.status_code, error.endswith(".")) == (status, True)
    assert {key: value for key, value in answer.get_json().items() if key != "error"} == more
    assert site.send(file_id, 10, CONTENT[10:]).get_json() == {"received": len(CONTENT)}
    assert site.huey.files.get(file_id).open().read() == CONTENT


@pytest.mark.parametrize("stranger", [Who("ben"), Who("root", admin=True)], ids=["user", "admin"])
def test_a_strangers_upload_is_not_found(site: Site, stranger: Who) -> None:
    site.who = Who("ann")
    file_id = site.begin().get_json()["id"]
    site.send(file_id, 0, CONTENT[:10])
    site.who = stranger
    assert site.client.get(f"{ADDRESS}/{file_id}").status_code == 404
    assert site.send(file_id, 10, CONTENT[10:]).status_code == 404
    assert site.client.delete(f"{ADDRESS}/{file_id}").status_code == 404
    site.who = Who("ann")
    assert site.client.get(f"{ADDRESS}/{file_id}").get_json() == {"received": 10}


def test_a_cancelled_upload_leaves_nothing(site: Site) -> None:
    file_id = site.begin().get_json()["id"]
    site.send(file_id, 0, CONTENT[:10])
    assert site.client.delete(f"{ADDRESS}/{file_id}").status_code == 200
    assert set(rows(site.huey).values()) == {0}
    assert site.send(file_id, 10, CONTENT[10:]).status_code == 404
