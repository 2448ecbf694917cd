"""Write the module of a promoted job, its test and its page, and what takes its place in the notebook."""

import ast
import hashlib
import re
import subprocess
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ruff import find_ruff_bin  # type: ignore[import-untyped]

from jobqueue.promote.dependencies import kind_of, task_decorator
from jobqueue.promote.notebook import Cell, Function, Notebook, Statement, annotated_names
from jobqueue.promote.refusal import Refused

# Packages that only workers load: their imports move into the functions that use them.
HEAVY = frozenset(
    "catboost cvxpy jax keras lightgbm nltk numba pandas polars prophet pyarrow scipy skfolio sklearn spacy statsmodels sympy tensorflow torch "
    "transformers xgboost".split()
)
MARK = re.compile(r"^# Promoted from (?P<notebook>.+) \(sha256 (?P<hash>[0-9a-f]{16})\)\.$", re.MULTILINE)


class Import:
    """One name of an import statement."""

    def __init__(self, statement: Statement, alias: ast.alias) -> None:
        node = statement.node
        self.alias = alias
        self.bound = alias.asname or alias.name.partition(".")[0]
        name = alias.name + (f" as {alias.asname}" if alias.asname else "")
        self.package = alias.name.partition(".")[0]
        self.text = f"import {name}"
        if isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            self.package = module.partition(".")[0]
            self.text = f"from {module} import {name}"


def job_module(
    root: Path, notebook: Path, task: str, taken: Sequence[Statement], every: str | None, name: str | None
) -> str:
    """Return the source of a promoted job's module, without its mark.

    :param root: the app's folder, whose settings of ruff hold.
    :param notebook: the notebook's path in the app, for the docstring.
    :param taken: what the task needs, in the notebook's order.
    :param every: a schedule in words.
    :param name: the job's name, if it is not the function's.
    """
    imports = [
        Import(statement, alias)
        for statement in taken
        if isinstance(statement.node, ast.Import | ast.ImportFrom)
        for alias in statement.node.names
    ]
    needed = {used for statement in taken for used in _used(statement)}
    others = [statement for statement in taken if not isinstance(statement.node, ast.Import | ast.ImportFrom)]
    imports = [one for one in imports if one.bound in needed or one.alias.name == "*"]
    movable = {one.bound: one for one in imports if one.package in HEAVY and _is_inside(one.bound, others)}
    lines = [f'"""{task}, from {notebook.as_posix()}."""', ""]
    lines += dict.fromkeys(one.text for one in imports if one.bound not in movable)
    annotated = {name for statement in others for name in annotated_names(statement.node)}
    for_types = [one.text for name, one in movable.items() if name in annotated]
    if for_types:  # the web process imports this module too, and needs no annotations
        lines[1:2] = ["", "from __future__ import annotations", "", "from typing import TYPE_CHECKING"]
    lines += ["from app.jobs import huey"]
    if every is not None:
        lines += ["from jobqueue import every"]
    blocks = ["if TYPE_CHECKING:\n" + textwrap.indent("\n".join(for_types), "    ")] if for_types else []
    for statement in others:
        text = _with_imports(statement, movable)
        if isinstance(statement.node, ast.FunctionDef) and statement.node.name == task:
            text = _as_job(statement, text, every, name)
        blocks.append(text)
    return formatted(root, "\n".join(lines) + "\n\n\n" + "\n\n\n".join(blocks) + "\n")


def _used(statement: Statement) -> set[str]:
    decorator = task_decorator(statement)
    if decorator is None:
        return statement.uses
    receiver = {one.id for one in ast.walk(decorator) if isinstance(one, ast.Name)}
    options = getattr(decorator, "args", []) + [one.value for one in getattr(decorator, "keywords", [])]
    named = {one.id for option in options for one in ast.walk(option) if isinstance(one, ast.Name)}
    return statement.uses - (receiver - named)


def _is_inside(name: str, statements: Sequence[Statement]) -> bool:
    """Return whether a name is used inside of functions only, so that its import can move there."""
    for statement in statements:
        if name not in statement.uses:
            continue
        node = statement.node
        if not isinstance(node, Function) or node.body[0].lineno == node.lineno:
            return False
        outside = [*node.decorator_list, *node.args.defaults, *(one for one in node.args.kw_defaults if one)]
        if any(isinstance(one, ast.Name) and one.id == name for part in outside for one in ast.walk(part)):
            return False
    return True


def _inside(node: ast.stmt) -> set[str]:
    """Return the names that a function's body mentions."""
    body = node.body if isinstance(node, Function) else []
    return {one.id for part in body for one in ast.walk(part) if isinstance(one, ast.Name)}


def _with_imports(statement: Statement, movable: dict[str, Import]) -> str:
    """Return a statement's source, with the imports that move into it."""
    node = statement.node
    moved = [movable[name].text for name in sorted(_inside(node) & movable.keys())]
    if not moved:
        return statement.text
    assert isinstance(node, Function)
    body = node.body
    after = body[0] if ast.get_docstring(node, clean=False) is not None and len(body) > 1 else None
    number = (
        (after.end_lineno or 0)
        if after is not None
        else min([body[0].lineno, *(one.lineno for one in getattr(body[0], "decorator_list", []))]) - 1
    )
    lines = statement.cell.lines[statement.first - 1 : statement.last]
    at = number - statement.first + 1
    first = statement.cell.lines[body[0].lineno - 1]
    indent = first[: len(first) - len(first.lstrip())]
    return "\n".join([*lines[:at], *(indent + line for line in moved), "", *lines[at:]])


def _as_job(statement: Statement, text: str, every: str | None, name: str | None) -> str:
    """Return a task's source with the decorator of the app's queue."""
    node = statement.node
    assert isinstance(node, ast.FunctionDef)
    lines = text.split("\n")
    first = min([node.lineno, *(one.lineno for one in node.decorator_list)]) - statement.first
    above, code = lines[:first], lines[node.lineno - statement.first :]
    kind, options = kind_of(statement) or "task", ""
    decorator = task_decorator(statement)
    if isinstance(decorator, ast.Call):
        parts = [*decorator.args, *decorator.keywords]
        options = ", ".join(ast.get_source_segment(statement.cell.python, part) or "" for part in parts)
    if every is not None:
        if kind != "task":
            raise Refused(
                f"{statement.label} {node.name} has a schedule already. Leave --every out, or use @queue.task()."
            )
        kind, options = "periodic_task", ", ".join(filter(None, [f"every({every!r})", options]))
    if name is not None and name != node.name:
        options = ", ".join(filter(None, [options, f"name={name!r}"]))
    return "\n".join([*above, f"@huey.{kind}({options})", *code])


def run_here(task: str, kind: str) -> str:
    """Return the source of the function that runs a task here and now. A dataset is such a function itself."""
    return task if kind == "dataset" else f"{task}.call_local"


def test_module(root: Path, module: str, task: str, kind: str, calls: Sequence[dict[str, Any]]) -> str:
    """Return the source of a promoted job's test, without its mark.

    :param calls: what promote recorded: the arguments' source and the value's, or the text that a frame shows.
    """
    lines = [
        f'"""{task} returns what its notebook showed."""',
        "",
        "import pytest",
        f"from app.jobs import {module}",
        "",
    ]
    for number, call in enumerate(calls, 1):
        suffix = "" if len(calls) == 1 else f"_{number}"
        lines += [f"def test_{task}_returns_what_the_notebook_showed{suffix}() -> None:"]
        lines += [f"    value = {module}.{run_here(task, kind)}({call['arguments']})"]
        if "shown" in call:
            lines += [f"    assert value.to_string() == {_quoted(call['shown'])}"]
        else:
            lines += [f"    assert value == {call['value']}"]
        lines += [""]
    text = "\n".join(lines)
    return formatted(root, text if "pytest." in text else text.replace("import pytest\n", ""))


def _quoted(text: str) -> str:
    return repr(text) if len(text.splitlines()) < 2 else '"\\n".join([' + ", ".join(map(repr, text.split("\n"))) + "])"


def call_local_lines(statement: Statement, module: str) -> str:
    """Return the lines that stand in the notebook where the task was defined. A call still returns a value."""
    assert isinstance(statement.node, ast.FunctionDef)
    name = statement.node.name
    decorator = task_decorator(statement)
    value = f"{module}.{name}.call_local"
    if decorator is not None:
        function = "function" if kind_of(statement) == "dataset" else "func"
        value = f"{ast.get_source_segment(statement.cell.python, decorator)}({module}.{name}.{function})"
    return f"from app.jobs import {module}\n\n{name} = {value}"


def new_sources(notebook: Notebook, taken: Sequence[Statement], task: str, module: str) -> dict[Cell, str]:
    """Return the new sources of the cells from which definitions were taken. Imports stay: other cells may need them."""
    changed: dict[Cell, list[tuple[Statement, str]]] = {}
    for statement in taken:
        if isinstance(statement.node, ast.Import | ast.ImportFrom | ast.If | ast.Try):
            continue
        if isinstance(statement.node, ast.FunctionDef) and statement.node.name == task:
            text = call_local_lines(statement, module)
        else:
            text = f"from app.jobs.{module} import {', '.join(sorted(statement.binds))}"
        changed.setdefault(statement.cell, []).append((statement, text))
    return {cell: _replaced(cell, replacements) for cell, replacements in changed.items()}


def _replaced(cell: Cell, replacements: Sequence[tuple[Statement, str]]) -> str:
    lines = cell.source.split("\n")
    for statement, text in sorted(replacements, key=lambda pair: -pair[0].first):
        lines[statement.first - 1 : statement.last] = text.split("\n")
    return "\n".join(lines).strip("\n")


def marked(text: str, notebook: Path) -> str:
    """Return a source with a comment that says where it comes from, and a hash that shows later edits."""
    docstring, _, rest = text.partition("\n")
    return f"{docstring}\n\n# Promoted from {notebook.as_posix()} (sha256 {_hash(text)}).\n{rest}"


def mark_of(text: str) -> tuple[str, bool] | None:
    """Return the notebook that a source was promoted from, and whether it was edited since. Return None without a mark."""
    found = MARK.search(text)
    if found is None:
        return None
    return found["notebook"], _hash(without_mark(text)) != found["hash"]


def without_mark(text: str) -> str:
    """Return a source as it was before `marked`."""
    return re.sub(rf"\n{MARK.pattern}\n", "", text, count=1, flags=re.MULTILINE)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def formatted(root: Path, source: str) -> str:
    """Return a source with sorted imports, formatted by ruff as the app's settings say."""
    for command in (["check", "--quiet", "--select", "I", "--fix"], ["format", "--quiet"]):
        source = ruff(root, *command, source=source)
    return source


def ruff(root: Path, *arguments: str, source: str, name: str = "app/jobs/promoted.py") -> str:
    """Run ruff on a source of the app, and return what it prints. Raises Refused.

    :param name: the file that ruff takes the source for.
    """
    command = [find_ruff_bin(), *arguments, "--stdin-filename", name, "-"]
    done = subprocess.run(command, input=source, capture_output=True, text=True, cwd=root)
    if done.returncode:
        raise Refused(
            f"ruff refuses the module that promote wrote:\n{textwrap.indent(done.stdout + done.stderr, '  ')}"
        )
    return done.stdout
