"""Tests in which a process dies between any two writes. No job is lost, and no write happens twice."""

import json
import os
import re
import signal
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from jobqueue import DurableHuey, State
from jobqueue.jobs.handle import JobHandle
from jobqueue.ledger.ledger import MAX_LOSSES
from jobqueue.ledger.records import ClaimRequest
from jobqueue.schedules.timetable import Timetable
from tests.engine.consumers import environment, wait_until
from tests.faults.conftest import KIT, StartConsumer, all_have_ended, is_sound
from tests.faults.crash_points import (
    A_JOB,
    ARMED,
    DIED,
    Act,
    Place,
    arm,
    armed,
    claimed_by_the_dead,
    named_statements,
    places,
    recorded,
)
from tests.faults.crash_table import (
    IN_MAIN_PROCESSES,
    IN_MAIN_PROCESSES_WITH_MANY_WRITERS,
    IN_WORKERS,
    REQUESTS,
    SCENARIOS,
    WHEN_A_WORKER_DIES,
    WHEN_IT_STOPS,
    WITH_A_WORKER,
    WITH_ONE_WRITER,
    WITHOUT_A_CRASH_POINT,
    Operation,
    Scenario,
    with_many_writers,
)
from tests.faults.fault_jobs import notes, table_on
from tests.losing import mark_lost
from tests.storages import Storage

ENDED = 40.0  # seconds within which all jobs end on a busy machine
LOST: Act = "loses the answer"
HASTY: dict[str, Any] = {"lease_s": 0.3, "renew_s": 0.1}  # there is no other consumer whose jobs it could rescue


class Point(NamedTuple):
    """A place of an operation, at which a process dies once for each of the operation's keys."""

    name: str  # prefix of its jobs' ids
    operation: Operation
    place: Place

    def arm(self, folder: Path) -> None:
        for key in self.operation.keys:
            for place in (*self.operation.before_it, self.place):
                arm(folder, place, self.key_of_a_claim if self.is_a_claim else key.format(self.name))

    @property
    def is_a_claim(self) -> bool:
        """Return whether the operation is a claim. Its job is not known before, so any worker dies."""
        return self.operation.method == "claim"

    @property
    def key_of_a_claim(self) -> str:
        return "" if self.place.when == "before" else A_JOB

    @property
    def losses(self) -> int:
        """Return the number of attempts that die with their worker. An attempt that was just claimed does not count."""
        if self.is_a_claim or (self.operation.method.startswith("end") and self.place.when == "after"):
            return 0
        return len(self.operation.keys) * (len(self.operation.before_it) + 1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of the crash points."""
    (tmp_path / "points").mkdir()
    return tmp_path / "points"


@pytest.fixture
def in_workers(huey: DurableHuey) -> list[Operation]:
    """Return the workers' operations on this database. With a single writer, a claim reads before it writes."""
    if not huey.ledger.database.dialect.one_writer:
        return list(map(with_many_writers, IN_WORKERS))
    return [of._replace(statements=WITH_ONE_WRITER.get(of.method, of.statements)) for of in IN_WORKERS]


def points(operations: Sequence[Operation]) -> list[Point]:
    return [
        Point(f"{number} {operation.scenario}: {place}", operation, place)
        for number, operation in enumerate(operations)
        for place in places(operation.method, operation.statements)
    ]


def test_worker_that_dies_between_any_two_statements_loses_no_job(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, folder: Path, in_workers: list[Operation]
) -> None:
    crashes = points(in_workers)
    jobs = {point.name: (SCENARIOS[point.operation.scenario], point.losses) for point in crashes}
    jobs |= {f"nobody dies: {name}": (scenario, 0) for name, scenario in SCENARIOS.items()}
    for name, (scenario, _) in jobs.items():
        huey.enqueue(scenario.submit(tasks, name, str(folder / f"{name}.txt")))
    for point in crashes:
        point.arm(folder)
    start(workers=2, crash_points=folder, max_losses=1000)
    wait_until(lambda: not armed(folder) and all_have_ended(huey), ENDED)
    claimed = Counter(claimed_by_the_dead(folder))
    assert claimed
    for name, (scenario, losses) in jobs.items():
        assert_the_promises(huey, folder, name, scenario, losses, claimed)
    assert len(huey.jobs(task=tasks.told, limit=1000)) == sum(
        scenario.once == ("told",) for scenario, _ in jobs.values()
    )
    assert is_sound(huey)
    assert_complete({(of.method, of.statements) for of in in_workers}, folder)


@pytest.mark.parametrize("storage", ["sqlite", "postgres"], indirect=True)
def test_every_write_of_a_worker_whose_answer_is_lost_happens_once(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, folder: Path, in_workers: list[Operation]
) -> None:
    lost = [
        Point(
            f"{number} {operation.scenario}: {operation.method}",
            operation,
            places(operation.method, operation.statements)[-1],
        )
        for number, operation in enumerate(in_workers)
        if not operation.before_it
    ]
    for point in lost:
        huey.enqueue(SCENARIOS[point.operation.scenario].submit(tasks, point.name, str(folder / f"{point.name}.txt")))
        for key in point.operation.keys:
            arm(folder, point.place, point.key_of_a_claim if point.is_a_claim else key.format(point.name), LOST)
    start(workers=2, crash_points=folder)
    wait_until(lambda: not armed(folder) and all_have_ended(huey), ENDED)
    for point in lost:
        scenario = SCENARIOS[point.operation.scenario]
        jobs = {added: huey.get_job(point.name + added) for added in scenario.ends}
        assert {added: job.state for added, job in jobs.items()} == scenario.ends, point.name
        assert sum(job.losses for job in jobs.values()) == scenario.losses, point.name
        assert Counter(word for word, *_ in notes(folder / f"{point.name}.txt")) == scenario.notes, point.name
        assert huey.ledger.versions.kept(point.name) == list(range(1, scenario.versions + 1)), point.name
        assert huey.storage.incr(point.name, 0) == (point.operation.scenario == "counts"), point.name
        succeeded = [added for added, state in scenario.ends.items() if state is State.SUCCEEDED]
        if succeeded:
            assert huey.result(point.name + succeeded[-1]) == scenario.result, point.name


def assert_the_promises(
    huey: DurableHuey, folder: Path, name: str, scenario: Scenario, losses: int, claimed: Counter[str]
) -> None:
    """Assert that a scenario's jobs ended as they should.

    claimed: How often each job was claimed by a worker that died before it began.
    """
    jobs = {added: huey.get_job(name + added) for added in scenario.ends}
    assert {added: job.state for added, job in jobs.items()} == scenario.ends, name
    not_begun = sum(claimed[name + added] for added in scenario.ends)
    assert sum(job.losses for job in jobs.values()) == max(losses, scenario.losses) + not_begun, name
    attempts = Counter(word for word, *_ in notes(folder / f"{name}.txt"))
    assert attempts.keys() == scenario.notes.keys(), name
    for word, times in scenario.notes.items():
        assert times <= attempts[word] <= times + (0 if word in scenario.once else losses), name
    succeeded = [added for added, state in scenario.ends.items() if state is State.SUCCEEDED]
    if succeeded:
        assert huey.result(name + succeeded[-1]) == scenario.result, name
    assert huey.ledger.versions.kept(name) == list(range(1, scenario.versions + 1)), name


def test_web_process_that_dies_between_any_two_statements_has_done_all_or_nothing(
    huey: DurableHuey, storage: Storage, start: StartConsumer, tasks: SimpleNamespace, folder: Path
) -> None:
    asked: list[tuple[str, Place | None]] = [(what, None) for what in REQUESTS]  # nobody dies
    for what, request in REQUESTS.items():
        asked += [(what, place) for place in places(request.method, request.statements)]
    names = [f"[{what}: {place}]" for what, place in asked]
    paths = [str(folder / f"{name}.txt") for name in names]
    for (what, place), name, path in zip(asked, names, paths, strict=True):
        request = REQUESTS[what]
        if request.first is not None:
            request.first(huey, tasks, name, path)
        if place is not None:
            arm(folder, place, request.key.format(name))
    before = [rows_of(huey, name) for name in names]

    requests = [(what, name, path) for (what, _), name, path in zip(asked, names, paths, strict=True)]
    options = {"storage": storage._asdict(), "crash_points": str(folder), "requests": requests}
    command = [sys.executable, "-m", "tests.faults.run_requests", json.dumps(options)]
    printed = subprocess.run(command, env=environment(KIT), cwd=folder, stdout=subprocess.PIPE, check=True).stdout
    assert [int(code) for code in printed.split()] == [0 if place is None else DIED for _, place in asked]

    for (what, place), name, path, rows in zip(asked, names, paths, before, strict=True):
        request = REQUESTS[what]
        nothing = place is not None and place.when == "before"
        assert (rows_of(huey, name) == rows) is nothing, name
        if nothing or request.method == "submit":  # a client without an answer repeats its request
            request.ask(huey, tasks, name, path)
        assert {str(row[0]).removeprefix(name) for row in rows_of(huey, name)} == request.ends.keys(), name

    start(workers=2)
    wait_until(lambda: all_have_ended(huey), ENDED)
    for (what, _), name, path in zip(asked, names, paths, strict=True):
        request = REQUESTS[what]
        jobs = {added: huey.get_job(name + added) for added in request.ends}
        assert {added: job.state for added, job in jobs.items()} == request.ends, name
        assert Counter(word for word, *_ in notes(Path(path))) == request.notes, name
        if State.SUCCEEDED in request.ends.values():
            assert huey.result(name + list(request.ends)[-1]) == request.result, name
    assert_complete({(request.method, request.statements) for request in REQUESTS.values()}, folder)


def rows_of(huey: DurableHuey, name: str) -> list[tuple[object, ...]]:
    """Return the rows of a request's jobs. A shared run has one row for each handle."""
    columns = ("asked", "state", "follower", "follows", "pending", "counted", "let_go_at")
    jobs = "SELECT jobs.*, COALESCE(handles.id, jobs.id) AS asked, let_go_at FROM jobs LEFT JOIN handles ON job_id = jobs.id"
    with huey.ledger.database.statement() as tx:
        rows = tx.all(f"SELECT * FROM ({jobs}) AS jobs WHERE asked LIKE :prefix ORDER BY asked", prefix=f"{name}%")
    return [tuple(row[column] for column in columns) for row in rows]


@pytest.mark.parametrize("act", [pytest.param("dies", marks=pytest.mark.long), LOST])
def test_main_process_that_dies_between_any_two_statements_or_loses_an_answer_does_each_duty_once(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, folder: Path, path: str, act: Act
) -> None:
    @huey.task()
    def unheard_of() -> None:
        """Do nothing. No consumer knows this task."""

    Timetable(huey.ledger).register({"of.older.code": "every hour"})
    due = tasks.noted.schedule((path, "due"), delay=0.01)
    lost = tasks.told(path, "nothing")
    poison, after_poison = huey.enqueue(tasks.undisturbed.s(0).then(tasks.noted, path, "never"))
    unknown, after_unknown = huey.enqueue(unheard_of.s().then(tasks.noted, path, "never"))
    claim_of_the_dead(huey, lost)
    for _ in range(MAX_LOSSES - 1):
        assert mark_lost(huey.ledger, poison.id, claim_of_the_dead(huey, poison), "a worker")
    claim_of_the_dead(huey, poison)

    one_writer = huey.ledger.database.dialect.one_writer
    duties = IN_MAIN_PROCESSES if one_writer else IN_MAIN_PROCESSES_WITH_MANY_WRITERS
    if act == "dies":
        arm_all(folder, duties)
    else:
        for method, statements in duties.items():
            arm(folder, places(method, statements)[-1], act=LOST)
    schedules: dict[str, Any] = {"schedules": {"tick": "second"}, "table": True}
    mortal = start(workers=0, crash_points=folder, unknown_after_s=3, **schedules, **HASTY)
    wait_until(lambda: not armed(folder), 2 * ENDED)
    looks = [handle.get_job() for handle in (due, lost, poison, after_poison, unknown, after_unknown)]
    states = [State.QUEUED, State.QUEUED, State.FAILED, State.CANCELLED, State.FAILED, State.CANCELLED]
    assert [job.state for job in looks] == states
    assert [job.losses for job in looks] == [0, 1, MAX_LOSSES, 0, 0, 0]
    assert "died 3 times" in looks[2].error
    assert "No worker knew its task" in looks[4].error
    if act == LOST:  # the consumer has not died
        assert len(huey.ledger.consumers.all()) == 1
    mortal.kill_all()

    start(workers=1, crash_points=folder, periodic=False, **schedules)
    wait_until(lambda: all_have_ended(huey), ENDED)
    (first,) = [job for job in huey.jobs(limit=1000) if job.name == "table"]
    assert [event.name for event in huey.history(first.id)][:2] == ["submitted", "first version"]
    assert table_on(huey).info().version == 1
    fires = [job for job in huey.jobs(limit=1000) if job.name == "tick"]
    assert {(job.state, job.attempt) for job in fires} == {(State.SUCCEEDED, 1)}
    assert len({job.due_at for job in fires}) == len(fires) > 2
    assert sorted(word for word, _ in notes(Path(path))) == ["due", "told"]
    assert_complete(set(duties.items()), folder)


def claim_of_the_dead(huey: DurableHuey, handle: JobHandle) -> str:
    """Claim a job as a worker that dies at once. Return the token, whose lease nobody renews."""
    token = uuid.uuid4().hex
    row = huey.ledger.claim(
        ClaimRequest(tasks=[handle.get_job().task], token=token, consumer="dead", worker="worker-1", lease_s=0)
    )
    assert row is not None and row["id"] == handle.id
    return token


def test_main_process_that_dies_requeues_the_job_of_its_worker_once(
    huey: DurableHuey, start: StartConsumer, tasks: SimpleNamespace, folder: Path, path: str, go: Path
) -> None:
    job = tasks.waits(path, str(go))
    arm_all(folder, WITH_A_WORKER)
    consumer = start(workers=1, periodic=False, crash_points=folder, max_losses=1000, grace_s=0.05, **HASTY)
    wait_until(lambda: not armed(folder), ENDED)
    deaths = [place for method, statements in WITH_A_WORKER.items() for place in places(method, statements)]
    for method, statements in WHEN_IT_STOPS.items():
        for place in places(method, statements):
            wait_until(lambda: job.get_job().attempt == len(deaths) + 1, ENDED)
            arm(folder, place)
            (main,) = consumer.worker_pids()  # the child of the process that starts it again
            os.kill(main, signal.SIGTERM)
            wait_until(lambda: not armed(folder), ENDED)
            deaths.append(place)
    wait_until(lambda: job.get_job().attempt == len(deaths) + 1, ENDED)
    go.touch()
    assert job.get(blocking=True, timeout=ENDED) == len(deaths) + 1
    given_back = sum(
        place.method == "consumers.deregister" or place == Place("release", "after", "RELEASE_CONSUMER")
        for place in deaths
    )
    look = job.get_job()
    assert (look.returns, look.losses) == (given_back, len(deaths) - given_back)

    arm_all(folder, WHEN_A_WORKER_DIES)
    dying = tasks.dies_while(path, str(folder / ARMED), "consumers.mark_worker_lost")
    wait_until(lambda: dying.state.ended, ENDED)
    assert not armed(folder)
    look = dying.get_job()
    assert (look.state, look.losses) == (State.SUCCEEDED, sum(len(places(*of)) for of in WHEN_A_WORKER_DIES.items()))
    assert_complete(set((WITH_A_WORKER | WHEN_IT_STOPS | WHEN_A_WORKER_DIES).items()), folder)


def arm_all(folder: Path, operations: dict[str, tuple[str, ...]]) -> None:
    for method, statements in operations.items():
        for place in places(method, statements):
            arm(folder, place)


def assert_complete(known: set[tuple[str, tuple[str, ...]]], folder: Path) -> None:
    """Assert that the table contains all executed statements. An operation with other statements needs an entry there.

    known: Methods and their statements.
    """
    executed = {(method, statements) for method, _, statements in recorded(folder)}
    assert known - executed == set()
    names = {method: {name for of, executed in known if of == method for name in executed} for method, _ in known}
    assert {(method, more) for method, more in executed if not names.get(method, set(more)).issuperset(more)} == set()


def test_every_statement_that_writes_is_a_crash_point() -> None:
    writes = {
        name for name, sql in named_statements().items() if re.search(r"^(INSERT|UPDATE|DELETE)", sql, re.MULTILINE)
    }
    main = WITH_ONE_WRITER | IN_MAIN_PROCESSES_WITH_MANY_WRITERS | WITH_A_WORKER | WHEN_IT_STOPS | WHEN_A_WORKER_DIES
    workers = [*IN_WORKERS, *map(with_many_writers, IN_WORKERS)]
    tabled = [*(of.statements for of in workers), *(of.statements for of in REQUESTS.values()), *main.values()]
    assert writes - {name for executed in tabled for name in executed} == set(WITHOUT_A_CRASH_POINT)
