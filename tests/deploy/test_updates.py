"""Tests of updates: cruft brings an app that its owner has edited from an earlier commit of the kit to this one, and to a later one."""

import json
import os
import runpy
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests import baking
from tests.baking import PROGRAMS, configuration, with_programs
from tests.user import run, started

pytestmark = pytest.mark.long

TEMPLATE = baking.TEMPLATE.name
ENDS_IN = 60  # seconds
PERSON = {f"GIT_{role}_{what}": "ann@example.com" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


class Edit(NamedTuple):
    """A line or more that somebody writes into a file: in place of the text `before`, or at the end of a file, which may be new."""

    name: str
    text: str
    before: str = ""


def below(name: str, before: str, text: str) -> Edit:
    """Return an edit that adds a text below another."""
    return Edit(name, before + text, before)


LAST_DEPENDENCY = {
    "blank": '    "plotly>=7",\n',
    "portfolio": '    "skfolio>=1.12,<2",  # for the worker: the web process must not import it\n',
}
LAST_SETTING = "    keep_jobs: int = Field(1_000_000, ge=0)  # the newest are kept, however many days; 0: all\n"
FIRST_PAGE = 'dash.register_page(__name__, path="/hello", name="Hello", order='
DELETED = {
    "blank": ["app/assets/charts.css"],
    "portfolio": ["app/jobs/frontier.py", "app/pages/frontier.py", "tests/portfolio/test_frontier.py"],
}
# Of an owner, beside the deleted files and the lock. Each kind of line is where an owner would add it.
EDITS = [
    below("app/settings.py", LAST_SETTING, "    orders_key: str | None = None  # of the server that takes orders\n"),
    Edit(".env", "ORDERS_KEY=secret\n"),
    below("app.json", '  "env": {\n', '    "ORDERS_KEY": {"description": "Key of the server that takes orders"},\n'),
    Edit("Procfile", "orders: python -m app worker --queues orders\n"),
    Edit("Procfile.dev", "orders: python -m app worker --queues orders\n"),
    Edit(
        "Makefile", "\n# make orders   send the orders\norders: setup\n\t$(BIN)/python -m app jobs run order count=1\n"
    ),
    Edit(".gitignore", "orders/\n"),
    Edit("README.md", "\n## Orders\n\nOrders leave at six.\n"),
    Edit("app/pages/hello.py", FIRST_PAGE + "1)", before=FIRST_PAGE + "90)"),
    Edit("app/assets/colours.css", "-color-dimmed: #a0a0a0;", before="-color-dimmed: #9a9a9a;"),
    Edit(
        "app/pages/orders.py",
        '"""The page of orders."""\n\nimport dash\nimport dash_mantine_components as dmc\n\n'
        'dash.register_page(__name__, path="/orders", name="Orders", order=3)\n\n\n'
        'def layout(**_: str) -> dmc.Title:\n    return dmc.Title("Orders", order=2)\n',
    ),
    Edit(
        "app/jobs/orders.py",
        '"""The job of orders."""\n\nfrom app.jobs import huey\n\n\n'
        "@huey.task()\ndef order(count: int) -> int:\n    return count + 1\n",
    ),
    Edit(
        "tests/test_orders.py",
        "from app.jobs.orders import order\n\n\ndef test_order() -> None:\n    assert order(1).get() == 2\n",
    ),
]
# Of a later version of the template, in the files to which owners add lines too. An owner has used two of the names.
LATER = [
    below("pyproject.toml", "  # make start reads .env with it\n", '    "openpyxl>=3",\n'),
    below("pyproject.toml", '    "mypy>=2",\n', '    "mypy-extensions>=1",\n'),
    below("app/settings.py", "'jobs.sqlite'}\"\n", "    proxies: int | None = 1\n"),
    Edit("Procfile", "orders: python -m app orders\nworker:", before="worker:"),
    Edit("Procfile.dev", "clock: python -m app clock\nworker:", before="worker:"),
    below("Makefile", "lint: setup\n", "\t@echo style and types\n"),
    below(".gitignore", "var/\n", "downloads/\n"),
    below("README.md", "## Commands\n", "\nAll of them are short.\n"),
]


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a clone of this repository at the commit under test. A test may add commits to it."""
    if git(baking.KIT, "rev-parse", "--is-shallow-repository") == "true":
        pytest.fail(
            "This clone lacks the older commits of the kit, from which apps are updated. Run: git fetch --unshallow"
        )
    clone = tmp_path_factory.mktemp("clone") / "kit"
    git(baking.KIT, "clone", "--quiet", str(baking.KIT), str(clone))
    return clone


class App(NamedTuple):
    """An app that was made at the first commit with the engine as a package, and was edited and updated."""

    folder: Path
    edits: list[Edit]
    deleted: list[str]
    conflicts: list[str]  # the files that the update left unmerged
    jobs: tuple[str, str] | None  # of the old engine: the ids of a job that has ended, and of one that waits


@pytest.fixture(scope="module", params=DELETED)
def updated(request: pytest.FixtureRequest, kit: Path, tmp_path_factory: pytest.TempPathFactory) -> App:
    """Make an app, run jobs with its engine, edit it, and update it as docs/updates.md says."""
    example, folder = request.param, tmp_path_factory.mktemp("apps")
    first = git(kit, "log", "--reverse", "--diff-filter=A", "--format=%H", "--", f"{TEMPLATE}/vendor/*.whl").split()[0]
    answers = json.dumps({"app_name": "desk", "example": example})
    cruft(folder, "create", "--no-input", "--checkout", first, "--extra-context", answers, str(kit))
    app = folder / "desk"
    git(app, "init", "--quiet")
    save(app)

    jobs = run_jobs(app) if example == "blank" else None
    edits = [below("pyproject.toml", LAST_DEPENDENCY[example], '    "openpyxl>=3.1",\n'), *EDITS]
    for edit in edits:
        write(edit, app)
    for name in DELETED[example]:
        app.joinpath(name).unlink()
    run(["make", "lock"], app, with_programs())
    save(app)

    cruft(app, "update", "--skip-apply-ask")
    conflicts = git(app, "diff", "--name-only", "--diff-filter=U").split()
    run(["make", "lock"], app, with_programs())
    save(app)
    return App(app, edits, DELETED[example], conflicts, jobs)


def test_every_edit_of_the_owner_is_there_once(updated: App) -> None:
    for edit in updated.edits:
        assert_there_once(edit, updated.folder)
    assert not [name for name in updated.deleted if updated.folder.joinpath(name).exists()]


def test_nothing_conflicts_but_the_lock_which_is_made_again(updated: App) -> None:
    assert updated.conflicts == ["requirements.txt"]
    assert_merged(updated.folder)
    pins = updated.folder.joinpath("requirements.txt").read_text()
    (wheel,) = updated.folder.glob("vendor/*.whl")
    assert pins.count("openpyxl==") == pins.count(f"./vendor/{wheel.name} ") == pins.count(".whl ") == 1


@pytest.mark.parametrize("updated", ["blank"], indirect=True)
def test_the_updated_app_passes_its_own_tests(updated: App, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={tmp_path}"]
    assert " passed" in run(command, updated.folder, with_its_engine(updated.folder))


@pytest.mark.parametrize("updated", ["blank"], indirect=True)
def test_the_updated_app_works_on_with_its_old_database(updated: App) -> None:
    assert updated.jobs is not None
    ended, waits = updated.jobs
    read = "from app.jobs import huey; print(huey.job({!r}).get(blocking=True, timeout={}))"
    own = "; from app.settings import settings; print(settings.orders_key)"
    assert python(updated.folder, read.format(ended, 0) + own).split("\n") == ["Hello, Ann!", "secret"]
    with started([sys.executable, "-m", "app", "worker"], updated.folder, with_its_engine(updated.folder), "worker"):
        assert python(updated.folder, read.format(waits, ENDS_IN)) == "Hello, Ann!"


@pytest.mark.parametrize("updated", ["blank"], indirect=True)
def test_what_template_and_owner_add_later_is_there_once_and_equal_names_are_found(
    updated: App, kit: Path, tmp_path: Path
) -> None:
    """Test a clone of the app, in which git cannot find the files of the template as they were before they were merged."""
    for edit in LATER:
        write(edit, kit / TEMPLATE)
    for hook in kit.glob("hooks/*.py"):
        write(Edit(hook.name, "# as in a later version\n"), hook.parent)
    save(kit)
    try:
        git(tmp_path, "clone", "--quiet", "--no-local", str(updated.folder), "app")
        app = tmp_path / "app"
        cruft(app, "update", "--skip-apply-ask")
    finally:
        git(kit, "reset", "--quiet", "--hard", "HEAD~1")
    assert_merged(app)
    for edit in [*updated.edits, *LATER]:
        if edit.name != ".env":  # is not in git
            assert_there_once(edit, app)
    of_the_app = runpy.run_path(str(app / "tests" / "test_names.py"))
    of_the_app["test_every_process_is_named_once"]("Procfile.dev")
    with pytest.raises(AssertionError):  # openpyxl is there twice
        of_the_app["test_every_dependency_is_named_once"]()
    with pytest.raises(AssertionError):  # and so is the process orders
        of_the_app["test_every_process_is_named_once"]("Procfile")


def assert_there_once(edit: Edit, app: Path) -> None:
    text = app.joinpath(edit.name).read_text()
    assert text.count(edit.text.removeprefix(edit.before)) == 1, edit
    assert edit.before in edit.text or edit.before not in text, edit


def assert_merged(app: Path) -> None:
    """Assert that an update left neither rejected changes nor markers of a conflict."""
    assert not list(app.rglob("*.rej"))
    marked = [name for name in git(app, "ls-files").splitlines() if b"\n>>>>>>> " in app.joinpath(name).read_bytes()]
    assert not marked


def run_jobs(app: Path) -> tuple[str, str]:
    """Return the ids of a job that a worker has run, and of one that waits. Workers of `blank` import no page, and so few packages."""
    submit = "from app.jobs.hello import greet; job = greet('Ann', 0); print(job.id)"
    with started([sys.executable, "-m", "app", "worker"], app, with_its_engine(app), "worker"):
        ended = python(app, f"{submit}; job.get(blocking=True, timeout={ENDS_IN})")
    return ended, python(app, submit)


def write(edit: Edit, folder: Path) -> None:
    """Make an edit. The text that it replaces is in the file once."""
    path = folder / edit.name
    if edit.before:
        text = path.read_text()
        assert text.count(edit.before) == 1, edit
        path.write_text(text.replace(edit.before, edit.text))
    else:
        with path.open("a") as file:
            file.write(edit.text)


def save(folder: Path) -> None:
    """Commit all that has changed."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "A change")


def git(folder: Path, *arguments: str) -> str:
    return run(["git", *arguments], folder, with_programs(**PERSON)).strip()


def cruft(folder: Path, *arguments: str) -> None:
    config = configuration(folder.parent)
    run([PROGRAMS / "cruft", *arguments], folder, with_programs(**PERSON, COOKIECUTTER_CONFIG=str(config)))


def python(app: Path, code: str) -> str:
    """Run code of an app, and return what it prints."""
    return run([sys.executable, "-c", code], app, with_its_engine(app)).strip()


def with_its_engine(app: Path) -> dict[str, str]:
    """Return environment variables with which Python imports an app, and the engine of its wheel."""
    (wheel,) = app.glob("vendor/*.whl")
    engine = app.parent / wheel.stem
    if not engine.exists():
        shutil.unpack_archive(wheel, engine, "zip")
    return baking.without_source() | {"PYTHONPATH": f"{engine}{os.pathsep}{app}"}
