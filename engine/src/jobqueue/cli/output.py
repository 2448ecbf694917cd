"""The context that commands share, and how they print times."""

from datetime import datetime, timedelta
from typing import NamedTuple

import click

from jobqueue.huey import DurableHuey
from jobqueue.settings import Settings


class App(NamedTuple):
    """The app that the commands belong to. Commands receive it by `@click.pass_obj`."""

    huey: DurableHuey
    settings: Settings


def program() -> str:
    """Return how the user called the app's command, for messages that name another command: `python -m app`."""
    return click.get_current_context().find_root().info_name or "python -m app"


def utc(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


def local(moment: datetime) -> str:
    """Format a time in its own time zone, with the day of the week."""
    return f"{moment:%a %Y-%m-%d %H:%M:%S %Z}"


def duration(time: timedelta) -> str:
    """Format a duration: `4:05:06` or `3 d 4:05:06`."""
    days, rest = time.days, timedelta(seconds=time.seconds)
    return f"{days} d {rest}" if days else str(rest)
