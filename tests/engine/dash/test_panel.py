"""JobPanel: its words in each state, its buttons, the jobs that it starts, and the cost of a refresh."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import dash
import pytest
from dash import Dash, Input, html, no_update
from dash import State as DashState
from dash._callback import GLOBAL_CALLBACK_LIST, GLOBAL_CALLBACK_MAP
from dash._utils import AttributeDict
from flask import Flask
from werkzeug.exceptions import NotFound

from jobqueue import DurableHuey, FileRefused, JobHandle, JobNotFound, QueueUnavailable, State, SubmitRefused
from jobqueue.dash import Access, panel, panel_refresh
from jobqueue.dash.panel import JobPanel
from jobqueue.dash.panel_refresh import REFRESH_MS, SLOWEST_MS
from jobqueue.ledger.records import ClaimRequest, NewJob


@pytest.fixture
def huey() -> Iterator[DurableHuey]:
    """Return a queue in immediate mode, in which a submit returns when the job has ended."""
    huey = DurableHuey("panel", immediate=True)
    yield huey
    huey.storage.close()


@pytest.fixture
def make_panel(huey: DurableHuey, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(panel, "_panels", {})
    return lambda name="a panel", **options: JobPanel(huey, name, **options)


def shown(panels: list[html.Div]) -> tuple[list[dict[str, str]], list[dict[str, Any]]]:
    """Return the ids and the data of the panels' stores."""
    stores = [div.children[2] for div in panels]
    return [store.id for store in stores], [store.data for store in stores]


def test_show_gets_the_result_and_the_arguments_of_the_layout(huey: DurableHuey, make_panel: Any) -> None:
    double = huey.task()(lambda n: 2 * n)
    as_paragraph = make_panel(show=lambda value, unit: html.P(f"{value} {unit}"), download=False)
    view = as_paragraph.render(double(4).id, unit="apples")
    assert view.result.children == "8 apples" and view.seen["ended"]


def test_a_result_is_text_by_default(huey: DurableHuey, make_panel: Any) -> None:
    assert "8" in str(make_panel().render(huey.task()(lambda: 8)().id).result)


def test_a_panel_that_is_in_a_layout_already_starts_no_jobs(make_panel: Any) -> None:
    a_panel = make_panel()
    a_panel()
    with pytest.raises(RuntimeError, match="Put @panel.start above that layout, or make the layout a function."):
        a_panel.start(Input("b", "n_clicks"))


def test_a_result_that_cannot_be_shown_is_replaced_by_a_note(
    huey: DurableHuey, make_panel: Any, caplog: pytest.LogCaptureFixture
) -> None:
    view = make_panel(show=lambda value: value["missing"]).render(huey.task()(dict)().id)
    assert "The result cannot be shown" in str(view.result)
    assert "KeyError" in caplog.text


def test_a_failed_job_shows_its_error_and_traceback(huey: DurableHuey, make_panel: Any) -> None:
    status = str(make_panel().render(huey.task()(lambda: 1 / 0)().id).status)
    assert "Failed: ZeroDivisionError" in status and "Traceback" in status and "Try again" in status


def test_a_job_can_be_cancelled_and_tried_again(huey: DurableHuey, make_panel: Any) -> None:
    a_panel, job = make_panel(), huey.task()(lambda: 8).schedule(delay=60)
    assert "Cancel" in str(a_panel.render(job.id).status)
    assert a_panel.act(job.id, "cancel", "") is None
    assert "Try again" in str(a_panel.render(job.id).status)
    assert [a_panel.act(job.id, "retry", "") for _ in range(2)] == [None, None]
    assert job.state is State.SUCCEEDED and len(huey.jobs()) == 1


@pytest.mark.parametrize(
    ("address", "prefix", "expected"),
    [
        ("?job={id}", "/explorer/", "?job={id}"),
        ("/double?job={id}", "/", "/double?job={id}"),
        ("/double?job={id}", "/explorer/", "/explorer/double?job={id}"),
    ],
)
def test_run_again_makes_one_job_however_often_it_is_pressed(
    huey: DurableHuey, make_panel: Any, monkeypatch: pytest.MonkeyPatch, address: str, prefix: str, expected: str
) -> None:
    monkeypatch.setattr(dash._get_paths, "CONFIG", AttributeDict(requests_pathname_prefix=prefix))
    double = huey.task()(lambda n: 2 * n)
    job, new = double.using(owner="ann")(4), str(uuid.uuid4())
    a_panel = make_panel(address=address)
    assert [a_panel.act(job.id, "again", new) for _ in range(2)] == [expected.format(id=new)] * 2
    assert [(job.args, job.owner) for job in huey.jobs()] == [((4,), "ann")] * 2


@dataclass
class Visitor:
    name: str
    admin: bool = False


def test_another_users_job_is_not_found(huey: DurableHuey, make_panel: Any) -> None:
    job = huey.task()(lambda: 8).using(owner="ann").schedule(delay=60)
    bens = make_panel(access=Access(huey, lambda: Visitor("ben")))
    view = bens.render(job.id)
    assert "was not found" in str(view.status) and view.result is None and view.seen["ended"]
    with pytest.raises(JobNotFound):
        bens.act(job.id, "cancel", "")
    assert job.state is State.SCHEDULED


def test_another_users_job_is_a_404_in_a_request(huey: DurableHuey, make_panel: Any) -> None:
    job = huey.task()(lambda: 8).using(owner="ann")()
    bens = make_panel(access=Access(huey, lambda: Visitor("ben")))
    for ask in (lambda: bens.render(job.id), lambda: bens.act(job.id, "again", str(uuid.uuid4()))):
        with Flask("app").test_request_context(), pytest.raises(NotFound):
            ask()
    assert len(huey.jobs()) == 1


def test_an_admin_reads_whose_job_it_is(huey: DurableHuey, make_panel: Any) -> None:
    admins = make_panel(access=Access(huey, lambda: Visitor("eve", admin=True)), title=lambda job: "Twice")
    task = huey.task()(lambda: 8)
    assert "Twice · Of ann" in str(admins.render(task.using(owner="ann")().id).status)
    assert "Of" not in str(admins.render(task.using(owner="eve")().id).status)


def test_a_job_of_another_task_is_shown_without_its_result(huey: DurableHuey, make_panel: Any) -> None:
    mine, other = huey.task(name="mine")(lambda: 1), huey.task(name="other")(lambda: 2)
    view = make_panel(task=mine).render(other().id)
    assert "A job of the task other" in str(view.status) and view.result is None


def test_a_page_asks_once_for_each_job_that_goes_on_and_never_for_one_that_has_ended(
    huey: DurableHuey, make_panel: Any, statements: list[str]
) -> None:
    one, two = make_panel("one"), make_panel("two")
    task = huey.task()(lambda: 8)
    ended, goes_on = task(), task.schedule(delay=60)
    ids, seen = shown([one(ended.id), two(goes_on.id)])
    *_, seen, (pace,) = panel_refresh.refresh(None, ids, seen, [None])
    statements.clear()
    status, result, seen, (pace,) = panel_refresh.refresh(1, ids, seen, [pace])
    assert len(statements) == 1
    assert status[0] is no_update and result[0] is no_update and "Starts in" in str(status[1])

    assert two.act(goes_on.id, "cancel", "") is None
    *_, seen, (pace,) = panel_refresh.refresh(2, ids, seen, [pace])
    assert pace["every"] == 0
    statements.clear()
    panel_refresh.refresh(3, ids, seen, [pace])
    assert statements == []


def test_a_queued_job_shows_its_place_in_line(huey: DurableHuey, make_panel: Any, statements: list[str]) -> None:
    huey.ledger.submit([NewJob(id=job_id, task="unknown", message=b"") for job_id in ("first", "second")])
    a_panel = make_panel()
    assert "In the queue, behind 1 other job." in str(a_panel.render("second").status)
    statements.clear()
    a_panel.render("second")
    assert len(statements) == 2
    claim: dict[str, Any] = {"token": "t", "consumer": "c", "worker": "w", "lease_s": 60}
    assert huey.ledger.claim(ClaimRequest(tasks=["unknown"], **claim)) is not None
    statements.clear()
    assert "Running." in str(a_panel.render("first").status)
    assert len(statements) == 1
    assert "In the queue, next in line." in str(a_panel.render("second").status)
    for job_id in ("first", "second"):
        huey.ledger.cancel(job_id)


def test_refreshes_slow_down_while_nothing_changes(huey: DurableHuey, make_panel: Any) -> None:
    ids, seen = shown([make_panel()(huey.task()(lambda: 8).schedule(delay=60).id)])
    pauses, pace = [], None
    for tick in range(8):
        *_, seen, (pace,) = panel_refresh.refresh(tick, ids, seen, [pace])
        pauses.append(pace["every"])
    assert pauses[0] == REFRESH_MS and pauses == sorted(pauses) and pauses[-1] == SLOWEST_MS
    huey.ledger.cancel(ids[0]["job"])


def test_a_second_panel_of_the_same_name_is_refused(make_panel: Any) -> None:
    make_panel("one")
    with pytest.raises(ValueError, match="There is a JobPanel named 'one' already"):
        make_panel("one")


def test_a_panel_without_a_job_is_empty(make_panel: Any) -> None:
    assert make_panel()(None).children == []


# --- starting a job ---


@dataclass
class Page:
    """An app with a button that starts a job by a panel."""

    app: Dash
    panel: JobPanel

    def press(self, *values: Any) -> dict[str, Any]:
        """Call the callback as the page does, and return the properties that it changes, by component."""
        (output,) = [name for name in self.app.callback_map if '"part":"trouble"' in name]
        at = {"start": self.panel.name, "job": ""}
        parts = [("trouble", "children"), ("shown", "children"), ("address", "href")]
        outputs: list[Any] = [[{"id": at | {"part": part}, "property": name}] for part, name in parts]
        body = {
            "output": output,
            "outputs": outputs,
            "inputs": [{"id": "go", "property": "n_clicks", "value": values[0]}],
            "state": [{"id": "name", "property": "value", "value": values[1]}],
            "changedPropIds": ["go.n_clicks"],
        }
        answer = self.app.server.test_client().post("/_dash-update-component", json=body)
        assert answer.status_code == 200
        changed = answer.get_json()["response"]
        return {json.loads(at)["part"]: properties for at, properties in changed.items()}


@pytest.fixture
def make_page(huey: DurableHuey, make_panel: Any) -> Any:
    def make(function: Any, **options: Any) -> Page:
        callbacks, known = list(GLOBAL_CALLBACK_LIST), dict(GLOBAL_CALLBACK_MAP)
        GLOBAL_CALLBACK_LIST.clear()
        GLOBAL_CALLBACK_MAP.clear()
        try:
            a_panel = make_panel()
            assert a_panel.start(Input("go", "n_clicks"), DashState("name", "value"), **options)(function) is function
            app = Dash("starting", suppress_callback_exceptions=True)
            app.layout = html.Div([html.Button(id="go"), a_panel()])
            app.server.test_client().get("/_dash-dependencies")
            return Page(app, a_panel)
        finally:
            GLOBAL_CALLBACK_LIST[:] = callbacks
            GLOBAL_CALLBACK_MAP.update(known)

    return make


def test_a_started_job_is_in_the_address(huey: DurableHuey, make_page: Any) -> None:
    double = huey.task()(lambda name: 2 * name)
    changed = make_page(lambda _, name: double(name)).press(1, "ann")
    (job,) = huey.jobs()
    assert changed == {"trouble": {"children": None}, "address": {"href": f"?job={job.id}"}}
    assert job.args == ("ann",)


def test_a_job_that_is_started_in_place_leaves_the_address_alone(huey: DurableHuey, make_page: Any) -> None:
    double = huey.task()(lambda name: 2 * name)
    changed = make_page(lambda _, name: double(name), in_place=True).press(1, "ann")
    (job,) = huey.jobs()
    assert "address" not in changed and job.id in str(changed["shown"])


def refuse(error: Exception) -> JobHandle:
    raise error


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (lambda *_: refuse(SubmitRefused("Choose a name.")), "Choose a name."),
        (lambda *_: refuse(FileRefused("Choose a file.")), "Choose a file."),
        (lambda *_: refuse(QueueUnavailable("no route")), "The queue does not answer. Try again in a moment."),
    ],
    ids=["refused", "file", "unavailable"],
)
def test_a_job_that_is_not_started_leaves_an_error_beside_the_panel(make_page: Any, start: Any, words: str) -> None:
    changed = make_page(start).press(1, "ann")
    assert changed.keys() == {"trouble"} and words in str(changed["trouble"])


def test_a_start_that_returns_none_starts_no_job_and_clears_the_error(make_page: Any) -> None:
    assert make_page(lambda *_: None).press(1, "ann") == {"trouble": {"children": None}}
