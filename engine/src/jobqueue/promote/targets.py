"""The files of a promoted job: their paths, and what stands in their way."""

import ast
import difflib
import keyword
from collections.abc import Mapping
from pathlib import Path

from jobqueue.promote import writing
from jobqueue.promote.refusal import Refused


def module_name(place: Path, name: str | None) -> str:
    """Return the name of the job's module: the notebook's, unless another is given. Raises Refused."""
    module = name or place.stem
    if not module.isidentifier() or keyword.iskeyword(module) or module.startswith("_"):
        given = f"--as {module}" if name else place.name
        raise Refused(f"{given} makes no module's name. Use --as with a name of letters, digits and underscores.")
    return module


def targets(module: str, page: bool) -> dict[str, Path]:
    """Return the paths of a job's files: "job", "test" and perhaps "page"."""
    found = {"job": Path("app/jobs", f"{module}.py"), "test": Path("tests/jobs", f"test_{module}.py")}
    if page:
        found["page"] = Path("app/pages", f"{module}.py")
    return found


def check_targets(root: Path, paths: Mapping[str, Path], place: Path, task: str, name: str | None) -> None:
    """Refuse to replace files that promote did not write from this notebook, and a name that another job has."""
    for target in paths.values():
        if not (root / target).exists():
            continue
        mark = writing.mark_of((root / target).read_text())
        if mark is None or mark[0] != place.as_posix():
            raise Refused(
                f"{target.as_posix()} exists already, and was not promoted from {place.as_posix()}. Use --as."
            )
    job = root / paths["job"]
    if job.exists() and task not in (names := _job_names(job)):
        raise Refused(
            f"{paths['job'].as_posix()} holds the job {', '.join(sorted(names))}, and a module holds one job. Use --as."
        )
    for path in sorted((root / "app" / "jobs").glob("*.py")):
        if path.name != paths["job"].name and (name or task) in _job_names(path):
            raise Refused(
                f"app/jobs/{path.name} already has a job named {name or task}. Use --as, or rename the function."
            )


def _job_names(path: Path) -> set[str]:
    """Return the names of the functions in a module that are jobs."""
    try:
        body = ast.parse(path.read_text()).body
    except SyntaxError:
        return set()
    return {
        one.name
        for one in body
        if isinstance(one, ast.FunctionDef)
        and any("huey." in ast.unparse(decorator) for decorator in one.decorator_list)
    }


def check_edits(root: Path, made: Mapping[Path, str | None], advice: str) -> None:
    """Refuse to lose edits of files that promote wrote.

    :param made: by path: what promote makes of the notebook now. None for a file that goes.
    :param advice: what to do with the edits.
    """
    for path, text in made.items():
        held = (root / path).read_text() if (root / path).exists() else ""
        mark = writing.mark_of(held)
        before, after = (writing.without_mark(one).splitlines() for one in (text or "", held))
        if mark is not None and mark[1] and before != after:
            diff = "\n".join(difflib.unified_diff(before, after, "as promoted", path.as_posix(), lineterm=""))
            raise Refused(f"{path.as_posix()} was edited since it was promoted:\n{diff}\n{advice}")
