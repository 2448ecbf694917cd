"""A job keeps what happened to it: each attempt, where it ran, and why it ended. (test_transitions.py: each event.)"""

from datetime import timedelta
from typing import Any

import pytest
from huey.api import chord

from jobqueue import DurableHuey, JobNotFound, State
from jobqueue.ledger.ending import TRACEBACK
from jobqueue.ledger.ledger import Ledger
from jobqueue.ledger.records import ClaimRequest, NewJob, Outcome
from jobqueue.ledger.sql import _EVENTS_KEPT
from tests.engine.consumers import work

CLAIM: dict[str, Any] = {"token": "token", "consumer": "consumer", "worker": "worker-1", "lease_s": 60}


def names(huey: DurableHuey, job_id: str) -> list[str]:
    return [event.name for event in huey.history(job_id)]


def test_each_attempt_is_told_with_where_and_when_it_ran_and_why_it_ended(huey: DurableHuey) -> None:
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


def test_what_follows_a_job_keeps_its_own_part_of_the_story(huey: DurableHuey) -> None:
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


def test_a_chords_callback_is_released_once(huey: DurableHuey) -> None:
    @huey.task()
    def member() -> int:
        return 1

    @huey.task()
    def callback(values: list[int]) -> int:
        return sum(values)

    handle = huey.enqueue(chord([member.s() for _ in range(3)], callback.s()))
    work(huey)
    assert names(huey, handle.callback.id) == ["submitted", "released", "claimed", "ended"]


def test_a_reason_to_cancel_is_kept_though_the_job_is_tried_again(huey: DurableHuey) -> None:
    handle = huey.task(name="task")(lambda: 1)()
    new = handle.reschedule(delay=3600)
    handle.retry()
    assert names(huey, handle.id) == ["submitted", "cancelled", "put back"]
    assert new.id in handle.history()[1].error


def test_a_claim_that_was_never_heard_of_is_given_back(huey: DurableHuey) -> None:
    huey.ledger.submit([NewJob(id="job", task="task", message=b"")])
    huey.ledger.claim(ClaimRequest(tasks=["task"], **CLAIM))
    assert huey.ledger.consumers.release_unheard("consumer", ["worker-1"], ["another"], left_s=120) == ["job"]
    assert names(huey, "job") == ["submitted", "claimed", "given back"]
    assert huey.history("job")[-1].worker == "worker-1"


def test_of_a_long_history_the_newest_is_kept(huey: DurableHuey) -> None:
    ledger: Ledger = huey.ledger
    ledger.submit([NewJob(id="job", task="task", message=b"")])
    with ledger.database.statement() as tx:  # as hundreds of attempts would
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


def test_a_job_that_is_not_there_has_none(huey: DurableHuey) -> None:
    with pytest.raises(JobNotFound):
        huey.history("nobody")
