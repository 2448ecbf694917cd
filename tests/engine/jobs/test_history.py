"""The history of a job: each attempt, where it ran, and why it ended. test_transitions.py tests each event."""

from datetime import timedelta
from typing import Any

import pytest
from huey.api import chord

from jobqueue import DurableHuey, JobNotFound, State
from jobqueue.ledger.ledger import Ledger
from jobqueue.ledger.records import ClaimRequest, NewJob, Outcome
from jobqueue.ledger.sql import _EVENTS_KEPT
from jobqueue.text import EARLIER_TRACEBACK as TRACEBACK
from tests.engine.consumers import work

CLAIM: dict[str, Any] = {"token": "token", "consumer": "consumer", "worker": "worker-1", "lease_s": 60}


def names(huey: DurableHuey, job_id: str) -> list[str]:
    return [event.name for event in huey.history(job_id)]


def test_history_has_time_host_and_outcome_of_each_attempt(huey: DurableHuey) -> None:
    @huey.task(retries=1)
    def divide() -> None:
        raise ZeroDivisionError('line one\nline \u2028 "two"')

    handle = divide()
    task = huey.claim("consumer", "worker-1")
    assert task is not None
    huey.execute(task)
    work(huey, lambda: handle.state.ended)
    history = handle.history()
    told = [(event.name, event.attempt, event.state) for event in history]
    assert told == [
        ("submitted", 0, None),
        ("claimed", 1, None),
        ("retried", 1, None),
        ("claimed", 2, None),
        ("ended", 2, State.FAILED),
    ]
    _, claimed, retried, again, ended = history
    assert claimed.worker == retried.worker == "worker-1"
    assert ended.worker == again.worker != "worker-1"
    assert claimed.host == ended.host is not None
    assert retried.error == ended.error == 'ZeroDivisionError: line one\nline \u2028 "two"'
    assert "in divide" in retried.traceback and "ZeroDivisionError" in ended.traceback
    times = [event.at for event in history]
    assert times == sorted(times)
    look = handle.get_job()
    assert times[0] == look.created_at
    assert look.ended_at is not None
    assert abs(times[-1] - look.ended_at) < timedelta(milliseconds=5)


def test_following_job_has_its_own_history(huey: DurableHuey) -> None:
    @huey.task()
    def fail_once(seen: list[int] = []) -> int:  # noqa: B006
        seen.append(1)
        if len(seen) == 1:
            raise ValueError("not yet")
        return 1

    @huey.task()
    def after(value: int) -> int:
        return value

    first, last = huey.enqueue(fail_once.s().then(after))
    work(huey)
    assert names(huey, last.id) == ["submitted", "abandoned"]
    assert "not yet" in last.history()[-1].error
    first.retry()
    work(huey)
    assert names(huey, first.id) == ["submitted", "claimed", "ended", "put back", "claimed", "ended"]
    assert names(huey, last.id) == ["submitted", "abandoned", "put back", "released", "claimed", "ended"]


def test_chord_callback_is_released_once(huey: DurableHuey) -> None:
    @huey.task()
    def member() -> int:
        return 1

    @huey.task()
    def callback(values: list[int]) -> int:
        return sum(values)

    handle = huey.enqueue(chord([member.s() for _ in range(3)], callback.s()))
    work(huey)
    assert names(huey, handle.callback.id) == ["submitted", "released", "claimed", "ended"]


def test_reason_for_a_cancel_stays_in_the_history_after_a_retry(huey: DurableHuey) -> None:
    handle = huey.task(name="task")(lambda: 1)()
    new = handle.reschedule(delay=3600)
    handle.retry()
    assert names(huey, handle.id) == ["submitted", "cancelled", "put back"]
    assert new.id in handle.history()[1].error


def test_claim_without_an_answer_is_released(huey: DurableHuey) -> None:
    huey.ledger.submit([NewJob(id="job", task="task", message=b"")])
    huey.ledger.claim(ClaimRequest(tasks=["task"], **CLAIM))
    assert huey.ledger.consumers.release_unheard("consumer", ["worker-1"], ["another"], left_s=120) == ["job"]
    assert names(huey, "job") == ["submitted", "claimed", "given back"]
    assert huey.history("job")[-1].worker == "worker-1"


def test_long_history_keeps_the_newest_events(huey: DurableHuey) -> None:
    ledger: Ledger = huey.ledger
    ledger.submit([NewJob(id="job", task="task", message=b"")])
    with ledger.database.statement() as tx:  # as after hundreds of attempts
        tx.run("UPDATE jobs SET events = :events", events='["given back",1,1]\n' * (_EVENTS_KEPT // 10))
    ledger.claim(ClaimRequest(tasks=["task"], **CLAIM))
    trace = ("application/vnd.jobqueue.error+json", b'{"traceback": "%s the end"}' % (b"x" * 2 * TRACEBACK))
    ledger.end("job", "token", Outcome(state=State.FAILED, error="e", result=trace))
    row = ledger.reading.history("job")
    assert row is not None
    assert len(row["events"]) < _EVENTS_KEPT + 2 * TRACEBACK
    history = huey.history("job")
    assert [event.name for event in (history[0], *history[-3:])] == ["submitted", "given back", "claimed", "ended"]
    assert history[-1].traceback.endswith(" the end")
    assert len(history[-1].traceback) == TRACEBACK


def test_unknown_job_has_no_history(huey: DurableHuey) -> None:
    with pytest.raises(JobNotFound):
        huey.history("nobody")
