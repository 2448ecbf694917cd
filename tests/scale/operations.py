"""All operations on a ledger, each with its preparation, on a queue of ten jobs."""

import math
import secrets
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from jobqueue import every
from jobqueue.dash import callback_updates as callbacks
from jobqueue.execution.current_job import ClaimedJob
from jobqueue.ledger.ledger import Ledger
from jobqueue.ledger.limits import ConcurrencyLimits
from jobqueue.ledger.records import ClaimRequest, NewJob, NewVersion, Outcome, Retry, error_result
from jobqueue.ledger.states import State
from jobqueue.schedules.timetable import Fire, Timetable
from tests.losing import mark_lost
from tests.scale.filling import ANN, BODY, MESSAGE, RARE

TASK = "app.jobs.now"
KNOWN = [TASK, RARE, *(f"app.jobs.task_{n}" for n in range(8))]
HOUR = 3600.0
SOME = 10  # jobs that a sweep finds

Before = Callable[[Ledger], Any]
Act = Callable[[Ledger, Any], object]


@dataclass(frozen=True)
class Operation:
    """An operation to measure. `act` is measured, and gets the result of `before`.

    of: The state of which the operation has to read all jobs.
    page: The operation lists jobs on a page.
    """

    name: str
    act: Act
    before: Before = field(default=lambda ledger: None)
    of: State | None = None
    page: bool = False


def new(**given: Any) -> NewJob:
    return NewJob(**({"id": secrets.token_hex(16), "task": TASK, "message": MESSAGE, "owner": ANN} | given))


def submitted(ledger: Ledger, **given: Any) -> str:
    job = new(**given)
    ledger.submit([job])
    return job.id


def claimed(ledger: Ledger, **given: Any) -> tuple[str, str]:
    """Make a running job. Return its id and the token of its claim."""
    job_id = submitted(ledger, **({"priority": 9} | given))  # so that it is claimed first
    request = claim_request()
    row = ledger.claim(request)
    assert row is not None and row["id"] == job_id
    return job_id, request.token


def followed(ledger: Ledger) -> tuple[str, str]:
    """Make a running job that another job waits for. Return its id and token."""
    after = submitted(ledger, pending=1)
    return claimed(ledger, follower=after)


def ended(ledger: Ledger, state: State) -> str:
    job_id, token = claimed(ledger)
    ledger.end(job_id, token, Outcome(state=state, error="no luck", result=error_result("no luck", job_id)))
    return job_id


def changed(column: str, value: float, make: Callable[[Ledger], str]) -> Before:
    """Return a function that makes some jobs and sets a column of each."""

    def do(ledger: Ledger) -> None:
        for job_id in [make(ledger) for _ in range(SOME)]:
            with ledger.database.statement() as tx:
                tx.run(f"UPDATE jobs SET {column} = :value WHERE id = :id", value=value, id=job_id)

    return do


CONSUMER = "this consumer"
SCHEDULE = "app.jobs.tick"
RESULT = ("application/json", BODY)
DATASET = "app.jobs.market.prices"
NEW_DATASET = "app.jobs.market.rates"
VERSION = NewVersion(
    name=DATASET, keep=3, as_of=None, rows=1, size=len(BODY), digest="d", media_type=RESULT[0], body=BODY
)
LONG_AGO = 1.0


def claim_request() -> ClaimRequest:
    return ClaimRequest(tasks=KNOWN, token=secrets.token_hex(16), consumer=CONSUMER, worker="worker", lease_s=HOUR)


def claim(ledger: Ledger, _: Any = None) -> Any:
    return ledger.claim(claim_request())


def end_and_claim(ledger: Ledger, held: tuple[str, str]) -> None:
    """End a job and claim the next, as a worker does."""
    outcome = Outcome(result=RESULT)
    if ledger.may_end_and_claim(outcome, KNOWN):
        assert ledger.end_and_claim(*held, outcome, claim_request())[0]
    else:
        ledger.end(*held, outcome)
        claim(ledger)


def within(caps: ConcurrencyLimits, act: Act) -> Act:
    def do(ledger: Ledger, given: Any) -> None:
        ledger.limits = caps
        try:
            act(ledger, given)
        finally:
            ledger.limits = ConcurrencyLimits()

    return do


def listed(**wanted: Any) -> Act:
    return lambda ledger, _: ledger.reading.jobs(**({"task": None, "state": None, "owner": None, "limit": 50} | wanted))


def finds(count: int, act: Act) -> Act:
    """Assert that the operation finds `count` jobs, because the cost of finding none would mean little."""

    def do(ledger: Ledger, given: Any) -> None:
        found = act(ledger, given)
        assert count == (len(found) if isinstance(found, list) else found)

    return do


def fire(before: bool) -> Act:
    """Return an operation that fires a schedule. With `before`, the previous run has not ended yet."""

    def do(ledger: Ledger, watermark: float) -> None:
        job = new()
        fired = Timetable(ledger).fire(
            SCHEDULE, watermark, watermark + 1, job, overlap="queue", made_up=False, moment="then"
        )
        assert fired is (Fire.QUEUED if before else Fire.FIRED)

    return do


def scheduled(run: Callable[[Ledger], str]) -> Before:
    """Return a function that makes a schedule with this last run, and returns its watermark."""

    def do(ledger: Ledger) -> float:
        Timetable(ledger).register({SCHEDULE: "every second"})
        with ledger.database.statement() as tx:
            tx.run("UPDATE schedules SET last_job = :job, paused_at = NULL", job=run(ledger))
        rows, _ = Timetable(ledger).watermarks([SCHEDULE])
        return float(rows[SCHEDULE]["watermark"])

    return do


def first_version(ledger: Ledger, _: Any) -> None:
    assert Timetable(ledger).make_first_version(NEW_DATASET, new(task=NEW_DATASET))


def unmade(ledger: Ledger) -> None:
    """A dataset without a version or a job."""
    Timetable(ledger).register({NEW_DATASET: "every hour"})
    with ledger.database.statement() as tx:
        tx.run("DELETE FROM jobs WHERE task = :task AND seq > 0", task=NEW_DATASET)


def update_writer(ledger: Ledger, held: tuple[str, str]) -> callbacks.UpdateWriter:
    return callbacks.UpdateWriter(ledger, ClaimedJob(ledger, *held, attempt=1, owner=None))


def updated(ledger: Ledger) -> str:
    """Make a callback's job with an update. Return its id."""
    held = claimed(ledger)
    update_writer(ledger, held).property("a", "b", "1", add=False)
    return held[0]


def answered(ledger: Ledger) -> None:
    callbacks.to_be_answered_by(ledger, "a question", ended(ledger, State.SUCCEEDED))


OPERATIONS = [
    Operation("submit", lambda ledger, _: ledger.submit([new()])),
    Operation("submit a pipeline", lambda ledger, _: ledger.submit([new(follower="next"), new(pending=1)])),
    Operation("submit many", lambda ledger, _: ledger.submit([new() for _ in range(SOME)])),
    Operation("submit a unique job", lambda ledger, _: ledger.submit([unique()])),
    Operation(
        "share a run", lambda ledger, job: ledger.submit([unique(job.unique_key)]), lambda ledger: shared(ledger)
    ),
    Operation(
        "take a recent result",
        lambda ledger, job: ledger.submit([unique(job.unique_key)]),
        lambda ledger: shared(ledger, State.SUCCEEDED),
    ),
    Operation("claim", claim),
    Operation(
        "claim nothing",
        lambda ledger, _: ledger.claim(ClaimRequest(tasks=["unknown"], token="t", consumer="c", worker="w", lease_s=1)),
    ),
    Operation(
        "claim in a queue",
        lambda ledger, _: ledger.claim(
            ClaimRequest(
                tasks=KNOWN,
                token="t",
                consumer="c",
                worker="w",
                lease_s=1,
                queues=["default", "heavy"],
                lately=["default"],
            )
        ),
    ),
    Operation("claim within a task's cap", within(ConcurrencyLimits(of_task={TASK: 1, KNOWN[-1]: 1}), claim), claimed),
    Operation("claim within a cap that has room", within(ConcurrencyLimits(of_task=dict.fromkeys(KNOWN, 1000)), claim)),
    # It costs a step for each waiting owner, and there are more owners if more jobs wait.
    Operation("claim within owners' caps", within(ConcurrencyLimits(per_owner=1000), claim), claimed, of=State.QUEUED),
    Operation("submit for an owner who waits", lambda ledger, _: ledger.submit([new(), new()]), submitted),
    Operation(
        "end of a job with a cap",
        within(ConcurrencyLimits(of_task={TASK: 1}), lambda ledger, held: ledger.end(held[0], held[1], Outcome())),
        claimed,
    ),
    Operation("any queued of other tasks", lambda ledger, _: ledger.reading.any_queued_but(KNOWN)),
    Operation("end", lambda ledger, held: ledger.end(held[0], held[1], Outcome()), claimed),
    Operation("end and claim", end_and_claim, claimed),
    Operation(
        "end with result, log and follower",
        lambda ledger, held: ledger.end(held[0], held[1], Outcome(result=RESULT, log="lines")),
        followed,
    ),
    Operation(
        "end with a version",
        lambda ledger, held: ledger.end(held[0], held[1], Outcome(version=VERSION)),
        claimed,
    ),
    Operation("newest version", lambda ledger, _: ledger.versions.newest(DATASET), lambda ledger: saved(ledger)),
    Operation("a version", lambda ledger, number: ledger.versions.get(DATASET, number), lambda ledger: saved(ledger)),
    Operation("kept versions", lambda ledger, _: ledger.versions.kept(DATASET), lambda ledger: saved(ledger)),
    Operation("last refresh", lambda ledger, _: ledger.versions.last_refresh(RARE)),
    Operation(
        "fail with a follower",
        lambda ledger, held: ledger.end(held[0], held[1], Outcome(state=State.FAILED, result=RESULT)),
        followed,
    ),
    Operation(
        "retry",
        lambda ledger, held: ledger.end(held[0], held[1], Outcome(retry=Retry(delay=HOUR, retries=1, retry_delay=1))),
        claimed,
    ),
    Operation(
        "progress", lambda ledger, held: ledger.attempts.save_progress(held[0], held[1], 3, 12, "fetching"), claimed
    ),
    Operation(
        "save a step", lambda ledger, held: ledger.attempts.save_step(held[0], held[1], "prices", RESULT), claimed
    ),
    Operation("names of steps", lambda ledger, held: ledger.attempts.step_names(held[0]), claimed),
    Operation("still held", lambda ledger, held: ledger.attempts.still_held(*held), claimed),
    Operation("held", lambda ledger, _: ledger.consumers.held_tokens(CONSUMER), claimed),
    Operation(
        "held by consumers", finds(1, lambda ledger, _: ledger.consumers.held_by([CONSUMER, "another"])), claimed
    ),
    Operation("heartbeat", lambda ledger, held: ledger.consumers.heartbeat(CONSUMER, [held[1]], HOUR), claimed),
    Operation("release one", lambda ledger, held: ledger.release_one(*held), claimed),
    Operation("release a worker's", finds(1, lambda ledger, _: ledger.release(CONSUMER, "worker")), claimed),
    Operation("release a consumer's", finds(1, lambda ledger, _: ledger.release(CONSUMER)), claimed),
    Operation(
        "release unheard claims",
        finds(
            1, lambda ledger, _: ledger.consumers.release_unheard(CONSUMER, ["worker"], ["another"], left_s=2 * HOUR)
        ),
        claimed,
    ),
    Operation("mark lost", lambda ledger, held: mark_lost(ledger, held[0], held[1], "worker"), claimed),
    Operation(
        "mark a worker's lost",
        finds(1, lambda ledger, _: ledger.consumers.mark_worker_lost(CONSUMER, "worker")),
        claimed,
    ),
    Operation("time out", lambda ledger, held: ledger.time_out(held[1]), claimed),
    Operation("promote nothing", finds(0, lambda ledger, _: ledger.housekeeping.promote())),
    Operation(
        "promote some",
        finds(SOME, lambda ledger, _: ledger.housekeeping.promote()),
        changed("run_at", LONG_AGO, lambda ledger: submitted(ledger, run_in=HOUR)),
    ),
    Operation("rescue nothing", finds(0, lambda ledger, _: ledger.housekeeping.rescue([]))),
    Operation(
        "rescue some",
        finds(SOME, lambda ledger, _: ledger.housekeeping.rescue([])),
        changed("lease_until", LONG_AGO, lambda ledger: claimed(ledger)[0]),
    ),
    Operation("fail nothing unknown", finds(0, lambda ledger, _: ledger.housekeeping.fail_unknown(HOUR))),
    Operation(
        "fail some unknown",
        finds(SOME, lambda ledger, _: ledger.housekeeping.fail_unknown(HOUR)),
        changed("queued_at", LONG_AGO, lambda ledger: submitted(ledger, task="unknown")),
    ),
    Operation("step back", lambda ledger, _: ledger.retention.step_back(sys.maxsize, 500)),
    Operation("prune nothing", lambda ledger, _: ledger.retention.prune_jobs(0, 500, math.inf, 0)),
    Operation(
        "prune some",
        finds(SOME, lambda ledger, last: ledger.retention.prune_jobs(last, SOME, math.inf, sys.maxsize)[1]),
        lambda ledger: some_ended(ledger),
    ),
    Operation("prune entries", lambda ledger, _: ledger.retention.prune_entries(500)),
    Operation("cancel", lambda ledger, job_id: ledger.cancel(job_id), submitted),
    Operation("cancel a running job", lambda ledger, held: ledger.cancel(held[0]), followed),
    Operation(
        "detach from a run", lambda ledger, job: ledger.cancel(job.handle), lambda ledger: shared(ledger, others=1)
    ),
    Operation("detach the last handle", lambda ledger, job: ledger.cancel(job.handle), lambda ledger: shared(ledger)),
    Operation("detach from an unshared job", lambda ledger, job_id: ledger.detach(job_id), submitted),
    Operation(
        "retry a shared run", lambda ledger, job: ledger.retry(job.handle), lambda ledger: shared(ledger, State.FAILED)
    ),
    Operation("reattach a handle", lambda ledger, job: ledger.retry(job.handle), lambda ledger: let_go(ledger)),
    Operation("job of a handle", lambda ledger, job: ledger.reading.job(job.handle), lambda ledger: shared(ledger)),
    Operation("retry a job", lambda ledger, job_id: ledger.retry(job_id), lambda ledger: ended(ledger, State.FAILED)),
    Operation(
        "retry a chord member",
        lambda ledger, job_id: ledger.retry(job_id),
        lambda ledger: failed_member(ledger),
    ),
    Operation("job", lambda ledger, job_id: ledger.reading.job(job_id), lambda ledger: ended(ledger, State.FAILED)),
    Operation("ahead", lambda ledger, job_id: ledger.reading.ahead(job_id, SOME), submitted),
    Operation(
        "history", lambda ledger, job_id: ledger.reading.history(job_id), lambda ledger: ended(ledger, State.FAILED)
    ),
    Operation(
        "arguments", lambda ledger, job_id: ledger.reading.message(job_id), lambda ledger: ended(ledger, State.FAILED)
    ),
    Operation("log", lambda ledger, job_id: ledger.reading.log(job_id), lambda ledger: ended(ledger, State.FAILED)),
    Operation("save a log", lambda ledger, held: ledger.attempts.save_log(held[0], held[1], "lines"), claimed),
    Operation(
        "end with result and log",
        lambda ledger, held: ledger.end(held[0], held[1], Outcome(result=RESULT, log="lines")),
        claimed,
    ),
    Operation(
        "result", lambda ledger, job_id: ledger.reading.result(job_id), lambda ledger: ended(ledger, State.FAILED)
    ),
    Operation(
        "ended", lambda ledger, job_id: ledger.reading.has_ended(job_id), lambda ledger: ended(ledger, State.FAILED)
    ),
    Operation(
        "members of a chord",
        finds(8, lambda ledger, job_id: ledger.reading.chord_members(job_id)),
        lambda ledger: chord(ledger),
    ),
    Operation("jobs", finds(50, listed()), page=True),
    Operation("jobs of a task", finds(50, listed(task=RARE)), page=True),
    Operation("jobs of an owner", finds(50, listed(owner=ANN)), page=True),
    *(Operation(f"{state} jobs", listed(state=state), page=True) for state in State),
    Operation("count queued jobs", lambda ledger, _: ledger.reading.count(State.QUEUED), of=State.QUEUED),
    Operation("count scheduled jobs", lambda ledger, _: ledger.reading.count(State.SCHEDULED), of=State.SCHEDULED),
    Operation("messages of queued jobs", lambda ledger, _: ledger.reading.messages(State.QUEUED, 10), of=State.QUEUED),
    Operation("ids of queued jobs", lambda ledger, _: ledger.reading.ids(State.QUEUED), of=State.QUEUED),
    Operation("put an entry", lambda ledger, _: ledger.entries.put("key", BODY)),
    Operation("peek at an entry", lambda ledger, _: ledger.entries.peek(["key"])),
    Operation(
        "pop an entry", lambda ledger, _: ledger.entries.pop("key"), lambda ledger: ledger.entries.put("key", BODY)
    ),
    Operation("take a lock", lambda ledger, held: ledger.entries.put_if_free(held[0], BODY, held[1], None), claimed),
    Operation(
        "take a lock that is held",
        lambda ledger, held: ledger.entries.put_if_free(held[0], BODY, "another", None),
        lambda ledger: locked(ledger),
    ),
    Operation("release a lock", lambda ledger, held: ledger.entries.release_lock(*held), lambda ledger: locked(ledger)),
    Operation(
        "delete a stale lock",
        lambda ledger, held: ledger.entries.delete_stale_lock(held[0]),
        lambda ledger: locked(ledger),
    ),
    Operation(
        "delete an entry",
        lambda ledger, _: ledger.entries.delete("key"),
        lambda ledger: ledger.entries.put("key", BODY),
    ),
    Operation("count up", lambda ledger, _: ledger.entries.add("key", 1)),
    Operation(
        "count up once", lambda ledger, held: ledger.entries.add_once("key", 1, held[1], b"an addition"), claimed
    ),
    Operation(
        "delete a counter",
        lambda ledger, _: ledger.entries.delete_counter("key"),
        lambda ledger: ledger.entries.add("key", 1),
    ),
    Operation("register", lambda ledger, _: ledger.consumers.register(secrets.token_hex(4), "host", 1, 4, KNOWN)),
    Operation("elect", lambda ledger, _: ledger.housekeeping.elect("somebody", may_rescue=True)),
    Operation("deregister", lambda ledger, _: ledger.consumers.deregister("nobody")),
    Operation("consumers", lambda ledger, _: ledger.consumers.all()),
    Operation("fire", fire(False), scheduled(lambda ledger: ended(ledger, State.SUCCEEDED))),
    Operation("fire behind another", fire(True), scheduled(submitted)),
    Operation("first version", first_version, unmade),
    Operation(
        "look at schedules",
        lambda ledger, _: (
            Timetable(ledger).watermarks([SCHEDULE]),
            Timetable(ledger).status({SCHEDULE: every("second")}),
        ),
    ),
    Operation("other live consumers", lambda ledger, _: Timetable(ledger).others_live(CONSUMER, HOUR)),
    Operation(
        "pause and resume", lambda ledger, _: (Timetable(ledger).pause(SCHEDULE), Timetable(ledger).resume(SCHEDULE))
    ),
    Operation(
        "drop a schedule",
        finds(1, lambda ledger, _: Timetable(ledger).drop([SCHEDULE, NEW_DATASET], CONSUMER, HOUR)),
        lambda ledger: Timetable(ledger).register({SCHEDULE: "every second", "of older code": "every second"}),
    ),
    Operation(
        "register schedules", lambda ledger, _: Timetable(ledger).register({SCHEDULE: f"every {secrets.token_hex(4)}"})
    ),
    Operation("callback snapshot", lambda ledger, job_id: callbacks.snapshot(ledger, job_id, 0), updated),
    Operation(
        "callback update", lambda ledger, held: update_writer(ledger, held).property("a", "b", "1", add=False), claimed
    ),
    Operation("find a callback answer", lambda ledger, _: callbacks.answered_by(ledger, "a question", HOUR), answered),
    Operation(
        "save a callback answer", lambda ledger, job_id: callbacks.to_be_answered_by(ledger, job_id, job_id), submitted
    ),
    Operation("reschedule", lambda ledger, held: ledger.replace(held[0], new(), keep_follower=True), followed),
    Operation("a step", lambda ledger, held: ledger.attempts.step(held[0], "prices"), lambda ledger: stepped(ledger)),
]


def unique(key: str | None = None) -> NewJob:
    key = secrets.token_hex(16) if key is None else key
    return new(handle=secrets.token_hex(16), unique_key=key, cache_for=HOUR)


FORCE_STATE = """
UPDATE jobs SET state = :state, ended_at = NOW WHERE id = (SELECT job_id FROM handles WHERE id = :handle)
"""


def shared(ledger: Ledger, state: State = State.QUEUED, others: int = 0) -> NewJob:
    """Make a handle and its run in this state, which `others` other handles share. Return the handle's job."""
    job = unique()
    ledger.submit([job, *(unique(job.unique_key) for _ in range(others))])
    with ledger.database.statement() as tx:
        tx.run(FORCE_STATE, state=state, handle=job.handle)
    return job


def let_go(ledger: Ledger) -> NewJob:
    job = shared(ledger, others=1)
    ledger.cancel(str(job.handle))
    return job


def some_ended(ledger: Ledger) -> int:
    """Make some ended jobs. Return the `seq` before theirs."""
    _, last = ledger.retention.step_back(sys.maxsize, 1)
    assert last is not None
    for _ in range(SOME):
        ended(ledger, State.FAILED)
    return last


def chord(ledger: Ledger) -> str:
    callback = submitted(ledger, pending=8, chord_size=8)
    ledger.submit([new(follower=callback, chord_index=n) for n in range(8)])
    return callback


def failed_member(ledger: Ledger) -> str:
    """Make a failed member of a chord that still waits for another member."""
    job_id, token = claimed(ledger, follower=submitted(ledger, pending=2, chord_size=2), chord_index=0)
    ledger.end(job_id, token, Outcome(state=State.FAILED))
    return job_id


def locked(ledger: Ledger) -> tuple[str, str]:
    held = claimed(ledger)
    ledger.entries.put_if_free(held[0], BODY, held[1], None)
    return held


def stepped(ledger: Ledger) -> tuple[str, str]:
    held = claimed(ledger)
    ledger.attempts.save_step(held[0], held[1], "prices", RESULT)
    return held


def saved(ledger: Ledger) -> int:
    """Save a version of the dataset. Return its number."""
    held = claimed(ledger)
    ledger.end(held[0], held[1], Outcome(version=VERSION))
    return ledger.versions.kept(DATASET)[-1]
