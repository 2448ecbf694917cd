"""`datasets`: list datasets, and request new versions."""

from typing import Any

import click

from jobqueue.cli.output import App, utc
from jobqueue.datasets.dataset import Dataset


@click.group()
def datasets() -> None:
    """List datasets, and request new versions."""


@datasets.command("list")
@click.pass_obj
def list_datasets(app: App) -> None:
    """List datasets: newest version, age, last error."""
    found = _by_short_name(app)
    for name, dataset in sorted(found.items()):
        info = dataset.info()
        if info.as_of is None:
            click.echo(f"{name}  no version yet")
        else:
            rows = "" if info.rows is None else f", {info.rows} rows"
            stale = ", stale" if info.stale else ""
            click.echo(f"{name}  version {info.version} as of {utc(info.as_of)}{rows}{stale}")
        if info.error:
            click.secho(f"    the last refresh failed: {info.error}", fg="red")
    if not found:
        click.echo("No datasets.")


@datasets.command()
@click.argument("name")
@click.pass_obj
def refresh(app: App, name: str) -> None:
    """Queue a job that saves a new version, and print the job's id."""
    found = _by_short_name(app)
    if name not in found:
        known = ", ".join(sorted(found)) or "none"
        raise click.ClickException(f"There is no dataset {name!r}. Known datasets: {known}.")
    click.echo(found[name].refresh().id)


def _by_short_name(app: App) -> dict[str, Dataset[Any]]:
    app.huey.discover()
    return {name.rpartition(".")[2]: dataset for name, dataset in app.huey.datasets.items()}
