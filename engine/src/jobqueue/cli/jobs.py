"""`jobs`: list, show, cancel, retry and run jobs."""

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from jobqueue.cli.output import App, program, utc
from jobqueue.execution.coroutines import finished
from jobqueue.execution.current_job import CurrentJob, working_for
from jobqueue.jobs.handle import JobHandle
from jobqueue.jobs.history import Event
from jobqueue.jobs.job import Job, JobNotFound, Unreadable
from jobqueue.ledger.states import State
from jobqueue.reports.report import PARTIAL, Report
from jobqueue.text import brief

NEWEST = 20  # lines of a job's history and of its log that are shown by default


@click.group()
def jobs() -> None:
    """List, show, cancel, retry and run jobs."""


@jobs.command("list")
@click.option("--state", type=click.Choice([state.value for state in State]), help="Only jobs in this state.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(min=1))
@click.pass_obj
def list_jobs(app: App, state: str | None, limit: int) -> None:
    """List the latest jobs, newest first."""
    found = app.huey.jobs(state=State(state) if state else None, limit=limit)
    for job in found:
        click.echo(f"{job.id}  {utc(job.created_at)}  {job.state.value:<9}  {job.name}{_progress(job)}")
    if not found:
        click.echo("No jobs." if state is None else f"No job is {state}.")


@jobs.command()
@click.argument("job_id", metavar="ID")
@click.option(
    "--lines", default=NEWEST, show_default=True, type=click.IntRange(min=1), help="Lines of history and of log."
)
@click.pass_obj
def show(app: App, job_id: str, lines: int) -> None:
    """Show a job: its state, error, arguments, history, log and traceback."""
    handle = _handle(app, job_id)
    job, history, log = handle.get_job(), handle.history(), handle.log()
    click.echo(f"{job.name} is {job.state.value}{_progress(job)}")
    if job.error:
        click.secho(job.error, fg="red" if job.state is State.FAILED else None)
    click.echo(f"\nid        {job.id}\ntask      {job.task}\nqueue     {job.queue}\narguments {_arguments(job)}")
    if job.owner is not None:
        click.echo(f"owner     {job.owner}")
    click.echo(f"created   {utc(job.created_at)}")
    if job.due_at is not None:
        click.echo(f"due       {utc(job.due_at)}{', made up later: no worker ran then' if job.made_up else ''}")
    for name, moment in (("starts", job.run_at), ("claimed", job.claimed_at), ("ended", job.ended_at)):
        if moment is not None:
            click.echo(f"{name:<9} {utc(moment)}")
    click.echo(f"attempt   {job.attempt} (workers lost: {job.losses}, released at a stop: {job.returns})")
    if job.worker is not None:
        click.echo(f"worker    {job.worker}")
    if job.hint:
        click.secho(f"\n{job.hint}", fg="yellow")
    click.echo("\nhistory")
    for event in history[-lines:]:
        click.echo(f"  {utc(event.at)}  {_event(event)}")
    if log:
        click.echo("\nlog")
    for line in log[-lines:]:
        click.echo(f"  {utc(line.at)}  {line.attempt}  {line.level:<7}  {line.text}")
    if job.traceback:
        click.echo(f"\n{job.traceback.rstrip()}")


@jobs.command()
@click.argument("job_id", metavar="ID")
@click.pass_obj
def cancel(app: App, job_id: str) -> None:
    """Cancel a job, in whatever state it is."""
    handle = _handle(app, job_id)
    if not handle.cancel():
        raise click.ClickException(f"Nothing to cancel: the job has already {handle.state.value}.")
    click.echo("Cancelled.")


@jobs.command()
@click.argument("job_id", metavar="ID")
@click.pass_obj
def retry(app: App, job_id: str) -> None:
    """Queue a failed or cancelled job again. Steps that it has completed are kept."""
    handle = _handle(app, job_id)
    if not handle.retry():
        raise click.ClickException(f"Only failed and cancelled jobs can be retried; this one is {handle.state.value}.")
    click.echo("Queued again.")


@jobs.command(context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("arguments", nargs=-1, metavar="[KEY=VALUE]...")
@click.pass_obj
def run(app: App, name: str, arguments: tuple[str, ...]) -> None:
    """Run a task in this process, without the queue: breakpoint() works, and progress is printed.

    NAME is the name of the task's function. Values that are JSON are read as JSON, others as text: training=1260, risk=cvar,
    'assets=["AAPL", "XOM"]'. A report is saved in var/.
    """
    tasks = task_functions(app)
    if name not in tasks:
        raise click.ClickException(f"There is no task {name!r}. Known tasks: {', '.join(tasks)}.")
    function = tasks[name]
    given = _keywords(function, name, arguments)
    _check(app, name, given)
    job = CurrentJob(report=_print_progress)
    job.dask_scheduler = app.huey.dask_scheduler
    try:
        with working_for(job):
            result = finished(function(**given))
    except Exception:
        if PARTIAL in job.with_error:
            _save(job.with_error[PARTIAL], name)
        raise
    if isinstance(result, Report):
        _save(result, name)
    else:
        click.echo(result)


def _handle(app: App, job_id: str) -> JobHandle:
    try:
        return app.huey.job(job_id)
    except JobNotFound as error:
        raise click.ClickException(f"{error} To list jobs: {program()} jobs list") from error


def task_functions(app: App) -> dict[str, Callable[..., Any]]:
    """Return the functions of the app's tasks by their short names, without those of background callbacks."""
    app.huey.discover()
    found = {full.rpartition(".")[2]: task.function for full, task in app.huey.tasks_by_name().items()}
    return {name: found[name] for name in sorted(found) if name.isidentifier()}


def _keywords(function: Callable[..., Any], name: str, arguments: tuple[str, ...]) -> dict[str, Any]:
    """Return the function's keyword arguments. Raises ClickException, which says what the function takes."""
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
        raise click.ClickException(f"Wrong arguments: {error}. {takes}") from error
    return given


def _check(app: App, name: str, given: dict[str, Any]) -> None:
    """Refuse arguments that a submit would refuse. Raises ClickException."""
    for full, task in app.huey.tasks_by_name().items():
        if full.rpartition(".")[2] == name and hasattr(task, "check_arguments"):
            try:
                task.check_arguments(**given)
            except (ValueError, RuntimeError) as error:
                raise click.ClickException(str(error)) from error


def _save(report: Report, name: str) -> None:
    for path in report.save(Path("var"), name):
        click.echo(f"Saved {path}")


def _print_progress(done: float, total: float, note: str) -> None:
    click.echo(f"{done:g} of {total:g}  {note}", err=True)


def _progress(job: Job) -> str:
    if job.progress is None or job.state is State.SUCCEEDED:
        return ""
    done, total, note = job.progress
    return f", {done:g} of {total:g}" + (f": {note}" if note else "")


def _arguments(job: Job) -> str:
    try:
        given = [*map(brief, job.args), *(f"{key}={brief(value)}" for key, value in job.kwargs.items())]
    except Unreadable as error:
        return f"cannot be read: {error}"
    return ", ".join(given) or "none"


def _event(event: Event) -> str:
    """Format an event: `claimed, attempt 2 by worker-1 on host`."""
    text = event.name if event.state is None else f"{event.name}: {event.state.value}"
    if event.name == "claimed":
        text += f", attempt {event.attempt} by {event.worker} on {event.host}"
    sentence = event.error.partition("\n")[0]
    return f"{text}. {sentence}" if sentence else text
