"""`check`: import every job and page and validate the settings, without a database and without secrets.

A host's build runs it, so that a push that cannot work is refused while the old release keeps serving.
"""

import importlib
import os
import secrets
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from jobqueue.cli.output import App, program
from jobqueue.text import cut

MOST = 3  # problems that are printed; hosts show the end of a build's output
STAND_INS = {"SECRET_KEY": secrets.token_urlsafe(48), "DATABASE_URL": "postgresql://check@localhost/check"}
LONGEST = 500  # characters of a problem
Failed = (Exception, SystemExit)  # of an import


@contextmanager
def importing() -> Iterator[None]:
    """Import the app's queue and settings in the block. For `check`, report a failure in a sentence and exit with 1.

    Production refuses to start without secrets, which a build may not have. `check` uses stand-ins for them.
    """
    if sys.argv[1:2] != ["check"]:
        yield
        return
    for name, value in STAND_INS.items():
        os.environ[name] = os.environ.get(name) or value
    try:
        yield
    except SystemExit:  # the settings have said what to set
        raise SystemExit(1) from None
    except Exception as error:
        _exit_with([_located(error)], f"{Path(sys.argv[0]).name} check")


@click.command()
@click.pass_obj
def check(app: App) -> None:
    """Import every job and page, and validate the settings. Needs no database.

    Prints the file, the line and the error, and exits with 1 if the app cannot start.
    """
    modules = app.huey._discovery.modules()
    problems = [*_syntax_errors(modules)] or [*_import_errors(modules)]
    if not problems:
        try:
            app.huey.create_consumer(workers=app.settings.workers, queues=app.settings.queues)
        except Failed as error:
            problems = [_located(error)]
    if problems:
        _exit_with(problems, f"{program()} check")
    click.echo(f"The app can start. Tasks: {len(app.huey.tasks_by_name())}.")


def _syntax_errors(modules: list[str]) -> Iterator[str]:
    """Compile every file of the packages that these modules belong to."""
    for package in sorted({module.partition(".")[0] for module in modules}):
        root = sys.modules[package].__file__ if package in sys.modules else None
        for file in sorted(Path(root).parent.rglob("*.py")) if root and Path(root).name == "__init__.py" else ():
            try:
                compile(file.read_bytes(), file, "exec", dont_inherit=True)
            except (SyntaxError, ValueError) as error:
                yield _located(error, file)


def _import_errors(modules: list[str]) -> Iterator[str]:
    """Import the modules. A module that imports a broken one has the same problem, which is reported once."""
    found = set()
    for module in modules:
        try:
            importlib.import_module(module)
        except Failed as error:
            problem = _located(error)
            if problem not in found:
                found.add(problem)
                yield problem


def _located(error: BaseException, file: Path | None = None) -> str:
    """Return `app/jobs/prices.py, line 3: ModuleNotFoundError: No module named 'requests'`."""
    if isinstance(error, SyntaxError):
        return f"{_shown(error.filename or str(file))}, line {error.lineno}: {type(error).__name__}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [f"{_shown(frame.filename)}, line {frame.lineno}: " for frame in frames if _is_own(frame.filename)]
    where = own[-1] if own else f"{_shown(str(file))}: " if file is not None else ""
    return cut(where + " ".join(f"{type(error).__name__}: {error}".split()), LONGEST)


def _is_own(file: str) -> bool:
    """Return whether a file is the app's: in the working directory, and not in an environment there."""
    path = Path(file)
    return path.is_relative_to(Path.cwd()) and "site-packages" not in path.parts


def _shown(file: str) -> str:
    path = Path(file)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _exit_with(problems: list[str], command: str) -> None:
    """Print the first problems, and exit with 1."""
    for problem in problems[:MOST]:
        click.echo(problem, err=True)
    if len(problems) > MOST:
        click.echo(f"There are {len(problems) - MOST} more.", err=True)
    click.echo(f"The app cannot start. To check it again: {command}", err=True)
    raise SystemExit(1)
