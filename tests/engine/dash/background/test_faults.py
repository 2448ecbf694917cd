"""Faults that HueyManager survives. Dash's own manager is expected to fail the tests that run on both."""

import importlib
import os
import signal
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import Context
from pathlib import Path
from threading import Barrier, BrokenBarrierError, Event, Thread

import pytest
from dash import Dash, Input, Output, _pages, _validate, html, page_container, register_page
from diskcache import Cache

from jobqueue import DurableHuey, current_job
from jobqueue.dash.background import found_after_reload, task_name
from jobqueue.dash.callback_updates import KEPT
from jobqueue.dash.manager import HueyManager
from jobqueue.database.database import Transaction
from tests.engine.consumers import alive, wait_until, work
from tests.engine.dash.background.apps import background, note, notes
from tests.engine.dash.background.page import Call, Page
from tests.losing import mark_lost

Apps = dict[str, Dash]

fails_on_the_peer = pytest.mark.parametrize(
    "apps",
    ["ours", pytest.param("peers", marks=pytest.mark.xfail(strict=True, raises=(AssertionError, TimeoutError)))],
    indirect=True,
)
only_ours = pytest.mark.parametrize("apps", ["ours"], indirect=True)


def begun(apps: Apps, value: str) -> tuple[Page, Call]:
    """Return a call that has sent all its updates and now waits."""
    page = Page(apps["waiting"])
    call = page.call("waiting-out.children", waiting_in=value)
    wait_until(lambda: notes(f"waiting {value}"))
    return page, call


def let_go(apps: Apps, value: str, call: Call) -> None:
    """Let the job end, and wait until it has, without reading its result."""
    note(f"let go {value}")
    manager = apps["waiting"]._background_manager
    job = call.job.partition("~")[0]
    if isinstance(manager, HueyManager):
        wait_until(lambda: manager.handle.get_job(job).state.ended)
    else:
        wait_until(lambda: not alive(int(job)))


@fails_on_the_peer
def test_two_updates_between_two_polls_both_arrive(apps: Apps) -> None:
    page, call = begun(apps, "two")
    call.poll()
    assert page.shown.get("waiting-beside.children") == "first"
    assert page.shown.get("waiting-other.children") == "second"
    let_go(apps, "two", call)


@fails_on_the_peer
def test_a_part_of_the_progress_that_is_not_updated_stays_as_it_is_and_the_others_change(apps: Apps) -> None:
    page = Page(apps["parts_of_progress"])
    call = page.call("parts-out.children", parts_in=[[None, "begun"], [1, None], [None, "half"], [2, "end"]])
    note_of = '{"index":1,"type":"parts"}.children'
    for number, shown in enumerate([(None, "begun"), (1, "begun"), (1, "half"), (2, "end")]):
        wait_until(lambda: call.poll() and page.shown.get("parts-beside.children") == number)  # noqa: B023
        wait_until(lambda: call.poll() and (page.shown.get("parts-bar.value"), page.shown.get(note_of)) == shown)  # noqa: B023
        note(f"parts seen {number}")
    call.wait()
    assert page.values(note_of)[0] == "begun" and page.shown["parts-out.children"] == "done"
    assert "parts-beside.title" not in page.shown
    assert all(type(value) in (int, str) for _, value in page.seen)


@fails_on_the_peer
def test_what_an_answer_said_that_was_lost_is_said_again(apps: Apps) -> None:
    page, call = begun(apps, "lost")
    call.poll(lost=True)
    call.poll()
    assert page.shown.get("waiting-bar.children") == "begun"
    assert page.shown.get("waiting-other.children") == "second"
    let_go(apps, "lost", call)


@fails_on_the_peer
def test_a_result_whose_answer_was_lost_is_given_again(apps: Apps) -> None:
    page, call = begun(apps, "result")
    let_go(apps, "result", call)
    call.poll(lost=True)
    call.wait()
    assert page.shown.get("waiting-out.children") == "result in attempt 1"


@fails_on_the_peer
def test_two_users_with_equal_arguments_each_get_their_answer(apps: Apps) -> None:
    both = [begun(apps, "equal") for _ in range(2)]
    wait_until(lambda: len(notes("waiting equal")) == 2)
    for _, call in both:
        let_go(apps, "equal", call)
    for page, call in both:
        call.wait()
        assert page.shown.get("waiting-out.children") == "equal in attempt 1"


@fails_on_the_peer
def test_a_worker_that_is_killed_means_another_attempt(apps: Apps) -> None:
    page, call = begun(apps, "killed")
    os.kill(int(notes("waiting killed")[0]), signal.SIGKILL)
    note("let go killed")
    call.wait()
    assert page.shown.get("waiting-out.children") == "killed in attempt 2"


@fails_on_the_peer
def test_a_job_that_ends_during_a_look_has_told_all(apps: Apps, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last update and its end come between two questions of Dash to the manager."""
    page = Page(apps["progress"])
    call = page.call("progress-out.children", progress_in=2)
    wait_until(lambda: call.poll() and page.shown.get("bar.value") == "1")
    manager = apps["progress"]._background_manager
    assert manager is not None
    progress = manager.get_progress

    def get_progress(key: str) -> object:
        told = progress(key)
        monkeypatch.undo()
        note("progress seen 1")
        note("progress seen 2")
        wait_until(lambda: has_ended(apps["progress"], call))
        return told

    monkeypatch.setattr(manager, "get_progress", get_progress)
    call.wait()
    assert page.values("bar.value") == ["1", "2", ""]
    assert page.shown.get("progress-out.children") == "done"


def has_ended(app: Dash, call: Call) -> bool:
    manager = app._background_manager
    job = call.job.partition("~")[0]
    return manager.handle.get_job(job).state.ended if isinstance(manager, HueyManager) else not alive(int(job))


@fails_on_the_peer
def test_a_poll_costs_one_read_and_an_ended_job_none(
    apps: Apps, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page, call = begun(apps, "reads")
    call.poll()
    for _ in range(3):
        before = len(reads)
        call.poll()
        assert len(reads) == before + 1
    let_go(apps, "reads", call)
    before = len(reads)
    call.poll()
    assert len(reads) == before + 1
    assert page.shown.get("waiting-out.children") == "reads in attempt 1"
    assert call.ended  # and nobody asks any more


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the reads of this process from its store."""
    asked: list[str] = []
    execute, get = Transaction._execute, Cache.get

    def executed(self: Transaction, sql: str, params: dict[str, object]) -> None:
        asked.append(sql)
        execute(self, sql, params)

    def got(self: Cache, key: str, *args: object, **kwargs: object) -> object:
        asked.append(key)
        return get(self, key, *args, **kwargs)

    monkeypatch.setattr(Transaction, "_execute", executed)
    monkeypatch.setattr(Cache, "get", got)
    return asked


@only_ours
def test_the_last_progress_is_shown(apps: Apps) -> None:
    """Quick progress is written as its last value."""
    page = Page(apps["last_progress"])
    page.call("last-out.children", last_in=50).wait()
    assert page.shown == {"last.children": "50 of 50", "last-out.children": "done"}


@only_ours
def test_two_functions_of_one_name_do_not_collide(apps: Apps) -> None:
    page = Page(apps["namesakes"])
    for name in ("first-namesake", "second-namesake"):
        page.call(f"{name}.children", namesakes_in=3).wait()
    assert page.shown == {
        "first-namesake.children": "first-namesake 3",
        "second-namesake.children": "second-namesake 3",
    }


@only_ours
def test_an_async_callback_needs_no_event_loop_in_the_web(apps: Apps) -> None:
    page = Page(apps["asynchronous"])
    page.call("async-out.children", async_in=4).wait()
    assert page.shown == {"async-beside.children": 4, "async-out.children": 8}


@only_ours
def test_cookies_and_headers_show_nowhere(apps: Apps, huey: DurableHuey, folder: Path) -> None:
    page = Page(apps["context"], cookies={"region": "a-secret-cookie"})
    page.browser.environ_base["HTTP_AUTHORIZATION"] = "Bearer a-secret-header"
    page.call("context-out.children", context_in=1, context_other=2).wait()
    assert page.shown["context-out.children"]["cookie"] == "a-secret-cookie"
    job = huey.jobs(limit=1)[0]
    assert job.args[0] == [1, 2]
    assert "a-secret" not in f"{job!r} {job.args!r} {job.kwargs!r} {job.args}"
    assert "a-secret" not in Path(folder, "consumer.log").read_text()


@only_ours
@pytest.mark.parametrize("same_key", [True, False])
def test_any_web_process_answers(apps: Apps, huey: DurableHuey, same_key: bool) -> None:
    """The other process shares the key, or has it as a fallback. It shares no memory."""
    page, call = begun(apps, "process")
    key = "a key for tests"
    keys = {"secret_key": key} if same_key else {"secret_key": "a new one", "secret_key_fallbacks": [key]}
    other = DurableHuey("dash", huey.database_url, **keys)
    app = Dash("another process", background_callback_manager=HueyManager(other))
    app.layout = []
    app.callback_map = apps["waiting"].callback_map
    page.browser = app.server.test_client()
    note("let go process")
    Context().run(call.wait)  # in which the last app that was made is the process's
    assert page.shown.get("waiting-out.children") == "process in attempt 1"
    other.storage.close()


@only_ours
def test_a_database_that_does_not_answer_is_waited_for(apps: Apps, huey: DurableHuey) -> None:
    page, call = begun(apps, "outage")
    file = huey.ledger.database.path
    assert file is not None
    huey.storage.close()
    file.rename(file.with_suffix(".away"))
    try:
        file.mkdir()
        assert call.poll().status_code == 200
        file.rmdir()
    finally:
        file.with_suffix(".away").rename(file)
    note("let go outage")
    call.wait()
    assert page.shown.get("waiting-out.children") == "outage in attempt 1"


@only_ours
def test_a_call_that_is_made_twice_is_one_job(apps: Apps, huey: DurableHuey) -> None:
    page = Page(apps["one_output"])
    body = page.call("one-out.children", one_in=1, one_more=2).body
    ids = [page.post(body, {"Callback-Call": call}).json["job"] for call in ("7", "7", "8")]  # type: ignore[index]
    assert ids[0] == ids[1] != ids[2]
    assert Page(apps["one_output"]).post(body, {"Callback-Call": "7"}).json["job"] != ids[0]  # type: ignore[index]


# --- without a consumer: the test is the worker ---


@pytest.fixture
def make_app(tmp_path: Path) -> Iterator[Callable[..., Dash]]:
    """Make an app with a queue on the same ledger. `update` is its one callback."""
    made: list[DurableHuey] = []

    def make(update: Callable[..., object], **options: object) -> Dash:
        made.append(DurableHuey("dash", f"sqlite:///{tmp_path}/jobs.sqlite", secret_key="a key for tests"))
        app = Dash("alone", background_callback_manager=HueyManager(made[-1], **options))  # type: ignore[arg-type]
        app.layout = []
        background(app, Output("out", "children"), Input("in", "value"))(update)
        return app

    yield make
    for huey in made:
        huey.storage.close()


def queue_of(app: Dash) -> DurableHuey:
    manager = app._background_manager
    assert isinstance(manager, HueyManager)
    manager.register_tasks()
    return manager.handle


def test_two_first_calls_at_the_same_moment_are_two_jobs(
    make_app: Callable[..., Dash], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(lambda value: value)
    pages = [Page(app), Page(app)]
    huey = app._background_manager.handle  # type: ignore[union-attr]
    task, both = huey.task, Barrier(2)

    def task_of_both(**options: object) -> object:
        with suppress(BrokenBarrierError):
            both.wait(0.2)  # for another call that registers too
        return task(**options)

    monkeypatch.setattr(huey, "task", task_of_both)
    with ThreadPoolExecutor(2) as pool:
        calls = [*pool.map(lambda page: page.call("out.children"), pages)]
    assert [call.failed for call in calls] == ["", ""]
    assert len({call.job for call in calls}) == 2


def test_a_queued_job_outlives_an_edit_of_its_source(make_app: Callable[..., Dash]) -> None:
    def update(value: int) -> str:
        return "old"

    old = make_app(update)
    page = Page(old)
    call = page.call("out.children")

    def update(value: int) -> str:  # type: ignore[no-redef]  # noqa: F811
        return "new"

    work(queue_of(make_app(update)))
    call.wait()
    assert page.shown == {"out.children": "new"}


def test_a_web_that_starts_answers_no_poll_before_it_knows_its_callbacks(make_app: Callable[..., Dash]) -> None:
    """The callbacks of pages belong to the app once its first request has set it up."""
    old, new = [make_app(lambda value: value) for _ in range(2)]
    starting, asked = Event(), Event()

    def layout() -> list[object]:
        starting.set()
        asked.wait(0.3)
        return []

    new.layout = layout  # which Dash asks at once, for its ids
    starting.clear()
    page_callback()
    page = Page(old)
    call = page.call("page-out.children", page_in=3)
    page_callback()
    page.browser = new.server.test_client()
    first = Thread(target=new.server.test_client().get, args=["/"])
    first.start()
    starting.wait()
    status = call.poll().status_code
    asked.set()
    first.join()
    assert status == 200


def test_a_page_that_is_asked_for_while_the_first_request_sets_the_pages_up_comes_whole(
    huey: DurableHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A policy that names a page's scripts by hash would otherwise forbid one of them forever."""
    starting, asked = Event(), Event()
    validate = _validate.validate_registry

    def validate_slowly(registry: object) -> None:
        starting.set()
        asked.wait(0.3)
        validate(registry)

    monkeypatch.setattr(_validate, "validate_registry", validate_slowly)
    monkeypatch.setattr(_pages, "PAGE_REGISTRY", OrderedDict())
    app = Dash("tests.engine.dash.site", use_pages=True, pages_folder="", background_callback_manager=HueyManager(huey))
    register_page("somewhere", path="/", layout=html.Div("somewhere"))
    app.layout = page_container
    first = Thread(target=app.server.test_client().get, args=["/"])
    first.start()
    assert starting.wait(5)
    page = app.server.test_client().get("/").text
    asked.set()
    first.join()
    assert page.count("document.title = data.title") == 1
    assert "_pages_content.children" in str(app.callback_map)


def page_callback() -> None:
    sys.modules.pop("tests.engine.dash.background.one_page", None)
    importlib.import_module("tests.engine.dash.background.one_page")


def test_a_job_that_was_cancelled_shows_no_late_result(make_app: Callable[..., Dash]) -> None:
    def update(value: int) -> str:
        assert current_job().id is not None
        app._background_manager.terminate_job(current_job().id)  # type: ignore[union-attr]
        return "late"

    app = make_app(update)
    page = Page(app)
    call = page.call("out.children")
    work(queue_of(app))
    call.wait()
    assert page.shown == {}


def test_a_job_is_its_users_and_named_after_its_outputs(make_app: Callable[..., Dash]) -> None:
    app = make_app(lambda value: value, owner=lambda: "ann")
    Page(app).call("out.children")
    (job,) = queue_of(app).jobs()
    assert (job.owner, job.name) == ("ann", "out:children")
    assert task_name("..a.children...b.disabled..") == "a:children,b:disabled"


def test_another_user_can_neither_read_a_callback_nor_cancel_it_nor_find_it_again(
    make_app: Callable[..., Dash],
) -> None:
    who = ["ann"]
    app = make_app(found_after_reload(lambda value: "Ann's"), owner=lambda: who[0])
    page = Page(app)
    call = page.call("out.children")
    token = page.post(call.body).headers[KEPT]
    who[0] = "ben"
    assert call.poll(lost=True).status_code == 404
    assert page.post(call.body, oldJob=[call.job]).status_code == 404
    assert page.post(call.body, {KEPT: token}).status_code == 204
    assert page.browser.get("/_callback", query_string={"token": token}).status_code == 204
    assert [job.state for job in queue_of(app).jobs()] == ["queued"] * 2

    work(queue_of(app))
    assert call.poll(lost=True).status_code == 404
    who[0] = "ann"
    call.wait()
    assert page.shown == {"out.children": "Ann's"}


def test_a_cached_answer_is_for_its_owner(make_app: Callable[..., Dash]) -> None:
    who = ["ann"]
    app = make_app(lambda value: value, owner=lambda: who[0], cache_by=[lambda: "a version"])
    for name, jobs in (("ann", 1), ("ann", 1), ("ben", 2)):
        who[0] = name
        call = Page(app).call("out.children")
        work(queue_of(app))
        call.wait()
        assert len(queue_of(app).jobs()) == jobs


def test_an_error_is_a_failed_job_with_its_sentence(make_app: Callable[..., Dash]) -> None:
    def update(value: int) -> str:
        raise ValueError("nobody is called so")

    app = make_app(update)
    call = Page(app).call("out.children")
    work(queue_of(app))
    (job,) = queue_of(app).jobs()
    assert (job.state, job.error) == ("failed", "ValueError: nobody is called so")
    call.wait()
    assert call.failed


def test_nothing_is_wrong_with_a_result_of_none(make_app: Callable[..., Dash]) -> None:
    app = make_app(lambda value: None)
    page = Page(app)
    call = page.call("out.children")
    work(queue_of(app))
    call.wait()
    assert page.shown == {"out.children": None}


def test_a_job_continues_where_an_attempt_stopped(make_app: Callable[..., Dash]) -> None:
    runs = []

    def update(value: int) -> int:
        runs.append(1)
        number = current_job().step("number", lambda: len(runs))
        if len(runs) == 1:
            mark_lost(queue_of(app).ledger, str(current_job().id), str(current_job().token), "a worker")
        return number

    app = make_app(update)
    page = Page(app)
    call = page.call("out.children")
    work(queue_of(app), lambda: len(runs) == 2)
    call.wait()
    assert page.shown == {"out.children": 1}


def test_two_apps_on_one_queue_do_not_share_a_callbacks_id() -> None:
    huey = DurableHuey("dash", "sqlite://", secret_key="a key for tests")
    apps = [Dash(name, background_callback_manager=HueyManager(huey)) for name in ("first", "second")]
    for function, app in zip((note, notes), apps, strict=True):
        background(app, Output("out", "children"), Input("in", "value"))(function)
    queue_of(apps[0])
    with pytest.raises(
        ValueError, match="apps.note and tests.engine.dash.background.apps.notes are both the callback 'out.children'"
    ):
        queue_of(apps[1])


def test_a_callback_of_many_outputs_has_a_task_name_that_every_database_can_index(tmp_path: Path) -> None:
    huey = DurableHuey("long", f"sqlite:///{tmp_path}/jobs.sqlite", secret_key="a key for tests")
    app = Dash("long", background_callback_manager=HueyManager(huey))
    app.layout = html.Div()
    for start in ("a", "b"):
        outputs = [Output(f"output-{number}-{start}-é", "children") for number in range(100)]
        background(app, outputs, Input(f"input-{start}", "value"))(lambda value: [value] * 100)
    huey.discover()
    names = list(huey.tasks_by_name())
    assert len(names) == 2 and all(len(name.encode()) < 1000 and "output-0-" in name for name in names)
    huey.storage.close()
