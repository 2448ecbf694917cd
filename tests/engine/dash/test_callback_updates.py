"""Updates of a background callback: each page gets each once and in order, and only the current claim writes them."""

import json
import math
import pickle
import sys
from pathlib import Path

import pytest

from jobqueue import ClaimLost, DurableHuey, State
from jobqueue.dash import callback_updates as callbacks
from jobqueue.dash.callback_updates import CallbackSnapshot, Concealed, UpdateWriter
from jobqueue.execution.attempt import Attempt
from tests.losing import mark_lost


@pytest.fixture
def claim(huey: DurableHuey) -> Attempt:
    @huey.task(name="callback")
    def callback() -> str:
        return json.dumps(None)

    callback()
    task = huey.dequeue()
    assert task is not None
    claim: Attempt = task.attempt
    return claim


def test_a_page_gets_each_update_once(huey: DurableHuey, claim: Attempt) -> None:
    writer = UpdateWriter(huey.ledger, claim.job)
    writer.property("a", "children", '"one"', add=False)
    writer.property("b", "data", '{"__dash_patch_update": "", "operations": [1]}', add=True)
    first = callbacks.snapshot(huey.ledger, claim.id, 0)
    assert first.properties == {
        "a": {"children": "one"},
        "b": {"data": {"__dash_patch_update": "", "operations": [1]}},
    }

    writer.property("b", "data", '{"__dash_patch_update": "", "operations": [2]}', add=True)
    writer.property("a", "children", '"two"', add=False)
    writer.progress("[1]")
    writer.close()
    then = callbacks.snapshot(huey.ledger, claim.id, first.told)
    assert then.properties["a"] == {"children": "two"}
    assert then.properties["b"]["data"]["operations"] == [2]
    assert then.progress == [1]
    assert callbacks.snapshot(huey.ledger, claim.id, then.told) == CallbackSnapshot(State.RUNNING, told=then.told)
    assert callbacks.snapshot(huey.ledger, claim.id, 0).properties["b"]["data"]["operations"] == [1, 2]


def test_the_next_attempt_continues_the_numbers(huey: DurableHuey, claim: Attempt) -> None:
    UpdateWriter(huey.ledger, claim.job).property("a", "children", "1", add=False)
    told = callbacks.snapshot(huey.ledger, claim.id, 0).told
    mark_lost(huey.ledger, claim.id, claim.token, "worker")
    task = huey.dequeue()
    assert task is not None
    UpdateWriter(huey.ledger, task.attempt.job).property("a", "children", "2", add=False)
    assert callbacks.snapshot(huey.ledger, claim.id, told).properties == {"a": {"children": 2}}


def test_an_attempt_without_its_claim_writes_no_update(huey: DurableHuey, claim: Attempt) -> None:
    writer = UpdateWriter(huey.ledger, claim.job)
    huey.ledger.cancel(claim.id)
    with pytest.raises(ClaimLost):
        writer.property("a", "children", "1", add=False)
    with pytest.raises(ClaimLost):
        writer.progress("[1]")
    assert callbacks.snapshot(huey.ledger, claim.id, 0) == CallbackSnapshot(State.CANCELLED)


def test_quick_progress_is_written_as_its_last_value(huey: DurableHuey, claim: Attempt) -> None:
    writer = UpdateWriter(huey.ledger, claim.job)
    for done in range(1000):
        writer.progress(f"[{done}]")
    writer.close()
    assert callbacks.snapshot(huey.ledger, claim.id, 0).progress == [999]


def test_a_successful_job_answers_a_question_until_it_expires(huey: DurableHuey, claim: Attempt) -> None:
    callbacks.to_be_answered_by(huey.ledger, "how much", claim.id)
    assert callbacks.answered_by(huey.ledger, "how much", None) is None
    huey.execute(claim.task)
    assert callbacks.answered_by(huey.ledger, "how much", None) == claim.id
    assert callbacks.answered_by(huey.ledger, "how many", None) is None
    assert callbacks.answered_by(huey.ledger, "how much", 60) == claim.id
    assert callbacks.answered_by(huey.ledger, "how much", 0) is None
    assert callbacks.snapshot(huey.ledger, claim.id, 0) == CallbackSnapshot(State.SUCCEEDED, answered=True, answer=None)


def test_a_concealed_argument_shows_its_value_only_when_revealed() -> None:
    concealed = Concealed({"cookie": "secret"})
    assert "secret" not in f"{concealed} {concealed!r}"
    assert concealed.reveal() == {"cookie": "secret"}


def test_a_concealed_argument_is_stored_under_the_path_of_the_last_version() -> None:
    """Stored messages name jobqueue.callbacks.Concealed, and workers of the last version know no other path."""
    stored = pickle.dumps(Concealed("secret"))
    assert b"jobqueue.callbacks" in stored and b"jobqueue.dash" not in stored
    old = (
        b"cjobqueue.callbacks\nConcealed\n)\x81}\x8c\x08_pickledC"
        + bytes([len(inner := pickle.dumps("x"))])
        + inner
        + b"sb."
    )
    for message in (stored, old):
        revealed = pickle.loads(message)
        assert type(revealed) is Concealed
    assert revealed.reveal() == "x"


def test_a_jobs_updates_are_deleted_with_it(huey: DurableHuey, claim: Attempt) -> None:
    UpdateWriter(huey.ledger, claim.job).property("a", "children", "1", add=False)
    callbacks.to_be_answered_by(huey.ledger, "how much", claim.id)
    huey.execute(claim.task)
    huey.ledger.retention.prune_jobs(0, 10, math.inf, sys.maxsize)
    assert callbacks.snapshot(huey.ledger, claim.id, 0) == CallbackSnapshot(None)
    with huey.ledger.database.statement() as tx:
        assert tx.all("SELECT job_id FROM callback_updates UNION SELECT job_id FROM callback_answers") == []


@pytest.mark.parametrize(("named", "page"), [("with_none", "callback()"), ("with_one", "callback(background = True)")])
def test_a_worker_imports_the_app_if_a_page_has_a_background_callback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, page: str
) -> None:
    package = tmp_path / named
    (package / "pages").mkdir(parents=True)
    for file, text in {
        "__init__.py": "",
        "web.py": "from jobqueue.dash import HueyManager",
        "pages/page.py": page,
    }.items():
        (package / file).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    DurableHuey(named, "sqlite://", dash_app=f"{named}.web", secret_key="a key for tests").discover()
    assert (f"{named}.web" in sys.modules) is (named == "with_one")
