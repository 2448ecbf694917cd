"""Mutants of a module: its source with one operator, constant or comparison changed.

As a program, in an app's folder: read requests as lines of JSON, and answer each in a process of its own, forked from this one,
which has imported what the app needs. A request is a module's name and source, and the calls or the test to run.
"""

import ast
import contextlib
import hashlib
import importlib
import io
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

OPERATORS = {"+": "-", "-": "+", "*": "+", "/": "*", "//": "/", "%": "*", "**": "*"}
COMPARISONS = {"<": ">=", "<=": "<", ">": "<=", ">=": "<", "==": "!=", "!=": "==", "in": "not in", "not in": "in"}


def mutants(source: str) -> list[str]:
    """Return the mutants of what calls may reach: the bodies and default values of functions, and assigned constants."""
    found = []
    for statement in ast.parse(source).body:
        parts: list[ast.AST] = []
        if isinstance(statement, ast.FunctionDef):
            parts = [*statement.body, *statement.args.defaults, *(one for one in statement.args.kw_defaults if one)]
        elif isinstance(statement, ast.Assign):
            parts = [statement.value]
        for part in parts:
            for node in ast.walk(part):
                found += list(_mutants_at(source, node))
    return list(dict.fromkeys(found))


def _mutants_at(source: str, node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.BinOp):
        yield from _swapped(source, node.left, node.right, OPERATORS)
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        yield from _swapped(source, node.left, node.comparators[0], COMPARISONS)
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float | str):
        start, end = _at(source, node.lineno, node.col_offset), _at(source, node.end_lineno, node.end_col_offset)
        if source[start:end] == ast.unparse(node) or source[start:end] == json.dumps(
            node.value
        ):  # not inside an f-string
            yield source[:start] + _changed(node.value) + source[end:]


def _changed(value: bool | int | float | str) -> str:
    if isinstance(value, bool):
        return repr(not value)
    return repr(value + "x" if isinstance(value, str) else value + 1)


def _swapped(source: str, left: ast.expr, right: ast.expr, others: dict[str, str]) -> Iterator[str]:
    """Yield the source with the operator between two nodes exchanged for its counterpart."""
    start, end = _at(source, left.end_lineno, left.end_col_offset), _at(source, right.lineno, right.col_offset)
    operator = re.search(r"not\s+in|in\b|[-+*/%<>=!]+", source[start:end])
    if operator is not None and operator[0] in others:
        yield source[: start + operator.start()] + others[operator[0]] + source[start + operator.end() :]


def _at(source: str, line: int | None, column: int | None) -> int:
    """Return the index of a place in an ASCII source."""
    assert line is not None and column is not None
    return sum(map(len, source.splitlines(keepends=True)[: line - 1])) + column


def outcome(module: str, function: str, calls: list[str]) -> str:
    """Return a digest of what calls of a module's function, such as "total.call_local", return, print or raise."""
    said = io.StringIO()
    values = []
    with contextlib.redirect_stdout(said):
        for arguments in calls:
            try:
                names = vars(importlib.import_module(f"app.jobs.{module}"))
                values.append(repr(codec.encode(eval(f"{function}({arguments})", dict(names)))))
            except Exception as error:
                values.append(repr(error))
    return hashlib.sha256(repr((values, said.getvalue())).encode()).hexdigest()


def answer(request: dict[str, Any]) -> Any:
    Path("app", "jobs", f"{request['module']}.py").write_text(request["source"])
    importlib.invalidate_caches()
    if "calls" in request:
        return outcome(request["module"], request["function"], request["calls"])
    with contextlib.redirect_stdout(io.StringIO()):
        return int(pytest.main(["-q", "-x", "-p", "no:cacheprovider", f"tests/jobs/test_{request['module']}.py"]))


def serve() -> None:
    """Answer requests until standard input ends."""
    for line in sys.stdin:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writer, json.dumps(answer(json.loads(line))).encode())
            os._exit(0)
        os.close(writer)
        with open(reader, "rb") as answered:
            print(answered.read().decode(), flush=True)
        os.waitpid(child, 0)


if __name__ == "__main__":
    import pandas  # noqa: F401
    import pytest

    from app.jobs import huey  # noqa: F401
    from jobqueue import codec

    serve()
