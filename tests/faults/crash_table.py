"""The table of crash points: scenarios, and the statements of their operations in order.

The crash points are before each statement and after the last one. `test_crash_points.py` kills processes there, and
asserts that the engine executes the statements of the table.
"""

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

from huey import chord, group

from jobqueue import DurableHuey, State
from tests.faults.crash_points import Place

Tasks = SimpleNamespace


def words(statements: str) -> tuple[str, ...]:
    return tuple(statements.split())


@dataclass(frozen=True)
class Scenario:
    """Jobs whose ids begin with a point's name, and their end, which a crash must not change."""

    submit: Callable[[Tasks, str, str], Any]  # takes the tasks, the point's name, a file for notes; returns jobs
    ends: dict[str, State]  # last state of each job, by the part of its id after the point's name
    notes: dict[str, int]  # notes of the jobs, and how often they appear without a crash
    once: tuple[str, ...] = ()  # notes that a crash must not repeat
    result: Any = None  # result of the last job that succeeds
    losses: int = 0  # losses without a crash
    versions: int = 0  # versions of the dataset that has the point's name


class Operation(NamedTuple):
    """An operation of a scenario: a method of the ledger, called once for each key. {} in a key is the point's name."""

    scenario: str
    method: str
    statements: tuple[str, ...]
    keys: tuple[str, ...] = ("{}",)
    before_it: tuple[Place, ...] = ()  # places to die at first, so that another attempt reaches this operation


def a_pipeline(tasks: Tasks, name: str, path: str) -> Any:
    return tasks.noted.s(path, "ran", 1, id=name).then(tasks.noted.s(path, "followed", id=f"{name} next"))


def a_nested_chord(tasks: Tasks, name: str, path: str) -> Any:
    inner = chord(
        [tasks.noted.s(path, "ran", i, id=f"{name} {i}") for i in (1, 2)],
        tasks.collect.s(path, id=f"{name} inner"),
    )
    return chord(
        [tasks.noted.s(path, "ran", 0, id=f"{name} 0"), inner], tasks.noted.s(path, "outer", id=f"{name} outer")
    )


def a_pipeline_that_fails(tasks: Tasks, name: str, path: str) -> Any:
    failing = tasks.fails.s(path, id=name).error(tasks.told, path)
    for place in ("second", "third"):
        failing.then(tasks.noted.s(path, place, id=f"{name} {place}"))
    return failing


def a_revoked_job(tasks: Tasks, name: str, path: str) -> Any:
    task = tasks.noted.s(path, "ran", id=name)
    tasks.noted.huey.revoke(task, revoke_once=True)
    return task


DONE, FAILED, CANCELLED = State.SUCCEEDED, State.FAILED, State.CANCELLED

SCENARIOS = {
    "pipeline": Scenario(
        a_pipeline, {"": DONE, " next": DONE}, {"ran": 1, "followed": 1}, once=("followed",), result=1
    ),
    "chord": Scenario(
        a_nested_chord,
        {" 0": DONE, " 1": DONE, " 2": DONE, " inner": DONE, " outer": DONE},
        {"ran": 3, "collected": 1, "outer": 1},
        result=[0, [1, 2]],
    ),
    "failure": Scenario(
        a_pipeline_that_fails,
        {"": FAILED, " second": CANCELLED, " third": CANCELLED},
        {"ran": 1, "told": 1},
        once=("told",),
    ),
    "retry at once": Scenario(
        lambda tasks, name, path: tasks.fails_once.s(path, id=name), {"": DONE}, {"ran": 2}, result="done"
    ),
    "retry after a pause": Scenario(
        lambda tasks, name, path: tasks.fails_once.s(path, retry_delay=0.05, id=name),
        {"": DONE},
        {"ran": 2},
        result="done",
    ),
    "saves": Scenario(
        lambda tasks, name, path: tasks.saves.s(path, name, id=name),
        {"": DONE},
        {"ran": 1, "stepped": 1, "locked": 1},
        result="done",
    ),
    "logs": Scenario(lambda tasks, name, path: tasks.logs.s(path, id=name), {"": DONE}, {"ran": 1}, result="done"),
    "version": Scenario(
        lambda tasks, name, path: tasks.makes_a_version.s(path, name, id=name), {"": DONE}, {"ran": 1}, versions=1
    ),
    "submits": Scenario(
        lambda tasks, name, path: tasks.submits_another.s(path, f"{name} child", id=name),
        {"": DONE, " child": DONE},
        {"ran": 1, "child": 1},
        once=("child",),
    ),
    "revoked": Scenario(a_revoked_job, {"": CANCELLED}, {}),
    "counts": Scenario(
        lambda tasks, name, path: tasks.counts.s(path, name, id=name), {"": DONE}, {"ran": 1}, result="done"
    ),
}

LOCK = "faults.lock.{}"
WITH_THE_LOCK = (Place("entries.release_lock", "before", "BEGIN"),)
WITH_A_STEP = (Place("attempts.save_step", "after", "SAVE_STEP"),)

IN_WORKERS = [
    Operation("pipeline", "claim", words("CLAIM")),
    Operation(
        "pipeline", "end", words("BEGIN END DELETE_ENTRY SAVE_RESULT COUNT_CHORD_MEMBER RELEASE_DEPENDENT COMMIT")
    ),
    Operation("pipeline", "reading.result", words("RESULT")),
    Operation(
        "chord",
        "end",
        words("BEGIN END DELETE_ENTRY SAVE_RESULT COUNT_CHORD_MEMBER RELEASE_DEPENDENT COMMIT"),
        keys=("{} 0", "{} 1", "{} 2", "{} inner"),
    ),
    Operation("chord", "end", words("BEGIN END DELETE_ENTRY SAVE_RESULT COMMIT"), keys=("{} outer",)),
    Operation("chord", "reading.chord_members", words("MEMBERS"), keys=("{} inner", "{} outer")),
    Operation(
        "failure",
        "end",
        words(
            "BEGIN END DELETE_ENTRY SAVE_RESULT INSERT CANCEL_DEPENDENT SAVE_RESULT CANCEL_DEPENDENT SAVE_RESULT COMMIT"
        ),
    ),
    Operation("retry at once", "end", words("BEGIN RETRY DELETE_ENTRY SAVE_RESULT COMMIT")),
    Operation("retry after a pause", "end", words("BEGIN RETRY DELETE_ENTRY SAVE_RESULT COMMIT")),
    Operation("saves", "attempts.save_step", words("SAVE_STEP")),
    Operation("saves", "attempts.save_progress", words("PROGRESS")),
    Operation("saves", "entries.put_if_free", words("BEGIN TAKE_NEW_KEY COMMIT"), keys=(LOCK,)),
    Operation(
        "saves",
        "entries.put_if_free",
        words("BEGIN TAKE_NEW_KEY LOCK_KEY TAKE_FREE_KEY COMMIT"),
        keys=(LOCK,),
        before_it=WITH_THE_LOCK,
    ),
    Operation("saves", "entries.release_lock", words("BEGIN LOCK_KEY RELEASE_LOCK COMMIT"), keys=(LOCK,)),
    Operation("saves", "attempts.step_names", words("STEP_NAMES"), before_it=WITH_A_STEP),
    Operation("saves", "attempts.step", words("STEP"), before_it=WITH_A_STEP),
    Operation("logs", "end", words("BEGIN END DELETE_ENTRY SAVE_RESULT SAVE_LOG_AT_END COMMIT")),
    Operation(
        "version",
        "end",
        words("BEGIN NEXT_VERSION SAVE_VERSION DELETE_VERSIONS END DELETE_ENTRY SAVE_RESULT COMMIT"),
    ),
    Operation("submits", "submit", words("INSERT"), keys=("{} child",)),
    Operation("revoked", "end", words("BEGIN END DELETE_ENTRY COMMIT")),
    Operation("counts", "entries.add_once", words("BEGIN NOTE_ADDITION ADD_TO_COUNTER COMMIT")),
]


# Statements of databases with one writer at a time, by method.
WITH_ONE_WRITER = {"claim": words("NEXT_FOR_ONE_WRITER CLAIM_FOR_ONE_WRITER")}


def with_many_writers(of: Operation) -> Operation:
    """Return the operation on Postgres, where one statement writes an end and its data, and may claim the next job."""
    if of.method != "end":
        return of
    if not {"RETRY", "INSERT", "NEXT_VERSION", "RELEASE_DEPENDENT", "CANCEL_DEPENDENT"} & set(of.statements):
        return of._replace(method="end_and_claim", statements=("END_AND_CLAIM",))
    first = next(i for i, name in enumerate(of.statements) if name in ("END", "RETRY"))
    rest = itertools.dropwhile(
        {"DELETE_ENTRY", "SAVE_RESULT", "SAVE_LOG_AT_END"}.__contains__, of.statements[first + 1 :]
    )
    return of._replace(statements=(*of.statements[:first], f"{of.statements[first]}_AND_SAVE", *rest))


# Operations of a main process for all consumers: method -> statements, for the work that the test prepares.
IN_MAIN_PROCESSES = {
    "consumers.register": words("BEGIN REGISTER_CONSUMER ADD_HOUSEKEEPING PRUNE_CONSUMERS COMMIT"),
    "consumers.heartbeat": words("BEGIN RENEW_LEASES TOUCH_CONSUMER COUNT_CONSUMERS COMMIT"),
    "consumers.release_unheard": words("RELEASE_UNHEARD"),
    "housekeeping.promote": words("ANY_DUE PROMOTE"),
    "housekeeping.rescue": words("LAPSED BEGIN LAPSED MARK_LOST MARK_LOST SAVE_RESULT CANCEL_DEPENDENT COMMIT"),
    "housekeeping.fail_unknown": words(
        "BEGIN KNOWN_TASKS QUEUED_TASKS UNKNOWN FAIL_UNKNOWN SAVE_RESULT CANCEL_DEPENDENT COMMIT"
    ),
    "register": words("BEGIN CLOCK REGISTER_SCHEDULE UPDATE_PHRASE REGISTER_SCHEDULE UPDATE_PHRASE COMMIT"),
    "make_first_version": words("BEGIN NEEDS_FIRST_VERSION INSERT MARK_FIRST_VERSION NOTE_LAST_FIRE COMMIT"),
    "watermarks": words("CLOCK WATERMARKS"),
    "others_live": words("LIVE_CONSUMERS"),
    "fire": words("BEGIN ADVANCE_WATERMARK ACTIVE_RUN INSERT MARK_FIRED SET_FOLLOWER NOTE_LAST_FIRE COMMIT"),
    "drop": words("SCHEDULE_NAMES LIVE_CONSUMERS DROP_SCHEDULES"),
}
# The same on databases with many writers at a time, where one of several consumers is elected.
IN_MAIN_PROCESSES_WITH_MANY_WRITERS = IN_MAIN_PROCESSES | {"housekeeping.elect": words("ELECT")}
# Operations of a main process for its own workers.
WITH_A_WORKER = {"consumers.held_tokens": words("HELD_BY_CONSUMER")}
WHEN_IT_STOPS = {
    "release": words("RELEASE_CONSUMER"),
    "consumers.deregister": words("BEGIN DEREGISTER_CONSUMER RESIGN COMMIT"),
}
WHEN_A_WORKER_DIES = {"consumers.mark_worker_lost": words("BEGIN HELD_BY_WORKER MARK_LOST COMMIT")}


@dataclass(frozen=True)
class Request:
    """A request of a web process: one operation on jobs whose ids begin with the point's name."""

    method: str
    statements: tuple[str, ...]
    ask: Callable[[DurableHuey, Tasks, str, str], Any]  # takes the queue, its tasks, the point's name, a file for notes
    ends: dict[str, State]  # last state of each job, by the part of its id after the point's name
    notes: dict[str, int]
    first: Callable[[DurableHuey, Tasks, str, str], Any] | None = None  # prepares the jobs
    key: str = "{}"
    result: Any = None  # result of the last job


def a_job(huey: DurableHuey, tasks: Tasks, name: str, path: str) -> None:
    huey.enqueue(tasks.noted.s(path, "ran", id=name))


def a_group(huey: DurableHuey, tasks: Tasks, name: str, path: str) -> None:
    huey.enqueue(group([tasks.noted.s(path, "ran", id=f"{name} {i}") for i in range(3)]))


def a_chord(huey: DurableHuey, tasks: Tasks, name: str, path: str) -> None:
    members = [tasks.noted.s(path, "ran", i, id=f"{name} {i}") for i in range(2)]
    huey.enqueue(chord(members, tasks.collect.s(path, id=f"{name} back")))


def a_pipeline_without_its_head(huey: DurableHuey, tasks: Tasks, name: str, path: str) -> None:
    huey.enqueue(a_pipeline(tasks, name, path))
    huey.job(name).cancel()


def a_chord_without_a_member(huey: DurableHuey, tasks: Tasks, name: str, path: str) -> None:
    a_chord(huey, tasks, name, path)
    huey.job(f"{name} 0").cancel()


def a_unique_job(huey: DurableHuey, tasks: Tasks, name: str, path: str, **options: Any) -> None:
    unique = tasks.noted.using(unique=name.removesuffix(" other"), **options)
    huey.enqueue(unique.s(path, "ran", id=name))


def another_unique_job(huey: DurableHuey, tasks: Tasks, name: str, path: str) -> None:
    a_unique_job(huey, tasks, f"{name} other", path)


def a_unique_job_that_succeeds(huey: DurableHuey, tasks: Tasks, name: str, path: str) -> None:
    another_unique_job(huey, tasks, name, path)
    with huey.ledger.database.statement() as tx:
        run = "SELECT job_id FROM handles WHERE id = :id"
        tx.run(f"UPDATE jobs SET state = 'succeeded', ended_at = NOW WHERE id = ({run})", id=f"{name} other")


def two_who_share_a_run(huey: DurableHuey, tasks: Tasks, name: str, path: str) -> None:
    a_unique_job(huey, tasks, name, path)
    another_unique_job(huey, tasks, name, path)


def two_of_whom_one_has_let_go(huey: DurableHuey, tasks: Tasks, name: str, path: str) -> None:
    two_who_share_a_run(huey, tasks, name, path)
    huey.job(name).cancel()


REQUESTS = {
    "submit a job": Request("submit", words("INSERT"), a_job, {"": DONE}, {"ran": 1}),
    "submit a pipeline": Request(
        "submit",
        words("BEGIN INSERT INSERT_EACH COMMIT"),
        lambda huey, tasks, name, path: huey.enqueue(a_pipeline(tasks, name, path)),
        {"": DONE, " next": DONE},
        {"ran": 1, "followed": 1},
        result=1,
    ),
    "submit a group": Request(
        "submit",
        words("BEGIN INSERT INSERT_EACH COMMIT"),
        a_group,
        {" 0": DONE, " 1": DONE, " 2": DONE},
        {"ran": 3},
        key="{} 0",
    ),
    "submit a chord": Request(
        "submit",
        words("BEGIN INSERT INSERT_EACH COMMIT"),
        a_chord,
        {" 0": DONE, " 1": DONE, " back": DONE},
        {"ran": 2, "collected": 1},
        key="{} back",
        result=[0, 1],
    ),
    "submit a nested chord": Request(
        "submit",
        words("BEGIN INSERT INSERT_EACH COMMIT"),
        lambda huey, tasks, name, path: huey.enqueue(a_nested_chord(tasks, name, path)),
        {" 0": DONE, " 1": DONE, " 2": DONE, " inner": DONE, " outer": DONE},
        {"ran": 3, "collected": 1, "outer": 1},
        key="{} outer",
        result=[0, [1, 2]],
    ),
    "cancel": Request(
        "cancel",
        words("BEGIN CANCEL CANCEL_DEPENDENT COMMIT"),
        lambda huey, tasks, name, path: huey.job(name).cancel(),
        {"": CANCELLED, " next": CANCELLED},
        {},
        first=lambda huey, tasks, name, path: huey.enqueue(a_pipeline(tasks, name, path)),
    ),
    "retry": Request(
        "retry",
        words(
            "BEGIN RUN_OF_HANDLE UNSUCCESSFUL_BEFORE RETRY_JOB DELETE_RESULT WAIT_AGAIN DELETE_RESULT WAIT_AGAIN COMMIT"
        ),
        lambda huey, tasks, name, path: huey.job(name).retry(),
        {"": DONE, " next": DONE},
        {"ran": 1, "followed": 1},
        first=a_pipeline_without_its_head,
        result=1,
    ),
    "retry a chord member": Request(
        "retry",
        words(
            "BEGIN RUN_OF_HANDLE UNSUCCESSFUL_BEFORE RETRY_JOB DELETE_RESULT AWAIT_ONE_MORE UNCOUNT_CHORD_MEMBER WAIT_AGAIN COMMIT"
        ),
        lambda huey, tasks, name, path: huey.job(f"{name} 0").retry(),
        {" 0": DONE, " 1": DONE, " back": DONE},
        {"ran": 2, "collected": 1},
        first=a_chord_without_a_member,
        key="{} 0",
        result=[0, 1],
    ),
    "submit a unique job": Request(
        "submit",
        words("BEGIN NEW_HANDLE INSERT COMMIT"),
        a_unique_job,
        {"": DONE},
        {"ran": 1},
    ),
    "share a run": Request(
        "submit",
        words("BEGIN NEW_HANDLE INSERT OPEN_RUN POINT_HANDLE_AT_RUN COMMIT"),
        a_unique_job,
        {" other": DONE, "": DONE},
        {"ran": 1},
        first=another_unique_job,
    ),
    "reuse a result": Request(
        "submit",
        words("BEGIN NEW_HANDLE INSERT RECENT_RUN DELETE_UNUSED_RUN POINT_HANDLE_AT_RUN COMMIT"),
        functools.partial(a_unique_job, cache_for=1000),
        {" other": DONE, "": DONE},
        {},
        first=a_unique_job_that_succeeds,
    ),
    "detach from a run": Request(
        "cancel",
        words("BEGIN CANCEL RUN_OF_HANDLE DETACH_HANDLE STILL_WANTED COMMIT"),
        lambda huey, tasks, name, path: huey.job(name).cancel(),
        {"": CANCELLED, " other": DONE},
        {"ran": 1},
        first=two_who_share_a_run,
    ),
    "detach the last handle": Request(
        "cancel",
        words("BEGIN CANCEL RUN_OF_HANDLE DETACH_HANDLE STILL_WANTED CANCEL COMMIT"),
        lambda huey, tasks, name, path: huey.job(name).cancel(),
        {"": CANCELLED},
        {},
        first=a_unique_job,
    ),
    "reattach to a run": Request(
        "retry",
        words("BEGIN RUN_OF_HANDLE REATTACH_HANDLE COMMIT"),
        lambda huey, tasks, name, path: huey.job(name).retry(),
        {" other": DONE, "": DONE},
        {"ran": 1},
        first=two_of_whom_one_has_let_go,
    ),
    "reschedule": Request(
        "replace",
        words("BEGIN CANCEL INSERT SET_FOLLOWER SET_FOLLOWER REPOINT_FOLLOWS COMMIT"),
        lambda huey, tasks, name, path: huey.job(name).reschedule(delay=0.05),
        {"": CANCELLED, " next": DONE},
        {"ran": 1, "followed": 1},
        first=lambda huey, tasks, name, path: huey.enqueue(a_pipeline(tasks, name, path)),
        result=1,
    ),
}

# Writes without a crash point, because they stand alone or belong to no job: claims within concurrency limits, Huey's
# entries, releases after a claim without an answer, logs so far, callback updates, pruning, and users' changes of
# schedules.
WITHOUT_A_CRASH_POINT = words(
    "CLAIM_WITHIN_CAPS CLAIM_WITHIN_CAPS_FOR_ONE_WRITER "
    "RELEASE_CLAIM RELEASE_WORKER PUT_ENTRY POP_ENTRY DELETE_STALE_LOCK END_ALONE DELETE_COUNTER FLUSH_RESULTS FLUSH_ENTRIES FLUSH_COUNTERS "
    "SAVE_LOG SAVE_CALLBACK_UPDATE FIND_ANSWER SAVE_ANSWER PRUNE PRUNE_RESULTS PRUNE_STEPS PRUNE_LOGS PRUNE_FILE_NAMES PRUNE_HANDLES "
    "PRUNE_UPDATES PRUNE_ANSWERS PRUNE_REVOCATIONS PRUNE_ENTRIES PAUSE_SCHEDULE RESUME_SCHEDULE"
)
