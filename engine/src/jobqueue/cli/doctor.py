"""`doctor`: print the configuration, check every service, and say how to fix failures."""

import click
from huey.api import Task

from jobqueue.cli.jobs import task_functions
from jobqueue.cli.output import App, program
from jobqueue.monitoring.health import Check
from jobqueue.reports.pdf import NO_CHROMIUM, find_chromium


@click.command()
@click.pass_obj
def doctor(app: App) -> None:
    """Check every service, and say how to fix failures.

    Prints the configuration, too. Exits with 1 if a check fails.
    """
    huey, settings = app
    click.echo(f"   {'production' if settings.production else 'development'}, web on {settings.address}, "
               f"{settings.workers} workers, grace {settings.worker_grace:g} s, lease {settings.lease:g} s, "
               f"queues {settings.queues or 'all'}, time zone {settings.timezone}")  # fmt: skip
    click.echo(f"   tasks: {', '.join(task_functions(app))}")
    checks = [*huey.check(settings.workers), *printing_checks(huey.tasks_by_name())]
    for check in checks:
        click.secho(f"{'ok' if check.ok else '!!'} {check.name}: {check.detail}", fg=None if check.ok else "red")
        if not check.ok and check.remedy:
            click.echo(f"   {check.remedy}")
    if settings.accounts:
        click.echo(f"ok accounts: users have to log in. To list them: {program()} users list")
    elif settings.production:
        click.secho("?? accounts: AUTH is off: anyone who can reach the app can see and do everything", fg="yellow")
        click.echo(f"   Unset AUTH, or set it to accounts, then run: {program()} users add NAME --admin")
    else:
        click.echo("ok accounts: off, as is the default in development")
    if not all(check.ok for check in checks):
        raise SystemExit(1)


def printing_checks(tasks: dict[str, type[Task]]) -> list[Check]:
    """Check that this host has Chromium if a task makes PDFs.

    :param tasks: by full name.
    """
    printing = sorted(name.rpartition(".")[2] for name, task in tasks.items() if getattr(task, "makes_pdf", False))
    found = find_chromium()
    if found is not None:
        return [Check("PDF", True, f"{', '.join(printing)}: {found}")] if printing else []
    return [Check("PDF", False, NO_CHROMIUM.format(name=name)) for name in printing]
