"""The commands, as a person types them."""

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator

import click
import pytest
from click.testing import CliRunner, Result
from huey.api import TaskWrapper

from jobqueue import DatabaseUnavailable, DurableHuey, current_job, every, logs
from jobqueue.accounts.cli import user_commands
from jobqueue.cli import commands
from jobqueue.reports.parameters import BadParameter
from jobqueue.reports.pdf import NoChromium
from jobqueue.settings import Settings
from tests.baking import KIT, TEMPLATE


@pytest.fixture
def queue() -> Iterator[DurableHuey]:
    """Yield a queue in memory that runs a job as it is submitted."""
    huey = DurableHuey("tests", secret_key="a key for tests", immediate=True)
    yield huey
    huey.storage.close()


@pytest.fixture
def greet(queue: DurableHuey) -> TaskWrapper:
    @queue.task()
    def greet(name: str, seconds: int = 2) -> str:
        for second in range(seconds):
            current_job().progress(second, seconds, f"thinking about {name}")
            logging.getLogger("greet").warning("still thinking")
        return f"Hello, {name}!"

    return greet


@pytest.fixture
def main(queue: DurableHuey, greet: TaskWrapper, monkeypatch: pytest.MonkeyPatch) -> click.Group:
    monkeypatch.setattr("jobqueue.accounts.users.SCRYPT", "scrypt:512:8:1")
    group = commands(queue, Settings(app_env="development"))
    group.add_command(user_commands(queue, "Tests"))
    return group


Run = Callable[..., Result]


@pytest.fixture
def run(main: click.Group) -> Run:
    def run(*arguments: str, input: str | None = None) -> Result:
        return CliRunner().invoke(main, arguments, input=input, prog_name="python -m app")

    return run


def test_an_empty_queue_says_so(run: Run) -> None:
    assert run("jobs", "list").output == "No jobs.\n"
    assert run("jobs", "list", "--state", "failed").output == "No job is failed.\n"


def test_jobs_are_listed_newest_first(run: Run, greet: TaskWrapper) -> None:
    first, second = greet("Ann"), greet("Ben")
    lines = run("jobs", "list").output.splitlines()
    assert [line.split()[0] for line in lines] == [second.id, first.id]
    assert "succeeded" in lines[0] and "greet" in lines[0]


def test_show_prints_the_error_of_a_failed_job_before_its_traceback(run: Run, greet: TaskWrapper) -> None:
    job = greet("Ann", seconds="many")
    output = run("jobs", "show", job.id).output
    assert output.startswith("greet is failed")
    sentence, traceback = output.index("TypeError: 'str' object"), output.index("Traceback (most recent call last)")
    assert sentence < traceback
    assert "'Ann', seconds='many'" in output


def test_show_prints_a_jobs_history(run: Run, greet: TaskWrapper) -> None:
    job = greet("Ann", seconds="many")
    run("jobs", "retry", job.id)
    output = run("jobs", "show", job.id).output
    at = output.index("history\n")
    for told in ("submitted", "claimed, attempt 1 by", "ended: failed. TypeError", "put back", "claimed, attempt 2 by"):
        at = output.index(told, at)
    assert "submitted" not in run("jobs", "show", job.id, "--lines", "3").output


def test_show_prints_what_a_job_logged(run: Run, greet: TaskWrapper) -> None:
    output = run("jobs", "show", greet("Ann", seconds=2).id).output
    assert output.count("1  WARNING  still thinking") == 2


def test_workers_lists_workers_or_says_how_to_start_one(run: Run, queue: DurableHuey) -> None:
    assert "python -m app worker" in run("workers").output
    queue.ledger.consumers.register("consumer", "a-host", 1, 1, [], version="abc123")
    worker = [{"name": "worker-1", "pid": 77, "age_s": 3 * 86400 + 5, "memory": 200 * 2**20}]
    queue.ledger.consumers.heartbeat("consumer", [], 15, json.dumps(worker), draining=True)
    (line,) = run("workers").output.splitlines()
    for told in ("a-host", "worker-1", "pid 77", "up 3 d 0:00:05", "200 MiB", "abc123", "idle, draining"):
        assert told in line


def test_retry_takes_failed_jobs_and_cancel_refuses_ended_ones(run: Run, greet: TaskWrapper) -> None:
    failed, done = greet("Ann", seconds="many"), greet("Ann")
    assert run("jobs", "retry", failed.id).output == "Queued again.\n"
    assert failed.get_job().attempt == 2
    refused = run("jobs", "retry", done.id)
    assert refused.exit_code == 1 and "this one is succeeded" in refused.output
    refused = run("jobs", "cancel", done.id)
    assert refused.exit_code == 1 and "already succeeded" in refused.output


def test_cancel_cancels_a_scheduled_job(run: Run, greet: TaskWrapper) -> None:
    job = greet.schedule(("Ann",), delay=3600)
    assert run("jobs", "cancel", job.id).output == "Cancelled.\n"
    assert job.state == "cancelled"


@pytest.mark.parametrize("command", ["show", "cancel", "retry"])
def test_an_unknown_id_is_refused_with_the_command_that_lists_jobs(run: Run, command: str) -> None:
    result = run("jobs", command, "no-such-id")
    assert result.exit_code == 1
    assert "No job has the id 'no-such-id'" in result.output and "jobs list" in result.output


def test_run_calls_the_task_without_the_queue(run: Run, queue: DurableHuey) -> None:
    result = run("jobs", "run", "greet", "name=Ann", "seconds=2")
    assert result.stdout == "Hello, Ann!\n"
    assert "1 of 2  thinking about Ann" in result.stderr
    assert queue.jobs() == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gret"], "There is no task 'gret'. Known tasks: greet."),
        (["greet"], "missing a required argument: 'name'. greet takes (name: str"),
        (["greet", "name=Ann", "loud=true"], "unexpected keyword argument 'loud'"),
        (["greet", "Ann"], "'Ann' is not of the form key=value"),
        (["greet", "name=Ann", "name=Ben"], "'name' is given twice"),
    ],
    ids=str,
)
def test_run_refuses_wrong_names_and_arguments_and_says_what_is_right(
    run: Run, arguments: list[str], message: str
) -> None:
    result = run("jobs", "run", *arguments)
    assert result.exit_code == 1
    assert message in result.output


@pytest.mark.parametrize("queues", ["heavy:0", "Heavy", "heavy:1"])
def test_worker_refuses_malformed_queues_in_a_sentence(run: Run, queues: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "configure", lambda *_: None)  # the logging of these tests stays as it is
    result = run("worker", "--workers", "2", "--queues", queues)
    assert result.exit_code == 1
    assert result.output.startswith("Error: ") and "Traceback" not in result.output


@pytest.mark.parametrize("option", ["--max-jobs", "--max-memory", "--workers"])
@pytest.mark.parametrize("value", ["0", "-1", "many"])
def test_worker_refuses_limits_that_are_no_numbers_above_zero(run: Run, option: str, value: str) -> None:
    result = run("worker", option, value)
    assert result.exit_code == 2
    assert f"Error: Invalid value for '{option}': " in result.output and "Traceback" not in result.output


@pytest.fixture
def refresh(queue: DurableHuey) -> Iterator[TaskWrapper]:
    task = queue.periodic_task(every("weekday at 18:00", tz="America/New_York"), name="refresh")(lambda: "fresh")
    yield task
    task.unregister()


@pytest.mark.usefixtures("refresh")
def test_schedules_are_listed_in_plain_english_with_their_next_due_times(run: Run) -> None:
    lines = run("schedules").output.splitlines()
    here = lines.index("refresh: every weekday at 18:00 (America/New_York)")
    assert lines[here + 1] == "    last    never"
    assert lines[here + 2].count(" 18:00:00 E") == 3


@pytest.mark.usefixtures("refresh")
def test_a_schedule_is_paused_and_resumed(run: Run) -> None:
    assert run("schedules", "pause", "refresh").output == "Paused.\n"
    assert run("schedules", "pause", "refresh").output == "It was already paused.\n"
    assert "    paused  since " in run("schedules").output
    assert run("schedules", "resume", "refresh").output == "Resumed.\n"
    assert "paused" not in run("schedules").output


def test_a_schedule_is_run_now(run: Run, refresh: TaskWrapper, queue: DurableHuey) -> None:
    output = run("schedules", "run", "refresh").output
    (job,) = queue.jobs(task=refresh)
    assert (output, job.state) == (f"Queued as job {job.id}.\n", "succeeded")


def test_an_unknown_schedule_is_refused_with_those_that_exist(run: Run) -> None:
    result = run("schedules", "pause", "refresh")
    assert result.exit_code == 1 and "No schedule has the name 'refresh'" in result.output


def test_a_phrase_is_tried_and_nothing_is_scheduled(run: Run, queue: DurableHuey) -> None:
    first, *dues = run(
        "schedules", "try", "last business day of the month at 17:00", "--holidays", "NYSE"
    ).output.splitlines()
    assert first == "every month on the last business day (NYSE) at 17:00 (UTC)"
    assert len(dues) == 5 and all(due.endswith(" 17:00 UTC") for due in dues)
    assert queue.schedules() == []
    result = run("schedules", "try", "wekday at 18:00")
    assert result.exit_code == 1
    assert "Error: 'wekday at 18:00' is not understood. Did you mean 'weekday at 18:00'?" in result.output


def test_datasets_are_listed_refreshed_and_run(run: Run, queue: DurableHuey) -> None:
    @queue.dataset(lambda moment: False, name="numbers", stale_after=0)
    def numbers() -> list[int]:
        return [1, 2]

    try:
        assert "numbers  no version yet\n" in run("datasets", "list").output
        assert run("datasets", "refresh", "numbers").output.strip() == queue.jobs()[0].id
        assert "numbers  version 1 as of " in (output := run("datasets", "list").output) and "2 rows, stale" in output
        assert run("jobs", "run", "numbers").stdout == "[1, 2]\n"
        assert "There is no dataset 'number'. Known datasets: numbers." in run("datasets", "refresh", "number").output
    finally:
        queue.datasets.pop(numbers.name)
        numbers.task.unregister()


PASSWORDS = "mountain river nine\nmountain river nine\n"


def test_users_are_added_listed_and_removed_and_their_passwords_set(run: Run) -> None:
    assert "users add NAME --admin" in run("users", "list").output
    assert "ann can log in now." in run("users", "add", "ann", "--admin", input=PASSWORDS).output
    made = run("users", "add", "ben", input="\n\n").output
    assert re.search(r"ben can log in with \S{20} for 72 hours", made)
    lines = run("users", "list").output.splitlines()
    assert ["admin" in line for line in lines] == [True, False]
    assert lines[1].endswith("ben, has a first password")
    assert "ben can log in now." in run("users", "passwd", "ben", input=PASSWORDS).output
    assert run("users", "remove", "ben").output == "Removed.\n"
    assert len(run("users", "list").output.splitlines()) == 1


def test_malformed_taken_and_unknown_names_are_refused_with_a_remedy(run: Run) -> None:
    run("users", "add", "ann", input=PASSWORDS)
    assert "There is already a user 'ann'" in run("users", "add", "ann", input=PASSWORDS).output
    assert "cannot be a user's name. Use up to 64 of a-z" in run("users", "add", "Ann!", input=PASSWORDS).output
    assert "There is no user 'ben'" in run("users", "passwd", "ben", input=PASSWORDS).output
    assert "There is no user 'ben'" in run("users", "remove", "ben").output


def test_a_password_is_asked_for_until_it_is_accepted(run: Run) -> None:
    told = run("users", "add", "ann", input=f"short\nshort\npassword123456789\npassword123456789\n{PASSWORDS}").output
    assert (
        "needs 15 to 1000 characters; this one has 5" in told
        and "commonly used password" in told
        and "ann can log in now." in told
    )


def test_doctor_says_what_fails_and_how_to_fix_it(run: Run) -> None:
    result = run("doctor")
    assert result.exit_code == 1
    assert "ok database" in result.output and "greet" in result.output
    assert "!! workers" in result.output and "python -m app worker" in result.output


def test_an_unavailable_database_is_reported_in_a_sentence(
    run: Run, queue: DurableHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(**_: object) -> None:
        raise DatabaseUnavailable("no route")

    monkeypatch.setattr(queue, "jobs", down)
    result = run("jobs", "list")
    assert result.exit_code == 1
    assert result.output.startswith("Error: The database does not answer: no route")


def test_check_says_that_the_app_can_start(run: Run, queue: DurableHuey) -> None:
    queue.immediate = False
    assert run("check").output == "The app can start. Tasks: 1.\n"


def test_the_apps_commands_import_neither_dash_nor_pandas() -> None:
    heavy = (
        "import app.__main__, sys; print(sorted({'dash', 'dask', 'pandas', 'numpy', 'skfolio'} & sys.modules.keys()))"
    )
    environment = os.environ | {"PYTHONPATH": str(KIT / "engine" / "src")}
    found = subprocess.run(
        [sys.executable, "-c", heavy], cwd=TEMPLATE, env=environment, capture_output=True, text=True, check=True
    )
    assert found.stdout == "[]\n"


def test_host_without_chromium_refuses_to_print_and_doctor_says_which_task_needs_it(
    run: Run, queue: DurableHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    hello_pdf = queue.page_report("/hello?job={job}", pdf=True)
    needs = "hello_pdf makes a PDF, which needs Chromium. Install it, set CHROMIUM, or remove pdf=True."
    try:
        monkeypatch.setenv("CHROMIUM", "/nowhere/chromium")
        assert needs in run("doctor").output
        with pytest.raises(NoChromium, match=re.escape(needs)):
            hello_pdf(job="7")
        monkeypatch.setenv("CHROMIUM", sys.executable)
        assert f"ok PDF: hello_pdf: {sys.executable}" in run("doctor").output
        for given, sentence in {"jbo": 'no parameter "jbo". It takes job.', "": 'needs the parameter "job".'}.items():
            with pytest.raises(BadParameter, match=sentence):
                hello_pdf(**({given: "7"} if given else {}))
        assert queue.jobs(task=hello_pdf) == []
    finally:
        hello_pdf.unregister()
