"""In each state, each event does what TRANSITIONS says. Where the table has no entry, the event changes nothing."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

import jobqueue
from jobqueue import State
from jobqueue.jobs.history import events
from jobqueue.ledger.ledger import Ledger
from jobqueue.ledger.records import ClaimRequest, FenceRefused, NewJob, Outcome, Retry
from jobqueue.ledger.states import TRANSITIONS
from tests import statements as sql
from tests.engine.conftest import HueyFactory
from tests.losing import mark_lost

TASK = "tests.task"
TOKEN = "the claim's token"
CLAIM: dict[str, Any] = {"token": TOKEN, "consumer": "consumer", "worker": "worker", "lease_s": 60}

TABLES = ["jobs", "results", "steps", "logs", "entries", "counters", "consumers"]


@dataclass(frozen=True)
class Event:
    """One way to cause an event, and the state that follows if TRANSITIONS allows it."""

    name: str
    do: Callable[[Ledger], object]
    to: State
    given: dict[str, Any] = field(default_factory=dict)  # columns of the job before the event

    @property
    def label(self) -> str:
        return f"{self.name} to {self.to}"


def end(state: State) -> Callable[[Ledger], None]:
    return lambda ledger: ledger.end("job", TOKEN, Outcome(state=state))


def retry(delay: float) -> Callable[[Ledger], None]:
    outcome = Outcome(error="no luck", retry=Retry(delay=delay, retries=1, retry_delay=delay))
    return lambda ledger: ledger.end("job", TOKEN, outcome)


def run(statement: str, **params: Any) -> Callable[[Ledger], None]:
    def do(ledger: Ledger) -> None:
        with ledger.database.transaction() as tx:
            tx.run(statement, id="job", **params)

    return do


LATER = 4e9  # seconds since the epoch: in 2096
FORMER = 1.0  # seconds since the epoch: in 1970

EVENTS = [
    Event("released", run(sql.RELEASE_DEPENDENT), State.QUEUED, {"pending": 1}),
    Event("released", run(sql.RELEASE_DEPENDENT), State.SCHEDULED, {"pending": 1, "run_at": LATER}),
    Event("abandoned", run(sql.CANCEL_DEPENDENT, error="the job before it failed"), State.CANCELLED),
    Event("cancelled", lambda ledger: ledger.cancel("job"), State.CANCELLED),
    Event("due", lambda ledger: ledger.housekeeping.promote(), State.QUEUED, {"run_at": FORMER}),
    Event(
        "claimed",
        lambda ledger: ledger.claim(ClaimRequest(tasks=[TASK], **(CLAIM | {"token": "another"}))),
        State.RUNNING,
    ),
    Event("ended", end(State.SUCCEEDED), State.SUCCEEDED),
    Event("ended", end(State.FAILED), State.FAILED),
    Event("ended", end(State.CANCELLED), State.CANCELLED),
    Event("retried", retry(60), State.SCHEDULED),
    Event("retried", retry(0), State.QUEUED),
    Event("lost", lambda ledger: mark_lost(ledger, "job", TOKEN, "worker"), State.QUEUED),
    Event("lost", lambda ledger: mark_lost(ledger, "job", TOKEN, "worker"), State.FAILED, {"losses": 2}),
    Event("lost", lambda ledger: ledger.consumers.mark_worker_lost("consumer", "worker"), State.QUEUED),
    Event("lost", lambda ledger: ledger.housekeeping.rescue([]), State.QUEUED, {"lease_until": FORMER}),
    Event("given back", lambda ledger: ledger.release("consumer"), State.QUEUED),
    Event("given back", lambda ledger: ledger.release("consumer", "worker"), State.QUEUED),
    Event("given back", lambda ledger: ledger.release_one("job", TOKEN), State.QUEUED),
    Event("unknown", lambda ledger: ledger.housekeeping.fail_unknown(60), State.FAILED, {"queued_at": FORMER}),
    Event("put back", lambda ledger: ledger.retry("job"), State.QUEUED),
    Event("put back", lambda ledger: ledger.retry("job"), State.WAITING, {"pending": 1}),
]


@pytest.fixture
def ledger(make_huey: HueyFactory) -> Ledger:
    return make_huey().ledger


def bring_to(ledger: Ledger, state: State, columns: dict[str, Any] | None = None) -> None:
    """Submit a job and bring it to a state by regular transitions, then set these columns."""
    columns_of: dict[State, dict[str, Any]] = {State.WAITING: {"pending": 1}, State.SCHEDULED: {"run_in": 3600.0}}
    ledger.submit([NewJob(id="job", task=TASK, message=b"", **columns_of.get(state, {}))])
    if state is State.RUNNING or state.ended:
        ledger.claim(ClaimRequest(tasks=[TASK], **CLAIM))
    if state.ended:
        ledger.end("job", TOKEN, Outcome(state=state))
    for column, value in (columns or {}).items():
        with ledger.database.transaction() as tx:
            tx.run(f"UPDATE jobs SET {column} = :value", value=value)
    assert state_of(ledger) is state


def state_of(ledger: Ledger) -> State:
    row = ledger.reading.result("job")
    assert row is not None
    return State(row["state"])


def history(ledger: Ledger) -> list[jobqueue.Event]:
    row = ledger.reading.history("job")
    assert row is not None
    return events(row)


def contents(ledger: Ledger) -> dict[str, list[dict[str, Any]]]:
    with ledger.database.transaction() as tx:
        return {table: [dict(row) for row in tx.all(f"SELECT * FROM {table}")] for table in TABLES}


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.label)
@pytest.mark.parametrize("state", State)
def test_an_event_changes_a_job_as_the_table_says_or_not_at_all(ledger: Ledger, state: State, event: Event) -> None:
    bring_to(ledger, state, event.given)
    before = contents(ledger)
    try:
        event.do(ledger)
    except FenceRefused:
        assert contents(ledger) == before
    if (state, event.name) in TRANSITIONS:
        assert event.to in TRANSITIONS[state, event.name]
        assert state_of(ledger) is event.to
        assert history(ledger)[-1].name == event.name
        return
    after = contents(ledger)
    if event.name == "released":  # `pending` is counted down in any state
        before["jobs"][0]["pending"] -= 1
    assert after == before


def test_every_event_and_every_state_of_the_table_is_tested_here() -> None:
    tried = {(event.name, event.to) for event in EVENTS}
    listed = {(name, state) for (_, name), states in TRANSITIONS.items() for state in states}
    assert tried == listed


def test_no_event_leads_out_of_success() -> None:
    assert not [event for state, event in TRANSITIONS if state is State.SUCCEEDED]


STALE = "a token of an earlier claim"
OTHER = NewJob(id="other", task=TASK, message=b"")

FENCED: dict[str, Callable[[Ledger], object]] = {
    "end": lambda ledger: ledger.end(
        "job", STALE, Outcome(result=("type", b"body"), log="late", submitted=[OTHER], deleted=["key"])
    ),
    "retry": lambda ledger: ledger.end("job", STALE, Outcome(retry=Retry(retries=1, retry_delay=1))),
    "progress": lambda ledger: ledger.attempts.save_progress("job", STALE, 1, 2, "late"),
    "log": lambda ledger: ledger.attempts.save_log("job", STALE, "late"),
    "step": lambda ledger: ledger.attempts.save_step("job", STALE, "name", ("type", b"body")),
    "mark lost": lambda ledger: mark_lost(ledger, "job", STALE, "worker"),
    "release": lambda ledger: ledger.release_one("job", STALE),
}


@pytest.mark.parametrize("write", FENCED)
@pytest.mark.parametrize("state", State)
def test_a_stale_token_changes_nothing_in_any_state(ledger: Ledger, state: State, write: str) -> None:
    ledger.entries.put("key", b"value")
    bring_to(ledger, state)
    before = contents(ledger)
    try:
        assert FENCED[write](ledger) is False
    except FenceRefused as refused:
        assert STALE in str(refused)
    assert contents(ledger) == before


def test_a_claim_counts_an_attempt_and_sets_a_token_and_a_lease(ledger: Ledger) -> None:
    bring_to(ledger, State.RUNNING)
    (job,) = contents(ledger)["jobs"]
    assert (job["attempt"], job["token"], job["consumer"], job["worker"]) == (1, TOKEN, "consumer", "worker")
    assert job["lease_until"] - job["claimed_at"] == pytest.approx(60, abs=1)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.label)
def test_a_job_that_is_not_running_has_neither_token_nor_lease(ledger: Ledger, event: Event) -> None:
    bring_to(ledger, State.RUNNING, event.given)
    try:
        event.do(ledger)
    except FenceRefused:
        return
    (job,) = contents(ledger)["jobs"]
    assert (job["token"] is None, job["lease_until"] is None) == (job["state"] != "running",) * 2
    assert (job["ended_at"] is not None) == State(job["state"]).ended


@pytest.mark.parametrize(
    "event", [event for event in EVENTS if event.name == "given back"], ids=["all", "of one worker", "one"]
)
def test_losses_and_releases_are_counted_separately(ledger: Ledger, event: Event) -> None:
    bring_to(ledger, State.RUNNING)
    event.do(ledger)
    ledger.claim(ClaimRequest(tasks=[TASK], **CLAIM))
    mark_lost(ledger, "job", TOKEN, "worker")
    (job,) = contents(ledger)["jobs"]
    assert (job["state"], job["returns"], job["losses"], job["attempt"]) == ("queued", 1, 1, 2)


def test_releasing_the_jobs_of_one_worker_leaves_those_of_others_alone(ledger: Ledger) -> None:
    bring_to(ledger, State.RUNNING)
    ledger.submit([OTHER])
    ledger.claim(ClaimRequest(tasks=[TASK], **(CLAIM | {"token": "next", "worker": "another"})))
    assert ledger.release("consumer", "worker") == ["job"]
    held = {job["id"]: (job["state"], job["returns"]) for job in contents(ledger)["jobs"]}
    assert held == {"job": ("queued", 1), "other": ("running", 0)}
    again = ledger.claim(ClaimRequest(tasks=[TASK], **CLAIM))
    assert again is not None
    assert again["id"] == "job"  # a released job keeps its place


def test_only_tasks_in_the_workers_code_are_claimed(ledger: Ledger) -> None:
    bring_to(ledger, State.QUEUED)
    assert ledger.claim(ClaimRequest(tasks=["tests.newer"], **CLAIM)) is None
    assert state_of(ledger) is State.QUEUED


def test_a_submit_is_all_or_nothing_and_ignores_a_job_whose_id_is_known(ledger: Ledger) -> None:
    bring_to(ledger, State.SUCCEEDED)
    before = contents(ledger)
    ledger.submit([NewJob(id="job", task="tests.something.else", message=b"x")])
    assert contents(ledger) == before
    with pytest.raises(Exception, match="(?i)not.null"):
        ledger.submit([OTHER, NewJob(id="broken", task=None, message=b"")])  # type: ignore[arg-type]
    assert contents(ledger) == before


def test_only_a_job_whose_lease_ran_out_is_rescued(ledger: Ledger) -> None:
    bring_to(ledger, State.RUNNING)
    assert ledger.housekeeping.rescue([]) == []
    ledger.consumers.heartbeat("consumer", ["another token"], -1)
    assert ledger.housekeeping.rescue([]) == []
    ledger.consumers.heartbeat("consumer", [TOKEN], -1)
    assert ledger.housekeeping.rescue([]) == ["job"]
    assert ledger.housekeeping.rescue([]) == []


def test_a_consumer_does_not_rescue_jobs_of_its_own_live_workers(ledger: Ledger) -> None:
    """A lease may run out although its worker lives, if a renewal takes longer than the lease."""
    ledger.submit([NewJob(id="job", task="task", message=b"")])
    ledger.claim(ClaimRequest(tasks=["task"], token="token", consumer="mine", worker="worker-1", lease_s=-1))
    assert ledger.housekeeping.rescue(["token"]) == []
    assert ledger.housekeeping.rescue(["another"]) == ["job"]


def test_a_job_waits_if_any_consumer_has_or_recently_had_its_task(ledger: Ledger) -> None:
    bring_to(ledger, State.QUEUED, {"queued_at": FORMER})
    ledger.consumers.register("newer", "host", 1, 1, ["tests.other", TASK])
    assert ledger.housekeeping.fail_unknown(60) == []
    ledger.consumers.deregister("newer")
    ledger.consumers.register("older", "host", 1, 1, ["tests.other"])
    assert (
        ledger.housekeeping.fail_unknown(60) == []
    )  # the time runs from the moment when the last consumer with the task stopped
    with ledger.database.statement() as tx:
        tx.run("UPDATE consumers SET seen_at = seen_at - 61 WHERE id = 'newer'")
    assert ledger.housekeeping.fail_unknown(60) == ["job"]
    job = ledger.reading.job("job")
    assert job is not None
    assert "No worker knew its task for 60 s" in job["error"]


def test_a_job_with_an_unknown_task_waits_until_its_time_is_over(ledger: Ledger) -> None:
    bring_to(ledger, State.QUEUED)
    assert ledger.housekeeping.fail_unknown(60) == []
    assert state_of(ledger) is State.QUEUED
