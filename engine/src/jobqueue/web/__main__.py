"""`python -m jobqueue.web app:server`: serve an app that has no commands of its own."""

import sys
from pathlib import Path

import click

from jobqueue.settings import Settings, load_or_exit
from jobqueue.web.cli import run


@click.command()
@click.argument("server", metavar="MODULE:NAME")
def main(server: str) -> None:
    """Serve the WSGI app NAME of a module until SIGTERM. HOST and PORT say where."""
    sys.path.insert(0, str(Path.cwd()))
    run(server, load_or_exit(Settings))


main(prog_name="python -m jobqueue.web")
