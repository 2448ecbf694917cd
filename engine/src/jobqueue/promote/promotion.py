"""Promote a function of a notebook to a job, and take it back.

Nothing is written to the app until the job is proven in a copy of it. Then all files are written, or none.
"""

import ast
import difflib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

from jobqueue.promote import evidence, writing
from jobqueue.promote.dependencies import definition_of_task, dependencies, kind_of
from jobqueue.promote.notebook import Notebook, Statement, parameters
from jobqueue.promote.page import page_module
from jobqueue.promote.refusal import Refused
from jobqueue.promote.targets import check_edits, check_targets, module_name, targets

LEFT_OUT = (".*", "var", "node_modules", "__pycache__", "*.egg-info", "build", "dist")  # of the copy
KEPT = "promoted"  # the cell's metadata that holds its source before
PAGE_CHECK = """
import sys
import dash
import app.web
paths = [page["path"] for page in dash.page_registry.values()]
if paths.count(sys.argv[1]) > 1 or any(rule.rule == sys.argv[1] for rule in app.web.server.url_map.iter_rules()):
    sys.exit("The app has a page at this address. Use --as.")
"""
Tell = Callable[[str], object]


@dataclass(frozen=True)
class Promotion:
    """Files to write, all or none. `files`: contents by path in the app; None for a file that goes."""

    files: Mapping[Path, str | None]
    next_steps: Sequence[str]

    def diff(self, root: Path) -> str:
        """Return the changes as one unified diff. The notebook's is of its cells' sources."""
        return "".join(_diff(path, root / path, after) for path, after in self.files.items())


def plan(
    root: Path,
    path: Path,
    task: str,
    *,
    every: str | None = None,
    page: bool = False,
    name: str | None = None,
    tell: Tell = lambda text: None,
) -> Promotion:
    """Return what the promotion of a function writes, after it is proven in a copy of the app. Raises Refused.

    :param root: the app's folder.
    :param path: the notebook, in the app's folder.
    :param every: a schedule in words.
    :param page: whether to write a page too.
    :param name: the job's name, if it is not the notebook's and the function's.
    :param tell: called with each step, for the user.
    """
    if not path.resolve().is_relative_to(root.resolve()):
        raise Refused(f"{path} is not in the app's folder. Move it to notebooks/.")
    place = path.resolve().relative_to(root.resolve())
    notebook = Notebook(path)
    _check_schedule(every)
    _check_not_promoted(notebook, task)
    taken = dependencies(notebook, task)
    _check_no_arguments(taken, task, every)
    module = module_name(place, name)
    evidence.check_stored(notebook)
    _check_places(root, notebook, taken, task)
    paths = targets(module, page)
    check_targets(root, paths, place, task, name)
    into = f"Take the edits into the notebook (python -m app demote {task}), or leave the notebook alone."
    files: dict[Path, str | None] = {**_modules(root, notebook, place, task, paths, every, name)}
    check_edits(root, files, into)
    tell(f"Running {place.as_posix()} as saved at {evidence.saved_at(path)} in a fresh kernel.")
    calls, unproven = _records(root, notebook, taken, task)
    if calls:
        kind = kind_of(definition_of_task(notebook, task))
        files[paths["test"]] = writing.marked(writing.test_module(root, module, task, kind, calls), place)
    elif (root / paths["test"]).exists():
        files[paths["test"]] = None
    check_edits(root, files, into)
    files[place] = _rewritten(root, notebook, taken, task, module, {"every": every, "name": name})
    tell("Checking the job in a copy of the app.")
    _prove(root, place, module, name or task, files, paths.get("test") if calls else None, paths.get("page"))
    steps = ["make start"] + ([f"http://localhost:8050/{module.replace('_', '-')}"] if page else [])
    steps += ["In JupyterLab: File, Reload Notebook from Disk"]
    if not calls:
        steps += [f"No call of {task} has literal arguments and a plain value or frame, so no test was written."]
    if unproven:
        steps += [f"Calls of {task} with a notebook's variable have no test. Only the notebook covers them."]
    return Promotion(files, steps)


def plan_back(root: Path, task: str) -> Promotion:
    """Return what takes a promoted function back into its notebook. Raises Refused."""
    for path in sorted((root / "app" / "jobs").glob("*.py")):
        text = path.read_text()
        mark = writing.mark_of(text)
        if mark is not None and any(
            isinstance(one, ast.FunctionDef) and one.name == task for one in ast.parse(text).body
        ):
            break
    else:
        raise Refused(f"No job named {task} was promoted from a notebook.")
    module, place = path.stem, Path(mark[0])
    written = {part: path for part, path in targets(module, page=True).items() if (root / path).exists()}
    marks = {part: mark for part, path in written.items() if (mark := writing.mark_of((root / path).read_text()))}
    paths = {part: written[part] for part in marks}
    notebook = Notebook(root / place)
    options = None
    for cell in notebook.cells:
        kept = cell.node.metadata.get(KEPT)
        if kept is not None and kept["before"] is not None and kept["before"]["module"] == module:
            raise Refused(
                f"{cell.label} held {kept['task']} too, which was promoted later. First take that back: "
                f"python -m app demote {kept['task']}"
            )
        if kept is None or kept["module"] != module:
            continue
        if cell.node.source != kept["left"]:
            raise Refused(f"{cell.label} {cell.quoted(1)} was edited since the promotion. Undo that edit first.")
        cell.node.source, options = kept["source"], kept["options"]
        if kept["before"] is None:
            del cell.node.metadata[KEPT]
        else:
            cell.node.metadata[KEPT] = kept["before"]
    if options is None:
        raise Refused(f"{place.as_posix()} has no cell that {task} was promoted from.")
    if edited := [paths[part] for part, (_, is_edited) in marks.items() if is_edited]:
        notebook.parse()
        advice = "Undo the edits, demote again, and make them in the notebook."
        check_edits(root, _modules(root, notebook, place, task, paths, **options), advice)
        raise Refused(f"{edited[0].as_posix()} was edited since it was promoted. {advice}")
    files: dict[Path, str | None] = dict.fromkeys(paths.values())
    files[place] = _as_text(notebook)
    return Promotion(files, ["In JupyterLab: File, Reload Notebook from Disk"])


# --- checks before the run ---


def _check_schedule(every: str | None) -> None:
    if every is not None:
        from jobqueue.schedules.schedule import every as parse

        try:
            parse(every)
        except ValueError as error:
            raise Refused(f"--every: {error}") from error


def _check_no_arguments(taken: Sequence[Statement], task: str, every: str | None) -> None:
    """Refuse a schedule for a function that needs arguments: a schedule passes none."""
    statement = next(one for one in taken if task in one.binds)
    assert isinstance(statement.node, ast.FunctionDef)
    if every is None and kind_of(statement) in ("", "task"):
        return
    needed = [one.arg for one, default in parameters(statement.node) if default is None]
    if needed:
        raise Refused(
            f"{task} needs {', '.join(needed)}, and a schedule passes no arguments. Give each a default value."
        )


def _check_not_promoted(notebook: Notebook, task: str) -> None:
    for cell in notebook.cells:
        kept = cell.node.metadata.get(KEPT)
        if kept is not None and cell.node.source == kept["left"] and kept["task"] == task:
            raise Refused(f"{task} is promoted already. To change it, first take it back: python -m app demote {task}")


def _check_places(root: Path, notebook: Notebook, taken: Sequence[Statement], task: str) -> None:
    """Refuse files and modules that lie beside the notebook: a worker runs in the app's folder."""
    folder = notebook.path.resolve().parent
    if folder == root.resolve():
        return
    calls = [statement for statement in notebook.statements if _calls(statement, task)]
    for statement in [*taken, *calls]:
        for one in ast.walk(statement.node):
            if isinstance(one, ast.Constant) and isinstance(one.value, str) and _lies_beside(folder, root, one.value):
                raise Refused(
                    f"{one.value} lies beside the notebook, but a worker runs in the app's folder. Build its path from the "
                    "app's root, or pass it."
                )
            if isinstance(one, ast.Import | ast.ImportFrom) and statement in taken:
                names = [one.module or ""] if isinstance(one, ast.ImportFrom) else [alias.name for alias in one.names]
                for package in {module.partition(".")[0] for module in names}:
                    if (folder / f"{package}.py").exists() or (folder / package / "__init__.py").exists():
                        raise Refused(
                            f"{package} lies beside the notebook, but a worker does not import from there. Move it into app/, "
                            f"and import it from there."
                        )


def _calls(statement: Statement, task: str) -> bool:
    return any(isinstance(one, ast.Call) and ast.unparse(one.func) == task for one in ast.walk(statement.node))


def _lies_beside(folder: Path, root: Path, text: str) -> bool:
    if not text or len(text) > 255 or "\0" in text or "\n" in text or Path(text).is_absolute():
        return False
    return (folder / text).is_file() and not (root / text).exists()


# --- what is written ---


def _modules(
    root: Path,
    notebook: Notebook,
    place: Path,
    task: str,
    paths: Mapping[str, Path],
    every: str | None,
    name: str | None,
) -> dict[Path, str]:
    """Return the job's module and, if there is to be one, its page."""
    taken = dependencies(notebook, task)
    files = {paths["job"]: writing.job_module(root, place, task, taken, every, name)}
    if "page" in paths:
        definition = definition_of_task(notebook, task)
        assert isinstance(definition.node, ast.FunctionDef)
        module, kind = paths["job"].stem, kind_of(definition)
        files[paths["page"]] = page_module(root, module, definition.node, kind, taken)
    return {path: writing.marked(text, place) for path, text in files.items()}


# --- evidence ---


def _records(
    root: Path, notebook: Notebook, taken: Sequence[Statement], task: str
) -> tuple[list[dict[str, Any]], bool]:
    """Run the notebook, and return what the task's calls returned, and whether there are calls without a record."""
    calls, others = evidence.literal_calls(notebook, task)
    kind = kind_of(next(one for one in taken if task in one.binds))
    code = evidence.recording(writing.run_here(task, kind) if kind else task, calls) if calls else ""
    with tempfile.TemporaryDirectory() as folder:
        ran, printed = evidence.run(notebook, notebook.path.parent, _environment(root, folder), code)
        changed = evidence.differences(notebook, ran)
        if changed:
            again, _ = evidence.run(notebook, notebook.path.parent, _environment(root, folder))
            cell, now, before = changed[0]
            at = notebook.cells.index(cell)
            if evidence.shown(ran[at].outputs) != evidence.shown(again[at].outputs):
                raise Refused(
                    f"{cell.label} gives another output at each run, so it proves nothing. Tag it {evidence.IGNORED}, or take "
                    "the time out of it."
                )
            raise Refused(f"{cell.label} shows {now}, but {before} is stored. Run all cells from the top, and save.")
    records = json.loads(printed.strip().splitlines()[-1]) if printed else []
    for record in records:
        if "refused" in record:
            raise Refused(f"{task}({record['arguments']}) returns what the queue cannot keep. {record['refused']}")
    return [record for record in records if "value" in record or "shown" in record], others


def _environment(root: Path, folder: str) -> dict[str, str]:
    """Return variables that keep a run away from the app's own jobs."""
    inherited = os.environ.get("PYTHONPATH")
    return {
        "DATABASE_URL": f"sqlite:///{Path(folder, 'jobs.sqlite')}",
        "PYTHONPATH": os.pathsep.join([str(root.resolve()), *([inherited] if inherited else [])]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "TQDM_DISABLE": "1",
    }


def _prove(
    root: Path,
    place: Path,
    module: str,
    job: str,
    files: Mapping[Path, str | None],
    test: Path | None,
    page: Path | None,
) -> None:
    """Check the files in a copy of the app: imports, names, the new test and page, and the notebook again."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "app-copy")
        shutil.copytree(root, copy, ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=True)
        for path, content in files.items():
            if content is not None:
                (copy / path).parent.mkdir(parents=True, exist_ok=True)
                (copy / path).write_text(content)
            else:
                (copy / path).unlink(missing_ok=True)
        environment = os.environ | _environment(copy, folder)
        source = files[Path("app/jobs", f"{module}.py")]
        assert source is not None
        writing.ruff(copy, "check", "--quiet", "--select", "F821,E9", "--output-format", "concise", source=source)
        _run_in(
            copy,
            environment,
            "The job cannot be imported from the app's folder:",
            "-c",
            "from app.jobs import huey; huey.discover(); "
            f"assert {f'app.jobs.{module}.{job}'!r} in huey.tasks_by_name(), sorted(huey.tasks_by_name())",
        )
        if test is not None:
            pytest = ("-m", "pytest", "-q", "-p", "no:cacheprovider", test.as_posix())
            _run_in(copy, environment, "The new test fails:", *pytest)
        if page is not None:
            address = f"/{page.stem.replace('_', '-')}"
            _run_in(copy, environment, f"The page {address} cannot be added:", "-c", PAGE_CHECK, address)
        again = Notebook(copy / place)
        ran, _ = evidence.run(again, (copy / place).parent, _environment(copy, folder))
        for cell, now, before in evidence.differences(again, ran):
            raise Refused(f"With the promoted job {cell.label} shows {now}, but {before} is stored.")


def _run_in(folder: Path, environment: Mapping[str, str], title: str, *arguments: str) -> None:
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, env=dict(environment), capture_output=True, text=True)
    if done.returncode:
        raise Refused(f"{title}\n{(done.stdout + done.stderr).strip()[-2000:]}")


# --- the notebook ---


def _rewritten(
    root: Path,
    notebook: Notebook,
    taken: Sequence[Statement],
    task: str,
    module: str,
    options: Mapping[str, str | None],
) -> str:
    """Return the notebook's text with imports in place of what was taken.

    Each cell keeps its source before, for `demote`, and the promotion's options.
    """
    before = {cell: cell.node.source for cell in notebook.cells}
    for cell, source in writing.new_sources(notebook, taken, task, module).items():
        cell.node.source = source
    # Sort the imports of these cells, and remove those that no cell uses any more.
    fixed = writing.ruff(
        root,
        "check",
        "--quiet",
        "--select",
        "I,F401",
        "--fix",
        "--exit-zero",
        source=_as_text(notebook),
        name="notebook.ipynb",
    )
    fixed = writing.ruff(root, "format", "--quiet", source=fixed, name="notebook.ipynb")
    tidy = [node.source for node in nbformat.reads(fixed, as_version=4).cells if node.cell_type == "code"]
    touched = {statement.cell for statement in taken}
    for cell, source in zip(notebook.cells, tidy, strict=True):
        left = "" if source.strip() == cell.magic else source  # a cell magic without code is an error
        cell.node.source = left if cell in touched else before[cell]
        if cell.node.source != before[cell]:
            kept = {"module": module, "task": task, "options": options, "source": before[cell], "left": left}
            cell.node.metadata[KEPT] = kept | {"before": cell.node.metadata.get(KEPT)}  # of another promotion
    return _as_text(notebook)


def _as_text(notebook: Notebook) -> str:
    return nbformat.writes(notebook.node) + "\n"


def _diff(path: Path, held: Path, after: str | None) -> str:
    before = held.read_text() if held.exists() else ""
    names = (
        f"a/{path.as_posix()}" if held.exists() else "/dev/null",
        f"b/{path.as_posix()}" if after is not None else "/dev/null",
    )
    old, new = (_for_diff(path, text).splitlines(keepends=True) for text in (before, after or ""))
    lines = difflib.unified_diff(old, new, *names)
    return "".join(line if line.endswith("\n") else line + "\n" for line in lines)


def _for_diff(path: Path, text: str) -> str:
    """Return a file's text as the diff shows it: of a notebook the sources of its cells."""
    if path.suffix != ".ipynb" or not text:
        return text
    cells = [cell.source for cell in nbformat.reads(text, as_version=4).cells if cell.cell_type == "code"]
    return re.sub(r"\n*\Z", "\n", "\n\n# ---\n".join(cells))
