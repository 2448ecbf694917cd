"""`worker` and `workers`: run a consumer, and list the workers of all consumers."""

from datetime import UTC, datetime

import click

from jobqueue import logs
from jobqueue.cli.output import App, duration, program
from jobqueue.telemetry import report_errors


@click.command()
@click.option("--workers", default=2, show_default=True, type=click.IntRange(min=1), help="Jobs to run at a time.")
@click.option(
    "--queues",
    metavar="NAME[:N],...",
    help="Serve only these queues; NAME:N by at most N of the workers.  [default: every queue]",
)
@click.option(
    "--max-jobs",
    metavar="N",
    type=click.IntRange(min=1),
    help="Replace a worker process after N jobs.  [default: never]",
)
@click.option(
    "--max-memory",
    metavar="MB",
    type=click.IntRange(min=1),
    help="Replace a worker process that takes more megabytes when a job has ended.  [default: never]",
)
@click.option("--no-periodic", is_flag=True, help="Leave schedules to other consumers.")
@click.pass_obj
def worker(
    app: App, workers: int, queues: str | None, max_jobs: int | None, max_memory: int | None, no_periodic: bool
) -> None:
    """Run jobs until stopped. Ctrl-C or SIGTERM lets running jobs end first, SIGQUIT releases them at once."""
    logs.configure(app.settings.json_logs, app.huey.version)
    report_errors(app.huey, app.settings)
    try:
        consumer = app.huey.create_consumer(
            workers=workers, queues=queues, max_tasks=max_jobs, max_memory_mb=max_memory, periodic=not no_periodic
        )
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    consumer.run()


@click.command()
@click.pass_obj
def workers(app: App) -> None:
    """List workers and their current jobs."""
    found = app.huey.workers()
    now = datetime.now(UTC)
    for worker in found:
        memory = "" if worker.memory is None else f"{worker.memory / 2**20:.0f} MiB"
        busy = "idle" if worker.task is None else f"{worker.task.rpartition('.')[2]} {worker.job}"
        click.echo(
            f"{worker.host}  {worker.name:<9}  pid {worker.pid:<7}  up {duration(now - worker.started_at):<9}  "
            f"{memory:>8}  {(worker.version or '-')[:12]}  {busy}{', draining' if worker.draining else ''}"
        )
    if not found:
        click.echo(f"No workers are running. Start some: {program()} worker")
