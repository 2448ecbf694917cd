"""Large Inputs and States of background callbacks: a dcc.Store of 60,000 rows works as it does without background=."""

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dash import Dash, Input, Output, State, ctx

from jobqueue import ArgumentsTooLarge, DurableHuey
from jobqueue.dash import Access, Errors, HueyManager
from jobqueue.dash.background import found_after_reload
from jobqueue.dash.call_context import pack, unpack
from jobqueue.dash.callback_updates import CALL, KEPT, Concealed
from jobqueue.dash.errors import NOTICES
from tests.engine.consumers import work
from tests.engine.dash.background.apps import background
from tests.engine.dash.background.page import Page

ROWS = [{"row": row, "name": f"name {row}", "price": row / 7, "note": "as before"} for row in range(60_000)]
LIMIT = 5_000_000  # bytes


@pytest.fixture
def huey(tmp_path: Path) -> Iterator[DurableHuey]:
    huey = DurableHuey("large", f"sqlite:///{tmp_path}/jobs.sqlite", secret_key="a key for tests")
    yield huey
    huey.storage.close()


@pytest.fixture
def make_page(huey: DurableHuey) -> Callable[..., Page]:
    def make_page(update: Callable[..., Any], *dependencies: Any, **options: Any) -> Page:
        errors = Errors(Access(huey, lambda: None))
        app = Dash("large", background_callback_manager=HueyManager(huey, **options), on_error=errors.in_callback)
        app.layout = []
        background(app, Output("out", "children"), Input("go", "n_clicks"), *dependencies)(update)
        return Page(app)

    return make_page


def test_a_store_of_60_000_rows_is_an_argument_and_in_the_context(
    huey: DurableHuey, make_page: Callable[..., Page]
) -> None:
    def update(_: int, rows: list[Any]) -> list[Any]:
        return [rows == ROWS, ctx.states["store.data"] == ROWS, ctx.states_list[0]["value"] == ROWS, ctx.triggered_id]

    page = make_page(update, State("store", "data"))
    call = page.call("out.children", store=ROWS, go=1)
    work(huey)
    call.wait()
    assert page.shown == {"out.children": [True, True, True, "go"]}


def count(_: int, rows: list[Any]) -> int:
    return len(rows)


def message_of(huey: DurableHuey, job_id: str) -> bytes:
    row = huey.ledger.reading.message(job_id)
    assert row is not None
    return bytes(row["message"])


def test_large_arguments_are_kept_once_and_compressed(huey: DurableHuey, make_page: Callable[..., Page]) -> None:
    make_page(count, State("store", "data")).call("out.children", store=ROWS, go=1)
    (job,) = huey.jobs()
    assert job.args[0] == [1, ROWS]
    assert len(message_of(huey, job.id)) < len(pickle.dumps(ROWS)) / 2
    assert len(pickle.dumps(job.args[1])) < 10_000


def test_a_group_or_pattern_of_large_values_is_kept_once() -> None:
    first, second, text = ROWS[:1000], {"rows": ROWS[1000:2000]}, "long" * 1000
    args = {"group": {"first": first, "text": text}, "all": [second, second], "short": "short"}
    context = {"states_list": [first, [{"value": second}, {"value": second}]], "text": text, "short": "short"}
    packed = pack(context, args)
    assert len(packed) < 1000
    assert unpack(packed, pickle.loads(pickle.dumps(args))) == context


def test_a_small_call_is_stored_as_workers_of_the_last_version_read_it(
    huey: DurableHuey, make_page: Callable[..., Page]
) -> None:
    make_page(count, State("store", "data")).call("out.children", store=ROWS[:10], go=1)
    (job,) = huey.jobs()
    assert job.args[1].reveal()["state_values"] == {"store.data": ROWS[:10]}
    assert pickle.loads(message_of(huey, job.id)).args[0] == [1, ROWS[:10]]
    assert unpack(Concealed({"cookies": {}}).reveal(), []) == {"cookies": {}}


def test_a_reloaded_page_finds_a_call_with_large_arguments(huey: DurableHuey, make_page: Callable[..., Page]) -> None:
    page = make_page(found_after_reload(lambda _, rows: len(rows)), State("store", "data"))
    body = page.call("out.children", store=ROWS, go=7).body
    token = page.post(body, {CALL: "1"}).headers[KEPT]
    answer = page.browser.get("/_callback", query_string={"token": token})
    assert answer.json == {"id": "go", "property": "n_clicks", "value": 7}


def test_a_call_above_the_limit_says_both_sizes(huey: DurableHuey, make_page: Callable[..., Page]) -> None:
    page = make_page(count, State("store", "data"), max_arguments=LIMIT)
    body = page.call("out.children", store="x" * 7_300_000, go=1).body
    answer = page.post(body, {CALL: "1"})
    assert answer.status_code == 200 and answer.json is not None
    (notice, _) = answer.json["sideUpdate"][NOTICES]["sendNotifications"]
    assert notice["title"] == "Not started"
    assert notice["message"].startswith("This takes 7.3 MB of data, more than the limit of 5 MB.")
    assert huey.jobs() == []


def test_the_limit_of_callbacks_is_64_megabytes_or_that_of_the_queue(huey: DurableHuey) -> None:
    assert HueyManager(huey).max_arguments == 64_000_000
    huey.max_arguments = 100_000_000
    assert HueyManager(huey).max_arguments == 100_000_000


def test_a_task_may_have_a_limit_of_its_own(huey: DurableHuey) -> None:
    task = huey.task(name="large", max_arguments=2_000_000)(len)
    handle = task("x" * 1_900_000)
    work(huey)
    assert handle() == 1_900_000
    with pytest.raises(ArgumentsTooLarge, match="2,000,000") as refused:
        task("x" * 2_100_000)
    assert (refused.value.limit, refused.value.size > 2_100_000) == (2_000_000, True)
    assert pickle.loads(pickle.dumps(refused.value)).size == refused.value.size
    with pytest.raises(ValueError, match="max_arguments"):
        huey.task(name="none", max_arguments=0)(len)
