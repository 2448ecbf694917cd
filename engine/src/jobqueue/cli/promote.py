"""`promote` and `demote`: make a job of a notebook's function, and take it back."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


@click.command()
@click.argument("notebook", type=click.Path(path_type=Path))
@click.argument("function")
@click.option("--every", metavar="WHEN", help='Run it on a schedule, such as "day at 07:30".')
@click.option("--page", is_flag=True, help="Write a page that starts it.")
@click.option(
    "--as", "name", metavar="NAME", help="Name the job, and its module. By default: as the function and the notebook."
)
@click.option("--dry-run", is_flag=True, help="Show the changes, and write nothing.")
def promote(notebook: Path, function: str, every: str | None, page: bool, name: str | None, dry_run: bool) -> None:
    """Make a job of a FUNCTION in a NOTEBOOK: its module, its test, and its place in the notebook.

    Runs the saved notebook first, and checks the job in a copy of the app. Writes nothing unless all of that holds.
    """
    from_root(
        lambda tools, root: _write(
            tools,
            root,
            tools.plan(root, notebook, function, every=every, page=page, name=name, tell=click.echo),
            dry_run,
        )
    )


@click.command()
@click.argument("function")
@click.option("--dry-run", is_flag=True, help="Show the changes, and write nothing.")
def demote(function: str, dry_run: bool) -> None:
    """Take a promoted FUNCTION back into its notebook. Removes its module, test and page."""
    from_root(lambda tools, root: _write(tools, root, tools.plan_back(root, function), dry_run))


def from_root(run: Callable[[Any, Path], None]) -> None:
    """Run a command in the app's folder, after what an interrupted one left was undone. Report a refusal in a sentence."""
    try:
        from jobqueue import promote as tools
    except ImportError as error:
        raise click.ClickException("promote needs the development tools. Run: make setup") from error
    root = Path.cwd()
    if not (root / "app" / "jobs").is_dir():
        raise click.ClickException(
            f"{root} is not an app's folder: it has no app/jobs. Go to the folder of pyproject.toml."
        )
    if undone := tools.undo(root):
        click.echo(undone)
    try:
        run(tools, root)
    except tools.Refused as error:
        raise click.ClickException(str(error)) from error


def _write(tools: Any, root: Path, promotion: Any, dry_run: bool) -> None:
    click.echo(promotion.diff(root))
    if dry_run:
        click.echo("Nothing was written.")
        return
    tools.apply(root, promotion.files)
    click.echo("Done. Next:\n" + "\n".join(f"    {step}" for step in promotion.next_steps))
