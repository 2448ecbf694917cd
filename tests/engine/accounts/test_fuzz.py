"""Random requests to callbacks, forms and addresses are told nothing of the server, and store nothing that would run elsewhere.

A request of the form that pages send is never answered with 500; a forged one may be, without any details. Ann owns some jobs, and Eve is an admin. Ben's jobs contain
a secret: no request of Ann's shows or changes them.
"""

import json
import logging
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import dash
import pytest
from browser import HERE, PASSWORD, Browser, asked
from huey.api import TaskWrapper
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.exceptions import InternalServerError
from werkzeug.test import TestResponse

from app.access import accounts
from app.jobs.analysis import analyse
from app.jobs.hello import greet
from app.portfolio import frontier
from app.settings import settings as app_settings
from app.web import app
from jobqueue import DurableHuey, JobHandle, State, current_job
from jobqueue.accounts import throttle
from jobqueue.dash.pages import query as filters

CASES = 2000  # of callbacks, forms and addresses together

# Values that do harm unless they are treated as text: in HTML, spreadsheets, logs, SQL and Dash layouts.
HARM: list[Any] = [
    "<img src=x onerror=alert(1)>",
    "'\"><script>alert(1)</script>",
    "javascript:alert(1)",
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
TEXTS = st.text(max_size=30) | st.sampled_from([harm for harm in HARM if isinstance(harm, str)]) | st.just(PASSWORD)

SECRET = "Zanzibar"  # in all of Ben's jobs
SMALL = {
    "assets": ["AAPL", "JNJ", "XOM"],
    "risk": "variance",
    "training": 8000,
    "rebalance": 252,
    "cap": 60,
}  # a window
NO_DETAILS = InternalServerError().get_response().get_data(as_text=True)  # the whole answer to a forged request
NO_JOB = "6f1c1a52-9d8c-4c35-9a53-0d6d5f0a9a11"

# --- the people, and their jobs ---


@pytest.fixture
def eager(people: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lift the limits of log-ins and submits, and make jobs quick."""
    monkeypatch.setattr(accounts, "settings", app_settings.model_copy(update={"submits": 10**6}))
    monkeypatch.setattr(throttle, "TRIES", 10**6)
    monkeypatch.setattr(throttle, "TRIES_OF_NAME", 10**6)
    point = {"return": 0.1, "volatility": 0.1, "weights": {"AAPL": 1.0}}
    monkeypatch.setattr(frontier, "least_risk", lambda *_: point)


@pytest.fixture
def ann(eager: None) -> Browser:
    return Browser("ann")


@pytest.fixture
def tell(queue: DurableHuey) -> Iterator[TaskWrapper]:
    """Yield a task that writes its argument to every place that a job can write to."""

    def tell(words: str) -> None:
        current_job().progress(1, 2, words)
        logging.getLogger("tell").warning(words)
        current_job().step(words, list)
        raise ValueError(words)

    task = queue.task(name="tell")(tell)
    yield task
    task.unregister()


@pytest.fixture
def jobs(eager: None, queue: DurableHuey, tell: TaskWrapper, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Return the ids of jobs in every state, by owner."""
    made: dict[str, list[JobHandle]] = {}
    for owner, words in (("ann", "Antwerp"), ("ben", SECRET)):
        greeting = greet.using(owner=owner)
        later = [greeting.schedule((words,), delay=3600) for _ in range(4)]
        later[3].cancel()
        shared = greet.using(owner=owner, unique=True).schedule(("of both",), delay=3600)
        done = analyse.using(owner=owner)(**SMALL | {"cap": 0.6})
        made[owner] = [greeting(words), tell.using(owner=owner)(words), *later, shared, done]
        with monkeypatch.context() as patched:
            patched.setattr(queue, "_run_immediately", lambda: None)
            made[owner].append(greeting(words))
            queue.claim("elsewhere", "a worker")  # for as long as the test lasts
    states = {job.state for job in made["ben"]}
    assert states == set(State) - {State.QUEUED, State.WAITING}  # which would run with the next submit
    return {owner: [job.id for job in handles] for owner, handles in made.items()}


@pytest.fixture
def quiet(jobs: dict[str, list[str]]) -> Iterator[None]:
    """Silence logging once the jobs have run: each refused request would log a line."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def cases(share: float) -> Any:
    """Return Hypothesis settings for a share of all cases."""
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=round(CASES * share), deadline=None, database=None, suppress_health_check=checks)


# --- what pages send ---


def callbacks() -> list[str]:
    """Return the outputs of the callbacks that run in the server."""
    return sorted(output for output, known in app.callback_map.items() if "callback" in known)


def is_an_admins(output: str) -> bool:
    return any('"jobs":"schedule"' in part["id"] for part in app.callback_map[output]["inputs"])


def as_pages_have_it(ids: dict[str, list[str]]) -> dict[str, st.SearchStrategy[Any]]:
    """Return strategies for the values that pages have, by component and property or by property alone, and for panels by "at".

    A callback whose components are missing here gets only random values, and the test fails for it at its end.
    """
    job = st.sampled_from([*ids["ann"], *ids["ben"], *ids["ben"], NO_JOB])
    new = st.uuids().map(str)
    opened = st.fixed_dictionaries({"job": st.none() | job, "beside": st.none() | job})
    given = st.fixed_dictionaries({}, optional={"beside": job})
    names = {"tab": filters.TABS, "state": list(State), "time": filters.TIMES, "window": filters.WINDOWS}
    choices = {name: st.sampled_from(list(known)) for name, known in names.items()}
    texts = {"task": "app.jobs.hello.greet", "owner": "ben", "queue": "heavy", "text": SECRET[:5]}
    sought = {name: st.just(text) | job for name, text in texts.items()}
    wanted = st.fixed_dictionaries({}, optional=choices | sought | {"page": st.integers(1, 3)})
    query = st.one_of(
        st.just(""),
        job.map("?job={}".format),
        wanted.map(lambda asked: "?" + "&".join(f"{k}={v}" for k, v in asked.items())),
    )
    paths = st.sampled_from(
        [page["path"] for page in dash.page_registry.values() if not page["path_template"]]
    ) | job.map("/jobs/{}".format)
    panels = [f"app.pages.{name}" for name in ("hello", "analysis", "frontier", "market")]
    button = {"panel": st.sampled_from(panels), "job": job, "act": st.sampled_from(["cancel", "retry", "again"])}
    acts = {"act": st.sampled_from(["pause", "resume", "run", "refresh"]), "name": st.just("app.jobs.market.prices")}
    return {
        "at": st.lists(st.fixed_dictionaries(button), min_size=1, max_size=2),
        "at schedules": st.fixed_dictionaries(acts).map(lambda one: [one]),
        "n_clicks": st.integers(1, 3),
        "n_intervals": st.integers(0, 9),
        "_pages_location.pathname": paths,
        "_pages_location.search": query,
        '{"job":["ALL"],"panel":["ALL"],"part":"seen"}.data': st.fixed_dictionaries({"next": new, "given": given}),
        '{"of":["ALL"],"panels":"pace"}.data': st.none(),
        "hello-name.value": TEXTS,
        "analysis-next.data": new,
        **{f"analysis-{field}.value": st.just(value) for field, value in SMALL.items()},
        "analysis-ids.data": opened,
        "frontier-assets.value": st.sampled_from([["AAPL"], ["AAPL", "JNJ"]]),
        "market-shown.data": st.none(),
        "market-period.value": st.just("21"),
        "jobs-asked.data": wanted,
        "jobs-acted.data": st.none() | st.just(1.5),
        "jobs-seen.data": st.none() | st.fixed_dictionaries({"rates": st.floats(0), "of": choices["window"]}),
        "jobs-meant.data": st.fixed_dictionaries(
            {"act": st.sampled_from(["retry", "cancel"]), "ids": st.lists(job, min_size=1, max_size=4)}
        ),
        "job-id.data": job,
        "job-next.data": new,
        "job-acted.data": st.none(),
        "job-seen.data": st.none() | st.just({"marks": {}}),
    }


PANELS = st.fixed_dictionaries(
    {"panel": st.sampled_from(["app.pages.hello", "app.pages.analysis"]) | VALUES, "job": VALUES},
    optional={"act": st.sampled_from(["cancel", "retry", "again", "pause"]) | VALUES, "name": VALUES},
)


@st.composite
def requests(draw: st.DrawFn, output: str, known: dict[str, st.SearchStrategy[Any]]) -> tuple[Any, bool]:
    """Draw a request to a callback, and whether it is forged.

    In most cases it is as a page would make it. Others have any values, and often a part that is replaced or missing.
    """
    declared = app.callback_map[output]
    as_a_page = draw(st.sampled_from([True, True, True, False]))
    there = known["at schedules" if is_an_admins(output) else "at"]
    at = draw(there if as_a_page else there | st.lists(PANELS, min_size=1, max_size=3))
    values = []
    for part in [*declared["inputs"], *declared["state"]]:
        value = known.get(f"{part['id']}.{part['property']}", known.get(part["property"], VALUES))
        value = value if as_a_page else value | VALUES
        many = "ALL" in part["id"]  # on the page one of each panel's or button's, and of other patterns one
        values.append(draw(st.lists(value, min_size=len(at), max_size=len(at)) if many else value))
    body = asked(output, *values, at=at)
    if as_a_page:
        return body, False
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
    return draw(st.sampled_from([body, body, body, draw(VALUES)])), True


def fuzz(
    output: str, known: dict[str, st.SearchStrategy[Any]], share: float, send: Callable[[Any, bool], bool]
) -> bool:
    """Return whether the callback answered any request as it answers a page."""
    answered = []

    @cases(share)
    @given(request=requests(output, known))
    def each(request: tuple[Any, bool]) -> None:
        answered.append(send(*request))

    each()
    return any(answered)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("name", ["ann", pytest.param("eve", marks=pytest.mark.long)])
def test_no_request_to_a_callback_causes_a_server_error_or_tells_a_secret(
    name: str, queue: DurableHuey, jobs: dict[str, list[str]]
) -> None:
    browser, known, before = Browser(name), as_pages_have_it(jobs), of_others(queue)

    def send(body: Any, forged: bool) -> bool:
        text = json.dumps(body)
        kind = {"headers": HERE, "content_type": "application/json"}
        answer = browser.client.post("/_dash-update-component", data=text, **kind)
        if forged and answer.status_code == 500:
            assert answer.text == NO_DETAILS
        else:
            is_well_answered(answer)
        if name == "ann":
            tells_nothing_of(jobs["ben"], answer, text)
            assert of_others(queue) == before
        return answer.status_code == 200 and "Something went wrong" not in answer.text

    every = callbacks()
    answered = {output for output in every if fuzz(output, known, 0.35 / len(every), send)}
    assert answered == {output for output in every if name == "eve" or not is_an_admins(output)}


def of_others(queue: DurableHuey) -> Any:
    """Return Ben's jobs and the state of the schedules."""
    return queue.jobs(owner="ben", limit=1000), [look.paused_at for look in queue.schedules()]


def tells_nothing_of(ids: list[str], answer: TestResponse, sent: str) -> None:
    assert SECRET not in answer.text
    assert not any(job_id in answer.text for job_id in ids if job_id not in sent)


def test_the_server_refuses_callbacks_that_run_in_the_browser(ann: Browser) -> None:
    outputs = app.callback_map.keys() - callbacks()
    assert outputs
    for output in outputs:
        declared = app.callback_map[output]
        values = [[None] if "ALL" in part["id"] else None for part in [*declared["inputs"], *declared["state"]]]
        answer = ann.client.post("/_dash-update-component", json=asked(output, *values, at=[{}]), headers=HERE)
        assert (answer.status_code, answer.text) == (500, NO_DETAILS), output


FIELDS = st.fixed_dictionaries(
    {}, optional={name: TEXTS for name in ("name", "password", "next", "current", "new", "username", "x")}
)


@pytest.mark.usefixtures("quiet")
@cases(0.2)
@given(form=st.sampled_from(["/login", "/account", "/logout"]), fields=FIELDS, with_token=st.booleans())
def test_no_request_to_a_form_causes_a_server_error_or_leads_elsewhere(
    ann: Browser, form: str, fields: dict[str, str], with_token: bool
) -> None:
    fields = {name: text.encode("utf-8", "replace").decode() for name, text in fields.items()}
    if with_token and form != "/logout":
        answer = ann.send(form, **fields)
    else:
        answer = ann.client.post(form, data=fields, headers=HERE)
    is_well_answered(answer)
    assert urlsplit(answer.headers.get("Location", "/")).netloc == ""


FILE = "part=0&kind=json"
PLACES = ["/", "/hello", "/analysis", "/jobs", "/jobs/{}", "/login", "/account", "/assets/{}",
          "/_dash-component-suites/dash/{}", f"/jobs/{{}}/result?{FILE}",
          f"/_panels/result?panel=app.pages.analysis&{FILE}&job={{}}"]  # fmt: skip


@pytest.mark.usefixtures("quiet")
@cases(0.1)
@given(
    place=st.sampled_from(PLACES),
    key=st.sampled_from(["job", "next", "owner", "text", "page", "x"]),
    text=TEXTS,
    bens=st.none() | st.integers(0, 8),
)
def test_no_address_causes_a_server_error_or_tells_a_secret(
    ann: Browser, jobs: dict[str, list[str]], place: str, key: str, text: str, bens: int | None
) -> None:
    sent = (text if bens is None else jobs["ben"][bens]).encode("utf-8", "replace")
    address = place.format(quote(sent, safe=""))
    answer = ann.client.get(f"{address}{'&' if '?' in address else '?'}{urlencode({key: sent})}", buffered=True)
    is_well_answered(answer)
    tells_nothing_of(jobs["ben"], answer, sent.decode())
    assert urlsplit(answer.headers.get("Location", "/")).netloc == ""


def is_well_answered(answer: TestResponse) -> None:
    assert answer.status_code < 500
    assert "a=b" not in str(answer.headers.getlist("Set-Cookie"))
    if answer.mimetype == "text/html":
        assert "<img" not in answer.text and "<script>alert" not in answer.text
    if not answer.is_json or not isinstance(told := answer.get_json(), dict):
        assert "Traceback" not in answer.text
        return
    assert not OF_THE_SERVER.search(str(told))
    for properties in [*told.get("response", {}).values(), *told.get("sideUpdate", {}).values()]:
        for name, value in properties.items():
            if name != "data":  # which the browser keeps, or saves
                for part in components(value):
                    assert part["type"] not in RUN, part
                    assert not {"dangerously_allow_html", "dangerously_allow_code", "srcDoc"} & part["props"].keys()
                    assert not str(part["props"].get("href", "")).strip().lower().startswith("javascript:")


OF_THE_SERVER = re.compile(
    r"File [^\n]{0,200}/(site-packages/dash|site-packages/flask|pages)/"
)  # a line of a traceback that is no job's
RUN = {"Script", "Markdown", "Iframe", "ObjectEl", "Embed"}  # what they are given


def components(part: Any) -> Iterator[dict[str, Any]]:
    if isinstance(part, dict):
        if {"type", "namespace", "props"} <= part.keys():
            yield part
            if part["type"] == "Store":
                return
        for inner in part.values():
            yield from components(inner)
    for each in part if isinstance(part, list) else []:
        yield from components(each)


# --- what is kept is text ---


def test_arguments_are_shown_as_text(ann: Browser, queue: DurableHuey, tell: TaskWrapper) -> None:
    for harm in HARM:
        is_well_answered(ann.start("hello", 1, harm))
        tell.using(owner="ann")(str(harm))
    assert len(jobs := queue.jobs()) == 2 * len(HARM)
    for job in jobs:
        shown = ann.look("app.pages.hello", job.id)
        is_well_answered(shown)
        for part in components([*shown.get_json()["response"].values()]):
            assert part["type"] in KINDS, part
        is_well_answered(ann.call("job-trouble.children", 0, None, job.id, None))
    listed = ann.call("jobs-trouble.children", {"state": "failed"}, 0, None, None)
    is_well_answered(listed)
    assert HARM[0] in str(listed.get_json()["response"]["jobs-listed"]["data"])  # as a cell's text


MENU = {"Box", "Popover", "PopoverTarget", "PopoverDropdown", "Skeleton"}
KINDS = {"Stack", "Group", "Badge", "Button", "Text", "Alert", "Progress", "Details", "Summary", "Code", *MENU}
