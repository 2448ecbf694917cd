"""Tests of upgrades: this code runs the jobs that an earlier version left in a ledger, and works beside that version.

The folder old_ledger holds the earlier version's ledger and source. Its make.py says how they were made.
"""

import json
import lzma
import select
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pandas as pd
import psycopg
import pytest
from huey.exceptions import TaskException

from jobqueue import DurableHuey, Job, State
from tests.engine.consumers import consumer_process, environment, wait_until
from tests.faults.old_ledger import make
from tests.faults.old_ledger.old_jobs import FOR_EVER, engine, open_ledger, prices_table, tasks_on
from tests.faults.old_ledger.processes import job_of
from tests.storages import STORAGES, Storage

PROCESSES = "tests.faults.old_ledger.processes"
ANSWERS_IN = 15.0  # seconds, the start of a web process included
ENDS_IN = 15.0  # seconds


class Entry(NamedTuple):
    """A job of the old ledger: its state there, its last state, and its result or a part of its error."""

    before: State
    after: State
    outcome: Any


JOBS = {
    # Ended under the old code.
    "sum": Entry(State.SUCCEEDED, State.SUCCEEDED, 3),
    "done-1": Entry(State.SUCCEEDED, State.SUCCEEDED, 1),
    "done-2": Entry(State.SUCCEEDED, State.SUCCEEDED, 3),
    "half-1": Entry(State.SUCCEEDED, State.SUCCEEDED, 1),
    "failed": Entry(State.FAILED, State.FAILED, "ValueError: on purpose"),
    "failed-1": Entry(State.FAILED, State.FAILED, "ValueError: on purpose"),
    "abandoned-2": Entry(State.CANCELLED, State.CANCELLED, "Not run: the job before it, failed-1, was failed."),
    "cancelled": Entry(State.CANCELLED, State.CANCELLED, "Cancelled."),
    # Interrupted: the worker was killed, the consumer was stopped, or a retry was due later.
    "killed": Entry(State.RUNNING, State.SUCCEEDED, [0, 1, 4]),
    "released": Entry(State.QUEUED, State.SUCCEEDED, [0, 1, 4]),
    "paused": Entry(State.SCHEDULED, State.SUCCEEDED, 2),
    # Not started.
    "queued": Entry(State.QUEUED, State.SUCCEEDED, 2),
    "urgent": Entry(State.QUEUED, State.SUCCEEDED, 4),
    "of-ann": Entry(State.QUEUED, State.SUCCEEDED, 6),
    "described": Entry(State.QUEUED, State.SUCCEEDED, [True, 1, "half", "old_jobs.prices", "claimed", "a line"]),
    "handled": Entry(State.QUEUED, State.FAILED, "on purpose"),
    "expired": Entry(State.QUEUED, State.FAILED, ""),
    "revoked": Entry(State.QUEUED, State.CANCELLED, ""),
    "delayed": Entry(State.SCHEDULED, State.SUCCEEDED, 8),
    "at-a-time": Entry(State.SCHEDULED, State.SUCCEEDED, 10),
    "pipeline-1": Entry(State.QUEUED, State.SUCCEEDED, 1),
    "pipeline-2": Entry(State.WAITING, State.SUCCEEDED, 3),
    "pipeline-3": Entry(State.WAITING, State.SUCCEEDED, 6),
    "member-1": Entry(State.QUEUED, State.SUCCEEDED, 1),
    "member-2": Entry(State.QUEUED, State.FAILED, "on purpose"),
    "callback": Entry(State.WAITING, State.SUCCEEDED, [1, "Error"]),
    "half-2": Entry(State.SCHEDULED, State.SUCCEEDED, 2),
    "half-callback": Entry(State.WAITING, State.SUCCEEDED, [1, 2]),
    # Handles of unique jobs: one run has ended and its result may be reused, another run is shared and has not started.
    "cached": Entry(State.SUCCEEDED, State.SUCCEEDED, "CACHED"),
    "shared-by-ann": Entry(State.QUEUED, State.SUCCEEDED, "SHARED"),
    "shared-by-bob": Entry(State.QUEUED, State.SUCCEEDED, "SHARED"),
}
# Results of the jobs that Web.submit submits.
SUBMITTED = {
    "first": 3,
    "second": 6,
    "chord": [1, "DataFrame"],
    "again": 2,
    "walk": [0, 1, 4],
    "ann's": 5,
    "prices": None,
    "describe": [True, 1, "half", "old_jobs.prices", "claimed", "a line"],
    "double": "42",  # as the Dash page reads it
    "tell": '"hello in attempt 1"',
}
# The tasks of these jobs, by the names that they note.
KINDS = {"add", "collect", "describe", "double", "fail", "fail_once", "prices", "step 0", "table", "tell"}


# --- the processes ---


class WebProcess:
    """A web process that answers one request at a time."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def ask(self, name: str, *arguments: Any) -> Any:
        """Call a method of `Web` in that process."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps([name, *arguments]) + "\n")
        self.process.stdin.flush()
        readable, _, _ = select.select([self.process.stdout], [], [], ANSWERS_IN)
        answer = self.process.stdout.readline() if readable else ""
        assert answer, f"The web process did not answer {name!r}. Its log says why."
        return json.loads(answer)


@contextmanager
def web_process(storage: Storage, log: Path, env: Mapping[str, str]) -> Iterator[WebProcess]:
    command = [sys.executable, "-m", PROCESSES, "web", json.dumps({"options": storage._asdict()})]
    with (
        log.open("ab") as errors,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=dict(env),
            cwd=log.parent,
        ) as process,
    ):
        try:
            yield WebProcess(process)
        finally:
            process.kill()


@contextmanager
def running_consumer(
    huey: DurableHuey, storage: Storage, log: Path, env: Mapping[str, str], workers: int
) -> Iterator[None]:
    """Run a consumer during the block. Its workers have registered on entry."""
    before = {worker.consumer for worker in huey.workers()}
    asked = json.dumps({"options": storage._asdict(), "workers": workers})
    with consumer_process(["-m", PROCESSES, "consumer", asked], log=log, env=env, cwd=log.parent):
        wait_until(lambda: {worker.consumer for worker in huey.workers()} - before)
        yield


@contextmanager
def shown_at_the_end(log: Path) -> Iterator[None]:
    """Print a log at the end, so that pytest shows it when a test fails."""
    try:
        yield
    finally:
        print(log.read_text()[-20_000:] if log.exists() else "")


def notes(path: Path) -> list[tuple[str, str, int, str]]:
    """Return the notes of the tasks: a name, job, attempt and engine each."""
    return [tuple(json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


def not_ended(huey: DurableHuey) -> list[str]:
    """Return the jobs that have not ended, by a single query."""
    return [f"{job.id} is {job.state}" for job in huey.jobs(limit=1000) if not job.state.ended]


def wait_until_all_have_ended(huey: DurableHuey) -> None:
    try:
        wait_until(lambda: not not_ended(huey), ENDS_IN)
    except TimeoutError as error:
        raise TimeoutError(f"These jobs did not end within {ENDS_IN:g} s: {not_ended(huey)}") from error


# --- the ledger of the old version ---


class Upgraded(NamedTuple):
    """An old ledger whose jobs have all ended under this code, with a running web process and consumer."""

    huey: DurableHuey
    tasks: SimpleNamespace
    web: WebProcess
    pages: dict[str, Any]  # the browsers' data about callbacks that they called under the old code
    before: dict[str, Job]  # the old jobs and handles, read before this code ran any
    polled: dict[str, Any]  # the answer to a poll for the killed callback, read at that time
    notes: Path


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def upgraded(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, shared: Path
) -> Iterator[Upgraded]:
    folder = tmp_path_factory.mktemp("upgraded")
    log, noted = folder / "processes.log", folder / "notes"
    env = environment(make.KIT, NOTES=str(noted))
    with ExitStack() as stack:
        storage = stack.enter_context(STORAGES[request.param](folder, shared, True))
        load(storage)
        stack.enter_context(shown_at_the_end(log))
        web = stack.enter_context(web_process(storage, log, env))
        huey = open_ledger(**storage._asdict())
        stack.callback(huey.storage.close)
        tasks = tasks_on(huey)
        pages = huey.get("pages", peek=True)
        before = {id: huey.get_job(id) for id in [*JOBS, *map(job_of, pages.values())]}
        polled = web.ask("poll", pages["killed"])
        huey.enqueue(tasks.share.using(unique=True).s("shared", id="shared-now"))
        stack.enter_context(running_consumer(huey, storage, log, env, workers=2))
        wait_until_all_have_ended(huey)
        yield Upgraded(huey, tasks, web, pages, before, polled, noted)


def load(storage: Storage) -> None:
    """Load the old ledger into an empty database."""
    if storage.database_url.startswith("sqlite:///"):
        path = Path(storage.database_url.removeprefix("sqlite:///"))
        path.parent.mkdir(parents=True)
        path.write_bytes(lzma.decompress(make.SQLITE.read_bytes()))
    else:
        with psycopg.connect(storage.database_url) as connection:
            connection.execute(make.POSTGRES.read_bytes())


@pytest.mark.parametrize("job_id", JOBS)
def test_old_job_is_read_in_its_state_and_ends(upgraded: Upgraded, job_id: str) -> None:
    expected, job = JOBS[job_id], upgraded.huey.get_job(job_id)
    assert upgraded.before[job_id].state is expected.before
    assert job.state is expected.after, job.error
    if expected.after is State.SUCCEEDED:
        assert upgraded.huey.job(job_id).get() == expected.outcome
        assert job.error == ""
    else:
        assert expected.outcome in job.error and job.error
    if "on purpose" in str(expected.outcome) and expected.after is State.FAILED:
        with pytest.raises(TaskException):
            upgraded.huey.job(job_id).get()


def test_no_old_job_runs_twice(upgraded: Upgraded) -> None:
    ran = Counter((name, job) for name, job, _, _ in notes(upgraded.notes))
    assert set(ran.values()) == {1}
    ended = {id for id, job in JOBS.items() if job.before.ended}
    assert not ended & {job for _, job in ran}


def test_old_result_that_is_a_dataframe_is_read_as_it_was(upgraded: Upgraded) -> None:
    pd.testing.assert_frame_equal(upgraded.huey.job("table").get(), prices_table(3))


def test_old_history_log_and_traceback_are_read(upgraded: Upgraded) -> None:
    huey = upgraded.huey
    submitted, claimed, ended = huey.history("sum")
    assert [submitted.name, claimed.name, ended.name] == ["submitted", "claimed", "ended"]
    assert (claimed.attempt, claimed.host, ended.host, ended.state) == (1, make.HOST, make.HOST, State.SUCCEEDED)
    assert submitted.at <= claimed.at <= ended.at
    assert [(line.level, line.logger, line.text) for line in huey.log("sum")] == [
        ("WARNING", "old_jobs", "adds 2 numbers")
    ]
    assert "in fail" in huey.get_job("failed").traceback and "on purpose" in huey.history("failed")[-1].traceback
    assert (huey.get_job("sum").args, huey.get_job("urgent").priority) == ((1, 2), 5)


@pytest.mark.parametrize(("job_id", "event"), [("killed", "lost"), ("released", "given back"), ("paused", "retried")])
def test_interrupted_job_continues_with_the_next_attempt(upgraded: Upgraded, job_id: str, event: str) -> None:
    job, history = upgraded.huey.get_job(job_id), upgraded.huey.history(job_id)
    assert (job.attempt, job.losses, job.returns) == (2, event == "lost", event == "given back")
    assert [(e.name, e.attempt) for e in history[:3]] == [("submitted", 0), ("claimed", 1), (event, 1)]
    assert history[1].host == make.HOST != history[-1].host
    assert (history[-1].attempt, history[-1].state) == (2, State.SUCCEEDED)


@pytest.mark.parametrize("job_id", ["killed", "released"])
def test_saved_steps_and_progress_of_an_interrupted_job_are_kept(upgraded: Upgraded, job_id: str) -> None:
    before = upgraded.before[job_id]
    assert (before.progress, before.has_steps) == ((2, 3, "step 1"), True)
    assert [name for name, job, _, _ in notes(upgraded.notes) if job == job_id] == ["step 2"]


def test_error_handler_is_called(upgraded: Upgraded) -> None:
    (handler,) = upgraded.huey.jobs("old_jobs.handle_error")
    assert upgraded.huey.job(handler.id).get() == "told"


def test_owner_sees_old_jobs(upgraded: Upgraded) -> None:
    assert {job.id for job in upgraded.huey.jobs(owner="ann")} == {"killed", "of-ann", "shared-by-ann"}


def test_new_submits_share_old_runs(upgraded: Upgraded) -> None:
    """Test that this code computes the same key for a unique job as the old code stored."""
    huey, tasks = upgraded.huey, upgraded.tasks
    assert huey.job("shared-now").get() == "SHARED"
    cached = huey.enqueue(tasks.share.using(cache_for=FOR_EVER).s("cached"))
    assert cached.get(blocking=True, timeout=5) == "CACHED"
    assert [name for name, *_ in notes(upgraded.notes)].count("share") == 1
    assert len(huey.jobs(tasks.share)) == 2


def test_dataset_keeps_old_versions_and_makes_up_the_refresh_that_was_missed(upgraded: Upgraded) -> None:
    prices = upgraded.tasks.prices

    def refreshes() -> list[Job]:
        return upgraded.huey.jobs("old_jobs.prices", limit=1000)

    for version in (1, 2):
        pd.testing.assert_frame_equal(prices.read(version), prices_table(version))
    (made_up,) = [job for job in refreshes() if job.made_up]
    assert made_up.due_at is not None and made_up.due_at < made_up.created_at
    # A minute that begins meanwhile adds another refresh.
    wait_until(lambda: prices.info().version == len(refreshes()) >= 3)
    assert {job.state for job in refreshes()} == {State.SUCCEEDED}
    pd.testing.assert_frame_equal(prices.read(3), prices_table(3))


def test_paused_schedule_stays_paused_until_it_is_resumed(upgraded: Upgraded) -> None:
    huey = upgraded.huey

    def beat() -> Any:
        (schedule,) = [schedule for schedule in huey.schedules() if schedule.short_name == "beat"]
        return schedule

    paused = beat()
    assert paused.paused_at is not None and huey.get_job(paused.last_job).due_at == paused.last_due
    assert huey.history(paused.last_job)[-1].host == make.HOST
    assert huey.resume_schedule("beat")
    wait_until(lambda: beat().last_job != paused.last_job)
    assert not huey.get_job(beat().last_job).made_up


def test_page_loaded_from_old_code_keeps_working(upgraded: Upgraded) -> None:
    """Test a browser that keeps the handles, tokens and numbers of the old web process."""
    web, pages, polled = upgraded.web, upgraded.pages, upgraded.polled
    assert polled["status"] == 200
    assert polled["progress"] == {"bar.value": 1, "bar.max": 2}
    assert polled["sideUpdate"] == {"beside": {"children": "attempt 1"}}
    assert "response" not in polled

    said = web.ask("poll", pages["killed"] | {"headers": {"Callback-Told": polled["told"]}})
    assert said["progress"] == {"bar.value": 2, "bar.max": 2}
    assert said["sideUpdate"] == {"beside": {"children": "attempt 2"}}
    assert said["response"] == {"tell": {"children": "hello in attempt 2"}}
    assert web.ask("reload", pages["killed"]) == {"id": "word", "property": "value", "value": "hello"}

    assert web.ask("poll", pages["ended"])["response"] == {"double": {"children": 42}}
    assert web.ask("poll", pages["queued"])["response"] == {"double": {"children": 8}}
    states = [upgraded.before[job_of(pages[name])].state for name in ("ended", "killed", "queued")]
    assert states == [State.SUCCEEDED, State.RUNNING, State.QUEUED]


# --- old and new processes together ---


@pytest.mark.empty_database
def test_old_and_new_processes_work_side_by_side(storage: Storage, tmp_path: Path) -> None:
    """Test a deploy: first both web processes submit to an old consumer, then consumers of both versions run."""
    log, noted = tmp_path / "processes.log", tmp_path / "notes"
    old_engine = make.unpack_engine(tmp_path / "old")
    old = make.environment_of(old_engine, NOTES=str(noted))
    new = environment(make.KIT, NOTES=str(noted))
    huey = open_ledger(**storage._asdict())
    submitted: dict[str, tuple[str, str]] = {}  # job -> the web process that submitted it, and its name there
    shares: list[str] = []

    def submit_to_both() -> None:
        for submitter, web in webs.items():
            submitted.update({job: (submitter, name) for name, job in web.ask("submit").items()})

    def combinations() -> set[tuple[str, str, str]]:
        """Return the web process, the consumer and the task of each job that ran."""
        return {
            (submitted[job][0], "old" if ran_in == str(old_engine) else "new", name)
            for name, job, _, ran_in in notes(noted)
            if job in submitted and name in KINDS
        }

    def every_combination(*consumers: str) -> set[tuple[str, str, str]]:
        return {(submitter, consumer, kind) for submitter in webs for consumer in consumers for kind in KINDS}

    def both_have_run_each_kind_of_both() -> bool:
        if not huey.jobs(state=State.QUEUED, limit=1):
            submit_to_both()
        return combinations() == every_combination("old", "new")

    with closing(huey.storage), shown_at_the_end(log), ExitStack() as processes:
        webs = {
            "old": processes.enter_context(web_process(storage, log, old)),
            "new": processes.enter_context(web_process(storage, log, new)),
        }
        # The old code creates the ledger and the new code migrates it. Both share a unique job, in either order.
        for first, second in (("old", "new"), ("new", "old")):
            shares += [webs[name].ask("share", f"{first} first") for name in (first, second)]
        pages = {name: web.ask("call", "double", "number", 21) for name, web in webs.items()}

        processes.enter_context(running_consumer(huey, storage, log, old, workers=1))
        submit_to_both()
        wait_until_all_have_ended(huey)
        assert combinations() == every_combination("old")

        processes.enter_context(running_consumer(huey, storage, log, new, workers=1))
        assert {worker.version for worker in huey.workers()} == {str(old_engine), engine()}
        with suppress(TimeoutError):  # the assertion shows the missing combinations
            wait_until(both_have_run_each_kind_of_both)
        assert combinations() == every_combination("old", "new")
        wait_until(lambda: len(huey.jobs("old_jobs.beat")) > 2)
        wait_until_all_have_ended(huey)

        # Each job ran once and gave the right result under either version.
        ran = Counter((name, job, attempt) for name, job, attempt, _ in notes(noted))
        assert set(ran.values()) == {1}
        assert {name for name, _, attempt in ran if attempt > 1} == {"fail_once"}
        assert [name for name, *_ in ran].count("share") == 2
        assert [huey.job(share).get() for share in shares] == ["OLD FIRST"] * 2 + ["NEW FIRST"] * 2
        for one, other in (("old", "new"), ("new", "old")):  # a page's requests may reach either web process
            assert webs[one].ask("poll", pages[other])["response"] == {"double": {"children": 42}}
        for job, (submitter, name) in submitted.items():
            if name == "failing":
                assert huey.get_job(job).state is State.FAILED
            elif name == "table":
                pd.testing.assert_frame_equal(huey.job(job).get(), prices_table(3))
            else:
                assert huey.job(job).get() == SUBMITTED[name], (submitter, name, huey.get_job(job).error)
        beats = huey.jobs("old_jobs.beat", limit=1000)
        assert len({beat.due_at for beat in beats}) == len(beats)
        wait_until(lambda: webs["old"].ask("prices") == webs["new"].ask("prices"))
