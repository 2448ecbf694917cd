"""`schedules`: list schedules; pause, resume and run them; try a phrase."""

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice
from typing import TypeVar

import click

from jobqueue.cli.output import App, local
from jobqueue.schedules.schedule import every
from jobqueue.schedules.timetable import ScheduleNotFound
from jobqueue.text import shown

T = TypeVar("T")


@click.group(invoke_without_command=True)
@click.pass_context
def schedules(ctx: click.Context) -> None:
    """List schedules; pause, resume or run one, or try a phrase."""
    huey = ctx.obj.huey
    if ctx.invoked_subcommand == "try":
        return
    huey.discover()
    if ctx.invoked_subcommand is not None:
        return
    found = huey.schedules()
    for status in found:
        click.echo(f"{status.short_name}: {status.schedule}")
        if status.paused_at is not None:
            click.secho(f"    paused  since {local(status.paused_at)}", fg="yellow")
        last = "at its first deploy" if status.last_due is None else local(status.last_due)
        click.echo(f"    last    {'never' if status.last_job is None else f'{last}, job {status.last_job}'}")
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


@schedules.command("try")
@click.argument("phrase")
@click.option("--tz", help='An IANA time zone, such as "Europe/Paris". By default the app\'s.')
@click.option("--place", help="A city, for sunrise and sunset. By default the app's.")
@click.option("--holidays", help='The days that are no business days: "US", "DE-BY" or "NYSE".')
@click.option("--start", help='The day from which "2 weeks" and the like are counted, such as 2026-11-30.')
@click.pass_obj
def try_phrase(
    app: App, phrase: str, tz: str | None, place: str | None, holidays: str | None, start: str | None
) -> None:
    """Print how every(PHRASE) is read, and its next five times. Nothing is scheduled."""
    try:
        schedule = every(phrase, tz=tz, place=place, holidays=holidays, start=start)
        schedule = schedule.bound(app.huey.timezone, app.huey.place)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    click.echo(str(schedule))
    for due in islice(schedule.following(datetime.now(UTC)), 5):
        click.echo(f"    {due:%a %Y-%m-%d %H:%M %Z}")


def _known(do: Callable[[str], T], name: str) -> T:
    try:
        return do(name)
    except ScheduleNotFound as error:
        raise click.ClickException(str(error)) from error
