"""Whatever is sent to a callback or a form, the answer is no 500 and no traceback, and nothing is kept that would run elsewhere."""

import csv
import io
import json
import logging
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from browser import HERE, PASSWORD, Browser, asked
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from app import accounts, users
from app.pages import analysis_results
from app.settings import settings as app_settings
from app.web import app
from jobqueue import DurableHuey

CASES = 2000  # of callbacks and forms together

# What would do harm where it is not taken for text: in HTML, in a spreadsheet, in a log, in SQL, in a layout of Dash's.
HARM = [
    "<img src=x onerror=alert(1)>",
    "'\"><script>alert(1)</script>",
    "=1+1",
    "@SUM(A1)",
    "\0",
    "\ud800",
    "\r\nSet-Cookie: a=b",
    "' OR 1=1 --",
    "//evil.example",
    "{{7*7}}",
    "9" * 400,
    {"type": "Script", "namespace": "dash_html_components", "props": {"children": "alert(1)"}},
    {"__dash_patch_update": "__dash_patch_update", "operations": []},
]
ATOMS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(HARM)
VALUES = st.recursive(
    ATOMS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["job", "beside", "id", "props", "x"]), inner)
    ),
    max_leaves=6,
)


PANELS = st.fixed_dictionaries(
    {"panel": st.sampled_from(["app.pages.hello", "app.pages.analysis"]) | VALUES, "job": VALUES},
    optional={"act": st.sampled_from(["cancel", "retry", "again"]) | VALUES},
)


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Any:
    logging.disable(logging.CRITICAL)  # each case that is refused would be told
    yield
    logging.disable(logging.NOTSET)


@st.composite
def requests(draw: st.DrawFn) -> Any:
    """To a callback as a page would ask it, with any values; and in half of the cases with any part replaced or gone."""
    output = draw(st.sampled_from(sorted(output for output, known in app.callback_map.items() if "callback" in known)))
    declared = app.callback_map[output]
    at = draw(st.lists(PANELS, min_size=1, max_size=3))
    parts = [*declared["inputs"], *declared["state"]]
    body = asked(
        output, *(draw(st.lists(VALUES, min_size=1) if "ALL" in part["id"] else VALUES) for part in parts), at=at
    )
    if draw(st.booleans()):
        key = draw(st.sampled_from([*body, "parsedChangedPropsIds"]))
        place = draw(st.sampled_from(["gone", "all of it", "within"]))
        part = body.get(key)
        if place == "gone":
            body.pop(key, None)
        elif place == "within" and isinstance(part, list) and part:
            part[draw(st.integers(0, len(part) - 1))] = draw(VALUES)
        else:
            body[key] = draw(VALUES)
    return draw(st.sampled_from([body, body, body, draw(VALUES)]))


def cases(share: float) -> Any:
    """A test of so many of all the cases. The people and their browser are made once, for all of them."""
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=round(CASES * share), deadline=None, database=None, suppress_health_check=checks)


@pytest.fixture
def ann(people: None, monkeypatch: pytest.MonkeyPatch) -> Browser:
    """Ann's, who may try as often as she likes."""
    monkeypatch.setattr(accounts, "settings", app_settings.model_copy(update={"submits": 10**6}))
    monkeypatch.setattr(users, "FREE_TRIES", 10**6)
    return Browser("ann")


@cases(0.7)
@given(body=requests())
def test_whatever_is_sent_to_a_callback(ann: Browser, body: Any) -> None:
    kind = {"headers": HERE, "content_type": "application/json"}
    is_well_answered(ann.client.post("/_dash-update-component", data=json.dumps(body), **kind))


TEXTS = st.text(max_size=30) | st.sampled_from([harm for harm in HARM if isinstance(harm, str)]) | st.just(PASSWORD)
FIELDS = st.fixed_dictionaries(
    {}, optional={name: TEXTS for name in ("name", "password", "next", "current", "new", "username", "x")}
)


@cases(0.2)
@given(form=st.sampled_from(["/login", "/account", "/logout"]), fields=FIELDS, with_token=st.booleans())
def test_whatever_is_sent_to_a_form(ann: Browser, form: str, fields: dict[str, str], with_token: bool) -> None:
    fields = {name: text.encode("utf-8", "replace").decode() for name, text in fields.items()}
    if with_token and form != "/logout":
        answer = ann.send(form, **fields)
    else:
        answer = ann.client.post(form, data=fields, headers=HERE)
    is_well_answered(answer)
    assert urlsplit(answer.headers.get("Location", "/")).netloc == ""


@cases(0.1)
@given(
    page=st.sampled_from(
        ["/", "/hello", "/analysis", "/login", "/account", "/assets/x", "/_dash-component-suites/dash/x"]
    ),
    key=st.sampled_from(["job", "next", "x"]),
    text=TEXTS,
)
def test_whatever_stands_in_an_address(ann: Browser, page: str, key: str, text: str) -> None:
    answer = ann.client.get(page, query_string={key: text.encode("utf-8", "replace")})
    is_well_answered(answer)
    assert urlsplit(answer.headers.get("Location", "/")).netloc == ""


def is_well_answered(answer: TestResponse) -> None:
    assert answer.status_code < 500
    assert "Traceback" not in answer.text
    assert '"type":"Script"' not in answer.text  # no part of a layout but ours
    assert "a=b" not in str(answer.headers.getlist("Set-Cookie"))
    if answer.mimetype == "text/html":
        assert "<img" not in answer.text and "<script>alert" not in answer.text


# --- what is kept is text ---


def test_what_was_asked_is_shown_as_text(ann: Browser, queue: DurableHuey) -> None:
    for harm in HARM:
        is_well_answered(ann.call("hello-address.search", 1, harm))
    assert len(jobs := queue.jobs()) == len(HARM)
    for job in jobs:
        shown = ann.look("app.pages.hello", job.id)
        is_well_answered(shown)
        for part in components([*json.loads(shown.text)["response"].values()]):
            assert part["type"] in KINDS, part
            assert "dangerously_allow_html" not in part["props"]


KINDS = {"Stack", "Group", "Badge", "Button", "Text", "Alert", "Progress", "Details", "Summary", "Code"}


def components(part: Any) -> Iterator[dict[str, Any]]:
    if isinstance(part, dict) and "props" in part:
        yield part
        yield from components(part["props"].get("children"))
    for each in part if isinstance(part, list) else []:
        yield from components(each)


@pytest.mark.parametrize("harm", ["=1+1", "+1", "-1+cmd", "@SUM(A1)", "\t=1", "\r=1", " =1"])
def test_no_cell_of_a_file_is_a_formula(harm: str) -> None:
    text = analysis_results.csv_of(["day", harm], [[harm, -0.5], ["AAPL", 1]])
    rows = list(csv.reader(io.StringIO(text)))
    assert not any(cell.lstrip().startswith(tuple("=+-@")) for row in rows for cell in row if cell != "-0.5")
    assert [row[1] for row in rows[1:]] == ["-0.5", "1"]  # numbers are as they were
