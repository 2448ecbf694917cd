"""A job's panel: what it shows in each state, what its buttons do, and what a page with panels costs."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from dash import html, no_update

from jobqueue import DurableHuey, Job, JobNotFound, State
from jobqueue.dash import panel
from jobqueue.dash.panel import LOOK_EVERY, REST_AT_MOST, JobPanel
from jobqueue.ledger.records import ClaimRequest, NewJob


@pytest.fixture
def huey() -> Iterator[DurableHuey]:
    """In immediate mode: a job has ended when its submit returns."""
    huey = DurableHuey("panel", immediate=True)
    yield huey
    huey.storage.close()


@pytest.fixture
def make_panel(huey: DurableHuey, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(panel, "_panels", {})
    return lambda name="a panel", **options: JobPanel(huey, name, **options)


def shown(panels: list[html.Div]) -> tuple[list[dict[str, str]], list[dict[str, Any]]]:
    """The ids and the data of what the page keeps of each."""
    stores = [div.children[2] for div in panels]
    return [store.id for store in stores], [store.data for store in stores]


def test_a_result_is_shown_as_the_page_likes_it_with_what_the_layout_gave(huey: DurableHuey, make_panel: Any) -> None:
    double = huey.task()(lambda n: 2 * n)
    as_paragraph = make_panel(show=lambda value, unit: html.P(f"{value} {unit}"))
    look = as_paragraph.render(double(4).id, unit="apples")
    assert look.result.children == "8 apples" and look.seen["ended"]


def test_without_a_way_to_show_it_a_result_is_text(huey: DurableHuey, make_panel: Any) -> None:
    assert "8" in str(make_panel().render(huey.task()(lambda: 8)().id).result)


def test_a_result_that_cannot_be_shown_says_so_in_its_place(
    huey: DurableHuey, make_panel: Any, caplog: pytest.LogCaptureFixture
) -> None:
    look = make_panel(show=lambda value: value["missing"]).render(huey.task()(dict)().id)
    assert "The result cannot be shown" in str(look.result)
    assert "KeyError" in caplog.text


def test_the_traceback_stands_behind_a_failure(huey: DurableHuey, make_panel: Any) -> None:
    status = str(make_panel().render(huey.task()(lambda: 1 / 0)().id).status)
    assert "Failed: ZeroDivisionError" in status and "Traceback" in status and "Try again" in status


def test_a_job_that_has_not_ended_can_be_cancelled_and_then_tried_again(huey: DurableHuey, make_panel: Any) -> None:
    a_panel, job = make_panel(), huey.task()(lambda: 8).schedule(delay=60)
    assert "Cancel" in str(a_panel.render(job.id).status)
    assert a_panel.act(job.id, "cancel", "") is None
    assert "Try again" in str(a_panel.render(job.id).status)
    assert [a_panel.act(job.id, "retry", "") for _ in range(2)] == [None, None]
    assert job.state is State.SUCCEEDED and len(huey.jobs()) == 1


def test_a_successful_job_is_run_again_as_another_one_however_often_that_is_pressed(
    huey: DurableHuey, make_panel: Any
) -> None:
    double = huey.task()(lambda n: 2 * n)
    job, new = double.using(owner="ann")(4), str(uuid.uuid4())
    a_panel = make_panel(address="/double?job={id}")
    assert [a_panel.act(job.id, "again", new) for _ in range(2)] == [f"/double?job={new}"] * 2
    assert [(job.args, job.owner) for job in huey.jobs()] == [((4,), "ann")] * 2


def test_a_job_that_is_not_for_whoever_asks_is_as_one_that_is_not_there(huey: DurableHuey, make_panel: Any) -> None:
    def none(job_id: str) -> Job:
        raise JobNotFound(job_id)

    job = huey.task()(lambda: 8).schedule(delay=60)
    a_panel = make_panel(find=none)
    look = a_panel.render(job.id)
    assert "There is no job" in str(look.status) and look.result is None and look.seen["ended"]
    with pytest.raises(JobNotFound):
        a_panel.act(job.id, "cancel", "")
    assert job.state is State.SCHEDULED


def test_a_job_of_another_task_is_shown_without_its_result(huey: DurableHuey, make_panel: Any) -> None:
    mine, other = huey.task(name="mine")(lambda: 1), huey.task(name="other")(lambda: 2)
    look = make_panel(task=mine).render(other().id)
    assert "A job of the task other" in str(look.status) and look.result is None


def test_a_page_asks_once_for_each_job_that_goes_on_and_never_for_one_that_has_ended(
    huey: DurableHuey, make_panel: Any, statements: list[str]
) -> None:
    one, two = make_panel("one"), make_panel("two")
    task = huey.task()(lambda: 8)
    ended, goes_on = task(), task.schedule(delay=60)
    ids, seen = shown([one(ended.id), two(goes_on.id)])
    *_, seen, (pace,) = panel.refresh(None, ids, seen, [None])
    statements.clear()
    status, result, seen, (pace,) = panel.refresh(1, ids, seen, [pace])
    assert len(statements) == 1
    assert status[0] is no_update and result[0] is no_update and "Starts in" in str(status[1])

    assert two.act(goes_on.id, "cancel", "") is None
    *_, seen, (pace,) = panel.refresh(2, ids, seen, [pace])
    assert pace["every"] == 0
    statements.clear()
    panel.refresh(3, ids, seen, [pace])
    assert statements == []


def test_a_jobs_place_is_asked_for_while_it_is_queued(
    huey: DurableHuey, make_panel: Any, statements: list[str]
) -> None:
    huey.ledger.submit([NewJob(id=job_id, task="unknown", message=b"") for job_id in ("first", "second")])
    a_panel = make_panel()
    assert "In the queue, behind 1 other." in str(a_panel.render("second").status)
    statements.clear()
    a_panel.render("second")
    assert len(statements) == 2
    claim: dict[str, Any] = {"token": "t", "consumer": "c", "worker": "w", "lease_s": 60}
    assert huey.ledger.claim(ClaimRequest(tasks=["unknown"], **claim)) is not None
    statements.clear()
    assert "Running." in str(a_panel.render("first").status)
    assert len(statements) == 1
    assert "In the queue, the next." in str(a_panel.render("second").status)
    for job_id in ("first", "second"):
        huey.ledger.cancel(job_id)


def test_a_page_looks_less_often_while_nothing_changes(huey: DurableHuey, make_panel: Any) -> None:
    ids, seen = shown([make_panel()(huey.task()(lambda: 8).schedule(delay=60).id)])
    pauses, pace = [], None
    for tick in range(8):
        *_, seen, (pace,) = panel.refresh(tick, ids, seen, [pace])
        pauses.append(pace["every"])
    assert pauses[0] == LOOK_EVERY and pauses == sorted(pauses) and pauses[-1] == REST_AT_MOST
    huey.ledger.cancel(ids[0]["job"])


def test_two_panels_of_one_name_are_refused(make_panel: Any) -> None:
    make_panel("one")
    with pytest.raises(ValueError, match="There is a JobPanel named 'one' already"):
        make_panel("one")


def test_a_panel_without_a_job_is_empty(make_panel: Any) -> None:
    assert make_panel()(None).children is None
