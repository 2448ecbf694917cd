"""How calls end, with outputs and without: by an error, a cancel, PreventUpdate or no_update. The test is the worker."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dash import ALL, Dash, Input, Output, no_update, set_props
from dash.exceptions import PreventUpdate

from jobqueue import DurableHuey, QueueUnavailable, State, SubmitRefused
from jobqueue.dash import Access, Errors, HueyManager
from jobqueue.dash.errors import NOTICES
from tests.engine.consumers import work
from tests.engine.dash.background.apps import background
from tests.engine.dash.background.page import Call, Page

Start = Callable[..., Call]

OUTPUTS: dict[str, list[Output]] = {
    "none": [],
    "one": [Output("out", "children")],
    "several": [Output("out", "children"), Output("out", "title")],
    "a pattern's": [Output({"type": "out", "index": ALL}, "children")],
}
NOTICE = f"{NOTICES}.sendNotifications"
BAR = [Output("bar", "value"), Output("note", "children")]

each_output = pytest.mark.parametrize("outputs", OUTPUTS.values(), ids=OUTPUTS)


@pytest.fixture
def huey(tmp_path: Path) -> Iterator[DurableHuey]:
    huey = DurableHuey("ends", f"sqlite:///{tmp_path}/jobs.sqlite", secret_key="a key for tests")
    yield huey
    huey.storage.close()


@pytest.fixture
def start(huey: DurableHuey) -> Start:
    """Start a callback on a page of an app that shows errors as the template's does."""

    def start(update: Callable[..., Any], outputs: list[Output], **options: Any) -> Call:
        errors = Errors(Access(huey, lambda: None))
        app = Dash("ends", background_callback_manager=HueyManager(huey), on_error=errors.in_callback)
        app.layout = []
        background(app, *outputs, Input("in", "value"), running=[(Output("go", "disabled"), True, False)], **options)(
            update
        )
        page = Page(app)
        (name,) = (name for name, spec in page.callbacks.items() if spec["inputs"][0]["id"] == "in")
        call = page.call(name)
        assert page.shown["go.disabled"] is True
        return call

    return start


def ended(huey: DurableHuey, call: Call) -> dict[str, Any]:
    """Let the job run. Return what the page shows at the end of the call."""
    work(huey)
    call.wait()
    assert not call.failed
    assert call.page.shown.pop("go.disabled") is False
    return call.page.shown


def fail(_: object) -> None:
    raise ValueError("a secret")


@each_output
@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("a secret"), "Something went wrong"),
        (SubmitRefused("Choose fewer."), "Choose fewer."),
        (type("TooMany", (SubmitRefused,), {})("Choose fewer."), "Choose fewer."),
        (QueueUnavailable("a secret"), "The database does not answer"),
    ],
    ids=["mistake", "refused", "a kind of refused", "database"],
)
def test_an_error_shows_the_same_notice_as_without_background(
    huey: DurableHuey, start: Start, outputs: list[Output], error: Exception, words: str
) -> None:
    def update(_: object) -> None:
        set_props("beside", {"children": "set before"})
        raise error

    shown = ended(huey, start(update, outputs))
    (job,) = huey.jobs()
    assert job.state is State.FAILED
    assert words in str(shown.pop(NOTICE)) and "a secret" not in str(shown)
    assert shown == {"beside.children": "set before"}


@each_output
def test_an_error_handler_without_a_value_changes_what_it_sets(
    huey: DurableHuey, start: Start, outputs: list[Output]
) -> None:
    def handle(error: Exception) -> None:
        set_props("beside", {"children": "handled" if "a secret" in str(error) else "another error"})

    assert ended(huey, start(fail, outputs, on_error=handle)) == {"beside.children": "handled"}


@each_output
@pytest.mark.parametrize("way", ["raised", "returned"])
def test_no_update_and_prevent_update_end_a_call(
    huey: DurableHuey, start: Start, outputs: list[Output], way: str
) -> None:
    def update(_: object) -> Any:
        if way == "raised":
            raise PreventUpdate
        return no_update

    assert ended(huey, start(update, outputs)) == {}


@each_output
def test_a_cancel_ends_a_call(huey: DurableHuey, start: Start, outputs: list[Output]) -> None:
    call = start(fail, outputs, cancel=[Input("stop", "n_clicks")])
    call.page.cancel("stop.id", call, stop=1)
    assert ended(huey, call) == {}
    (job,) = huey.jobs()
    assert job.state is State.CANCELLED


@each_output
@pytest.mark.parametrize("ends", ["with an error", "with PreventUpdate"])
def test_the_last_progress_is_shown_when_nothing_else_is(
    huey: DurableHuey, start: Start, outputs: list[Output], ends: str
) -> None:
    def update(set_progress: Callable[[Any], None], _: object) -> None:
        set_progress((3, "three"))
        raise ValueError if ends == "with an error" else PreventUpdate

    shown = ended(huey, start(update, outputs, progress=BAR))
    assert (shown["bar.value"], shown["note.children"]) == (3, "three")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ([(1, "one"), (no_update, "two")], {"bar.value": 1, "note.children": "two"}),
        ([(no_update, "two")], {"note.children": "two"}),
        ([(no_update, "two"), (3, no_update)], {"bar.value": 3, "note.children": "two"}),
        ([(no_update, no_update)], {}),
        ([no_update], {}),
    ],
    ids=["second", "first", "both in turn", "all", "one for all"],
)
def test_a_part_of_the_progress_that_is_no_update_stays_as_it_is(
    huey: DurableHuey, start: Start, said: list[Any], shown: dict[str, Any]
) -> None:
    """However quickly they follow: progress is written five times a second at most."""

    def update(set_progress: Callable[[Any], None], _: object) -> None:
        for value in said:
            set_progress(value)

    assert ended(huey, start(update, [], progress=BAR)) == shown


def test_set_props_with_no_update_leaves_the_property(huey: DurableHuey, start: Start) -> None:
    def update(_: object) -> None:
        set_props("beside", {"children": no_update, "title": "set"})

    assert ended(huey, start(update, [])) == {"beside.title": "set"}
