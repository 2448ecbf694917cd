"""The commands to run a worker, look after jobs, schedules and datasets, and check that all is well.

`commands(huey, settings)` is the group that an app's `__main__.py` calls. Nothing here imports Dash or pandas, so that a
command starts quickly.
"""

from typing import Any

import click

from jobqueue.cli.check import check, importing
from jobqueue.cli.datasets import datasets
from jobqueue.cli.doctor import doctor
from jobqueue.cli.jobs import jobs
from jobqueue.cli.output import App, program
from jobqueue.cli.promote import demote, promote
from jobqueue.cli.schedules import schedules
from jobqueue.cli.workers import worker, workers
from jobqueue.database.database import DatabaseUnavailable
from jobqueue.huey import DurableHuey
from jobqueue.settings import Settings

__all__ = ["commands", "importing"]


class Commands(click.Group):
    """A group that reports an unavailable database in a sentence."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except DatabaseUnavailable as error:
            said = str(error) if error.problem else f"The database does not answer: {error}"
            raise click.ClickException(f"{said}\nSee: {program()} doctor") from error


def commands(huey: DurableHuey, settings: Settings) -> click.Group:
    """Return the group of all commands for a queue. Add an app's own with `add_command`."""
    of_worker = {
        "workers": settings.workers,
        "queues": settings.queues,
        "max_jobs": settings.worker_max_jobs,
        "max_memory": settings.worker_max_memory,
    }
    group = Commands(
        help="Run the worker, look after jobs and schedules, and check that all is well.",
        context_settings={"obj": App(huey, settings), "default_map": {"worker": of_worker}},
    )
    for command in (worker, workers, jobs, schedules, datasets, check, doctor, promote, demote):
        group.add_command(command)
    return group
