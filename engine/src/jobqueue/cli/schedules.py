"""`schedules`: list schedules; pause, resume and run them."""

from collections.abc import Callable
from typing import TypeVar

import click

from jobqueue.cli.output import App, local
from jobqueue.schedules.timetable import ScheduleNotFound
from jobqueue.text import shown

T = TypeVar("T")


@click.group(invoke_without_command=True)
@click.pass_context
def schedules(ctx: click.Context) -> None:
    """List schedules; pause, resume or run one."""
    huey = ctx.obj.huey
    huey.discover()
    if ctx.invoked_subcommand is not None:
        return
    found = huey.schedules()
    for status in found:
        click.echo(f"{status.short_name}: {status.schedule}")
        if status.paused_at is not None:
            click.secho(f"    paused  since {local(status.paused_at)}", fg="yellow")
        last = "never" if status.last_due is None else f"{local(status.last_due)}, job {status.last_job}"
        click.echo(f"    last    {last}")
        try:
            upcoming = status.upcoming()
        except Exception as error:  # raised by the app's own function that says when the task is due
            click.secho(f"    next    cannot be computed: {shown(error)}", fg="red")
            continue
        click.echo(f"    next    {', '.join(map(local, upcoming)) or 'never'}")
        if upcoming and (without := status.schedule.skipped(status.now, upcoming[0])):
            click.echo(f"            the sun does not rise or set there from {without[0]} to {without[-1]}")
        if status.note:
            click.echo(f"    {status.note}")
    if not found:
        click.echo('No schedules. To give a task one, write @huey.periodic_task(every("day at 07:30")) above it.')


@schedules.command()
@click.argument("name")
@click.pass_obj
def pause(app: App, name: str) -> None:
    """Pause a schedule until it is resumed. A deploy or a restart does not resume it."""
    click.echo("Paused." if _known(app.huey.pause_schedule, name) else "It was already paused.")


@schedules.command()
@click.argument("name")
@click.pass_obj
def resume(app: App, name: str) -> None:
    """Resume a schedule. Runs that were due while it was paused are not made up."""
    click.echo("Resumed." if _known(app.huey.resume_schedule, name) else "It was not paused.")


@schedules.command()
@click.argument("name")
@click.pass_obj
def run(app: App, name: str) -> None:
    """Queue the schedule's job now, in addition to its due times."""
    click.echo(f"Queued as job {_known(app.huey.run_schedule, name).id}.")


def _known(do: Callable[[str], T], name: str) -> T:
    try:
        return do(name)
    except ScheduleNotFound as error:
        raise click.ClickException(str(error)) from error
