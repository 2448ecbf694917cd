"""One command for all there is to do around the app: `python -m app`, or the app's own name once it is installed.

Nothing here imports Dash or pandas, so that a look at the queue is quick.
"""

import inspect
import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click
from huey.api import TaskWrapper
from jobqueue import (
    DatabaseUnavailable,
    Dataset,
    Event,
    Job,
    JobHandle,
    JobNotFound,
    ScheduleNotFound,
    State,
    Unreadable,
)
from jobqueue.execution.current_job import CurrentJob, working_for

from app import users
from app.jobs import huey
from app.settings import settings

NEWEST = 20  # events of a job's history, and of its log lines, that are shown unless more are asked for

T = TypeVar("T")


class Command(click.Group):
    """Says in a sentence when the database does not answer."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except DatabaseUnavailable as error:
            raise click.ClickException(f"The database does not answer: {error}\nSee: python -m app doctor") from error


@click.group(cls=Command)
def main() -> None:
    """Run the worker, look after jobs and schedules, and see whether all is well."""


# --- worker ---


@main.command()
@click.option(
    "--workers", default=settings.workers, show_default=True, type=click.IntRange(min=1), help="Jobs at a time."
)
@click.option(
    "--queues",
    default=settings.queues,
    metavar="NAME[:N],...",
    help="Only jobs of these; NAME:N by N of the workers at most.  [default: every queue]",
)
@click.option("--no-periodic", is_flag=True, help="Leave what is due by a schedule to other workers.")
def worker(workers: int, queues: str | None, no_periodic: bool) -> None:
    """Run jobs until told to stop (Ctrl-C or SIGTERM lets running jobs end first)."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it announces each of its plug-ins
    try:
        consumer = huey.create_consumer(workers=workers, queues=queues, periodic=not no_periodic)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    consumer.run()


@main.command("workers")
def list_workers() -> None:
    """Who works: on which host, since when, with how much memory, on what."""
    found = huey.workers()
    now = datetime.now(UTC)
    for worker in found:
        memory = "" if worker.memory is None else f"{worker.memory / 2**20:.0f} MiB"
        busy = "idle" if worker.task is None else f"{worker.task.rpartition('.')[2]} {worker.job}"
        click.echo(
            f"{worker.host}  {worker.name:<9}  pid {worker.pid:<7}  up {_span(now - worker.started_at):<9}  {memory:>8}  "
            f"{(worker.version or '-')[:12]}  {busy}{', draining' if worker.draining else ''}"
        )
    if not found:
        click.echo("No worker was seen lately. Start some: python -m app worker")


# --- jobs ---


@main.group()
def jobs() -> None:
    """List, show, cancel, retry and run jobs."""


@jobs.command("list")
@click.option("--state", type=click.Choice([state.value for state in State]), help="Only those in this state.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(min=1))
def list_jobs(state: str | None, limit: int) -> None:
    """The latest jobs, newest first."""
    found = huey.jobs(state=State(state) if state else None, limit=limit)
    for job in found:
        click.echo(f"{job.id}  {_time(job.created_at)}  {job.state.value:<9}  {job.name}{_progress(job)}")
    if not found:
        click.echo("No jobs." if state is None else f"No job is {state}.")


@jobs.command()
@click.argument("job_id", metavar="ID")
@click.option(
    "--lines", default=NEWEST, show_default=True, type=click.IntRange(min=1), help="Of its history, and its log."
)
def show(job_id: str, lines: int) -> None:
    """All that is known about a job, and what went wrong in a sentence."""
    handle = _handle(job_id)
    job, history, log = handle.get_job(), handle.history(), handle.log()
    click.echo(f"{job.name} is {job.state.value}{_progress(job)}")
    if job.error:
        click.secho(job.error, fg="red" if job.state is State.FAILED else None)
    click.echo(f"\nid        {job.id}\ntask      {job.task}\nqueue     {job.queue}\nasked     {_asked(job)}")
    if job.owner is not None:
        click.echo(f"owner     {job.owner}")
    click.echo(f"created   {_time(job.created_at)}")
    if job.due_at is not None:
        click.echo(f"due       {_time(job.due_at)}{', made up: no worker ran then' if job.made_up else ''}")
    for name, moment in (("starts", job.run_at), ("claimed", job.claimed_at), ("ended", job.ended_at)):
        if moment is not None:
            click.echo(f"{name:<9} {_time(moment)}")
    click.echo(f"attempt   {job.attempt} (workers lost: {job.losses}, given back at a stop: {job.returns})")
    if job.worker is not None:
        click.echo(f"worker    {job.worker}")
    if job.hint:
        click.secho(f"\n{job.hint}", fg="yellow")
    click.echo("\nhistory")
    for event in history[-lines:]:
        click.echo(f"  {_time(event.at)}  {_event(event)}")
    if log:
        click.echo("\nlog")
    for line in log[-lines:]:
        click.echo(f"  {_time(line.at)}  {line.attempt}  {line.level:<7}  {line.text}")
    if job.traceback:
        click.echo(f"\n{job.traceback.rstrip()}")


@jobs.command()
@click.argument("job_id", metavar="ID")
def cancel(job_id: str) -> None:
    """End a job, wherever it is."""
    handle = _handle(job_id)
    if not handle.cancel():
        raise click.ClickException(f"Nothing to cancel: the job has {handle.state.value} already.")
    click.echo("Cancelled.")


@jobs.command()
@click.argument("job_id", metavar="ID")
def retry(job_id: str) -> None:
    """Put a failed or cancelled job back in the queue; the steps that it had done are kept."""
    handle = _handle(job_id)
    if not handle.retry():
        raise click.ClickException(
            f"Only a failed or cancelled job can be tried again; this one is {handle.state.value}."
        )
    click.echo("Queued again.")


@jobs.command(context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("arguments", nargs=-1, metavar="[KEY=VALUE]...")
def run(name: str, arguments: tuple[str, ...]) -> None:
    """Run a task here and now, without the queue: breakpoint() works, and progress is printed.

    NAME is the function's. Values are JSON where they can be read as such, and text otherwise: training=1260, risk=cvar,
    'assets=["AAPL", "XOM"]'.
    """
    function = _task(name).func
    given = _arguments(function, name, arguments)
    with working_for(CurrentJob(report=_print_progress)):
        result = function(**given)
    click.echo(result)


# --- schedules ---


@main.group(invoke_without_command=True)
@click.pass_context
def schedules(ctx: click.Context) -> None:
    """What runs by itself, and when; pause, resume or run it now."""
    huey.discover()
    if ctx.invoked_subcommand is not None:
        return
    looks = huey.schedules()
    for look in looks:
        click.echo(f"{look.short_name}: {look.schedule}")
        if look.paused_at is not None:
            click.secho(f"    paused  since {_there(look.paused_at)}", fg="yellow")
        click.echo(
            f"    last    {'never' if look.last_due is None else f'{_there(look.last_due)}, job {look.last_job}'}"
        )
        try:
            upcoming = look.upcoming()
        except Exception as error:  # of a function that says when
            click.secho(f"    next    cannot be told: {error!r}", fg="red")
            continue
        click.echo(f"    next    {', '.join(map(_there, upcoming)) or 'never'}")
        if upcoming and (without := look.schedule.skipped(look.now, upcoming[0])):
            click.echo(f"            the sun does not rise or set there from {without[0]} to {without[-1]}")
        if look.note:
            click.echo(f"    {look.note}")
    if not looks:
        click.echo('No schedules. A job has one with @huey.periodic_task(every("day at 07:30")) above it.')


@schedules.command()
@click.argument("name")
def pause(name: str) -> None:
    """Let it run no more until it is resumed, whatever is deployed or started meanwhile."""
    click.echo("Paused." if _known(huey.pause_schedule, name) else "It was paused already.")


@schedules.command()
@click.argument("name")
def resume(name: str) -> None:
    """Let it run again from now on; what was due in between is not made up."""
    click.echo("Resumed." if _known(huey.resume_schedule, name) else "It was not paused.")


@schedules.command("run")
@click.argument("name")
def run_schedule(name: str) -> None:
    """Queue it now, besides the times when it is due."""
    click.echo(f"Queued as job {_known(huey.run_schedule, name).id}.")


# --- datasets ---


@main.group()
def datasets() -> None:
    """List datasets, and ask for new versions."""


@datasets.command("list")
def list_datasets() -> None:
    """All of them: how fresh they are, and what went wrong."""
    for name, dataset in sorted(_datasets().items()):
        info = dataset.info()
        if info.as_of is None:
            click.echo(f"{name}  no version yet")
        else:
            rows = "" if info.rows is None else f", {info.rows} rows"
            click.echo(
                f"{name}  version {info.version} as of {_time(info.as_of)}{rows}{', stale' if info.stale else ''}"
            )
        if info.error:
            click.secho(f"    the last refresh failed: {info.error}", fg="red")
    if not huey.datasets:
        click.echo("No datasets.")


@datasets.command()
@click.argument("name")
def refresh(name: str) -> None:
    """Ask a worker for a new version of NAME now."""
    found = _datasets()
    if name not in found:
        raise click.ClickException(f"There is no dataset {name!r}. There are: {', '.join(sorted(found)) or 'none'}.")
    click.echo(found[name].refresh().id)


# --- users ---


@main.group("users")
def accounts() -> None:
    """Who may log in, where one has to (AUTH=accounts, as it is in production)."""


@accounts.command("list")
def list_users() -> None:
    """All of them."""
    found = users.users()
    for user in found:
        role = "admin" if user["admin"] else "user"
        first = ", has a first password" if user["first_until"] is not None else ""
        click.echo(f"{_time(datetime.fromtimestamp(user['created_at'], UTC))}  {role:<5}  {user['name']}{first}")
    if not found:
        click.echo("No users. To make the first: python -m app users add NAME --admin")


@accounts.command()
@click.argument("name")
@click.option("--admin", is_flag=True, help="Sees the jobs of all, and may act on them.")
def add(name: str, admin: bool) -> None:
    """Let somebody log in. What users submit is theirs, by their name."""
    _with_password(name, lambda password: users.add(name, password, admin=admin))


@accounts.command()
@click.argument("name")
def passwd(name: str) -> None:
    """Set another password, and end the user's sessions."""
    _with_password(name, lambda password: users.set_password(name, password))


@accounts.command()
@click.argument("name")
def remove(name: str) -> None:
    """End the user's sessions, and allow no other. The jobs stay; they are whose who is given that name again."""
    if not users.remove(name):
        raise click.ClickException(f"There is no user {name!r}. To see those there are: python -m app users list")
    click.echo("Removed.")


def _with_password(name: str, save: Callable[[str | None], str]) -> None:
    """Ask for a password until there is a good one, or make one that the user has to change."""
    click.echo(
        f"A password for {name}, of {users.SHORTEST} characters or more; or none, for one that is made now.", err=True
    )
    while True:
        given = click.prompt(
            "Password", default="", show_default=False, hide_input=True, confirmation_prompt=True, err=True
        )
        try:
            password = save(given or None)
            break
        except users.WeakPassword as error:
            click.echo(error, err=True)
        except (ValueError, LookupError) as error:
            raise click.ClickException(str(error)) from error
    if given:
        click.echo(f"{name} can log in now.")
    else:
        hours = users.FIRST_PASSWORD // users.HOUR
        click.echo(f"{name} can log in with {password} for {hours} hours, and then has to set another.")


# --- doctor ---


@main.command()
def doctor() -> None:
    """What is configured, what answers, and what to do about what does not. Exits with 1 if something does not."""
    click.echo(f"   {'production' if settings.production else 'development'}, port {settings.port}, {settings.workers} workers, "
               f"grace {settings.worker_grace:g} s, lease {settings.lease:g} s, queues {settings.queues or 'all'}, "
               f"schedules by the clock of {settings.timezone}")  # fmt: skip
    huey.discover()
    click.echo(f"   tasks: {', '.join(sorted(_tasks()))}")
    findings = huey.check()
    for finding in findings:
        click.secho(
            f"{'ok' if finding.ok else '!!'} {finding.name}: {finding.detail}", fg=None if finding.ok else "red"
        )
        if not finding.ok and finding.remedy:
            click.echo(f"   {finding.remedy}")
    if all(finding.ok for finding in findings):
        _tell_of_accounts()
    else:
        raise SystemExit(1)


def _tell_of_accounts() -> None:
    if settings.accounts:
        click.echo(f"ok accounts: {len(users.users())} user(s) can log in")
    elif settings.production:
        click.secho("?? accounts: AUTH is off: whoever reaches the app sees all, and may do all", fg="yellow")
        click.echo("   Take AUTH away, or set it to accounts; then: python -m app users add NAME --admin")
    else:
        click.echo("ok accounts: off, as on one's own machine")


# --- helpers ---


def _handle(job_id: str) -> JobHandle:
    try:
        return huey.job(job_id)
    except JobNotFound as error:
        raise click.ClickException(f"{error} To see those there are: python -m app jobs list") from error


def _known(do: Callable[[str], T], name: str) -> T:
    try:
        return do(name)
    except ScheduleNotFound as error:
        raise click.ClickException(str(error)) from error


def _tasks() -> dict[str, TaskWrapper]:
    """The tasks by their short names: functions in app/jobs with `@huey.task()` above them."""
    import sys

    huey.discover()
    return {
        name: value
        for module_name, module in list(sys.modules.items())
        if module_name.startswith("app.jobs.")
        for name, value in vars(module).items()
        if isinstance(value, TaskWrapper)
    } | {name: dataset.task for name, dataset in _datasets().items()}


def _datasets() -> dict[str, Dataset[Any]]:
    """By their short names."""
    huey.discover()
    return {name.rpartition(".")[2]: dataset for name, dataset in huey.datasets.items()}


def _task(name: str) -> TaskWrapper:
    tasks = _tasks()
    if name not in tasks:
        raise click.ClickException(f"There is no task {name!r}. There are: {', '.join(sorted(tasks))}.")
    return tasks[name]


def _arguments(function: Any, name: str, arguments: tuple[str, ...]) -> dict[str, Any]:
    """The function's keyword arguments, or a message that says what it takes."""
    takes = f"{name} takes {inspect.signature(function)}."
    given: dict[str, Any] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals:
            raise click.ClickException(f"{argument!r} is not of the form key=value. {takes}")
        if key in given:
            raise click.ClickException(f"{key!r} is given twice. {takes}")
        try:
            given[key] = json.loads(value)
        except json.JSONDecodeError:
            given[key] = value
    try:
        inspect.signature(function).bind(**given)
    except TypeError as error:
        raise click.ClickException(f"That does not fit: {error}. {takes}") from error
    return given


def _event(event: Event) -> str:
    """claimed, attempt 2 by worker-1 on host."""
    what = event.name if event.state is None else f"{event.name}: {event.state.value}"
    if event.name == "claimed":
        what += f", attempt {event.attempt} by {event.worker} on {event.host}"
    sentence = event.error.partition("\n")[0]
    return f"{what}. {sentence}" if sentence else what


def _print_progress(done: float, total: float, note: str) -> None:
    click.echo(f"{done:g} of {total:g}  {note}", err=True)


def _asked(job: Job) -> str:
    try:
        return (
            ", ".join([*map(repr, job.args), *(f"{key}={value!r}" for key, value in job.kwargs.items())]) or "nothing"
        )
    except Unreadable as error:
        return f"cannot be read: {error}"


def _progress(job: Job) -> str:
    if job.progress is None or job.state is State.SUCCEEDED:
        return ""
    done, total, note = job.progress
    return f", {done:g} of {total:g}" + (f": {note}" if note else "")


def _span(time: timedelta) -> str:
    """3 d 04:05:06."""
    days, rest = time.days, timedelta(seconds=time.seconds)
    return f"{days} d {rest}" if days else str(rest)


def _there(moment: datetime) -> str:
    return f"{moment:%a %Y-%m-%d %H:%M:%S %Z}"


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")
