"""Parameters of a notebook: the assignments of its cell tagged `parameters`, replaced as papermill does.

This module reads the notebook's file with the standard library alone, because the web process checks a submit with it.
"""

import ast
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TAG = "parameters"  # of the notebook's cell
INJECTED = "injected-parameters"  # of the cell with the given values
PLAIN = "Give text, a number, True, False, None, or a list or dict of them."


class BadParameter(ValueError):
    """A parameter that the notebook does not have, or a value that it cannot take. Nothing was submitted."""


@dataclass(frozen=True)
class Parameters:
    """The parameters of one notebook.

    :param task: the task's name, for messages.
    :param defaults: the source of each default, by name.
    """

    task: str
    defaults: Mapping[str, str]

    @classmethod
    def of(cls, task: str, path: Path) -> "Parameters":
        """Read the parameters of a notebook's file. Raises BadParameter if it cannot be read."""
        try:
            cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
            sources = ["".join(cell["source"]) for cell in cells if TAG in cell.get("metadata", {}).get("tags", [])]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadParameter(
                f"{task} cannot read its notebook {path} ({type(error).__name__}: {error}). Open it in JupyterLab and save it."
            ) from error
        try:
            return cls(task, _assignments("\n".join(sources)))
        except SyntaxError as error:
            raise BadParameter(
                f"The cell of {path.name} tagged parameters is not plain Python: {error}. Leave only assignments in it."
            ) from error

    def check(self, given: Mapping[str, Any]) -> None:
        """Raise BadParameter for an unknown name, and for a value of another type than the default's."""
        for name, value in given.items():
            if name not in self.defaults:
                raise BadParameter(f'{self.task} has no parameter "{name}". {self}')
            try:
                source_of(value)
            except ValueError as error:
                raise BadParameter(f"{self.task} cannot take {name}: {error} {PLAIN}") from None
            kind = self._kind(name)
            if kind is not None and not _fits(value, kind):
                raise BadParameter(
                    f"{self.task} takes {name} as {kind.__name__}, and {_written(value)} is {type(value).__name__}. {self}"
                )

    def _kind(self, name: str) -> type | None:
        """Return the type of a default. Return None if any value will do: for None, and for an expression."""
        try:
            default = ast.literal_eval(self.defaults[name])
        except ValueError:
            return None
        return None if default is None else type(default)

    def __str__(self) -> str:
        if not self.defaults:
            return 'It takes none: no cell of its notebook is tagged "parameters".'
        return f"It takes {', '.join(f'{name}={default}' for name, default in self.defaults.items())}."


def cell_source(given: Mapping[str, Any]) -> str:
    """Return the source of the cell that sets the given values."""
    return "\n".join(["# Parameters", *(f"{name} = {source_of(value)}" for name, value in given.items())])


def source_of(value: Any) -> str:
    """Return Python source that makes a value. Raises ValueError for other than plain values.

    >>> source_of({"rows": [1, float("inf")]})
    "{'rows': [1, float('inf')]}"
    """
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return repr(value)
    if kind is float:
        return repr(value) if math.isfinite(value) else f"float('{value}')"
    if kind in (list, tuple):
        return f"[{', '.join(map(source_of, value))}]"
    if kind is dict:
        return "{" + ", ".join(f"{source_of(key)}: {source_of(item)}" for key, item in value.items()) + "}"
    raise ValueError(f"a value of type {kind.__name__} cannot be written into a cell.")


def _assignments(source: str) -> dict[str, str]:
    """Return the source of the values that a cell assigns to names, by name."""
    found: dict[str, str] = {}
    for statement in ast.parse(source).body:
        match statement:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ):
                try:
                    found[name] = _written(ast.literal_eval(value))
                except ValueError:
                    found[name] = ast.unparse(value)
    return found


def _written(value: Any) -> str:
    """Return a value as people type it: text in double quotes."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _fits(value: Any, kind: type) -> bool:
    if kind is float:
        return type(value) in (int, float)
    if kind in (list, tuple, set):
        return type(value) in (list, tuple)
    return type(value) is kind
