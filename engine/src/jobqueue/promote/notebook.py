"""A notebook as promote reads it: its code cells, and the statements at their top level."""

import ast
import re
import symtable
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import nbformat
from IPython.core.inputtransformer2 import TransformerManager

from jobqueue.promote.refusal import Refused

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(eq=False)
class Cell:
    """A code cell. `python`: its source with magics turned into calls of get_ipython(), as IPython runs it."""

    node: Any
    source: str
    python: str
    magic: str = ""  # of a cell magic: its line, such as "%%time". Then `python` is the code below it

    @property
    def label(self) -> str:
        """The label that Jupyter shows, such as "[3]"."""
        return f"[{self.node.get('execution_count') or ' '}]"

    @property
    def tags(self) -> list[str]:
        tags: list[str] = self.node.metadata.get("tags", [])
        return tags

    @cached_property
    def lines(self) -> list[str]:
        return self.python.split("\n")

    def quoted(self, line: int) -> str:
        """Return a line of the source, counted from 1, for a message."""
        lines = self.source.split("\n")
        return lines[line - 1].strip() if line <= len(lines) else ""


@dataclass(eq=False)
class Statement:
    """A statement at the top level of a cell."""

    cell: Cell
    node: ast.stmt
    first: int  # the line of the comments above it, counted from 1
    last: int
    binds: set[str] = field(default_factory=set)  # names that it gives a value at the top level
    uses: set[str] = field(default_factory=set)  # global names that it reads
    stores: set[str] = field(default_factory=set)  # names that a function in it declares global, and gives a value

    @property
    def text(self) -> str:
        """The source with the comments above it."""
        return "\n".join(self.cell.lines[self.first - 1 : self.last])

    @property
    def line(self) -> str:
        """The first line of the code, for a message."""
        return self.cell.quoted(self.node.lineno)

    @property
    def label(self) -> str:
        return self.cell.label


class Notebook:
    """A notebook file. Raises Refused if it cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.node = nbformat.read(path, as_version=4)
        except FileNotFoundError:
            raise Refused(f"There is no notebook {path}.") from None
        except Exception as error:
            raise Refused(f"{path.name} cannot be read as a notebook: {error}") from error
        self.parse()

    def parse(self) -> None:
        """Find the cells and their statements, again after a change of the node."""
        self.cells = [self._cell(node) for node in self.node.cells if node.cell_type == "code"]
        self.statements = [statement for cell in self.cells for statement in statements_of(cell)]

    def _cell(self, node: Any) -> Cell:
        source: str = node.source.replace("\r\n", "\n")
        magic, below = "", source
        if source.lstrip().startswith("%%"):
            source = source.lstrip()
            magic, _, below = source.partition("\n")
            below = "\n" + below
        # IPython drops the empty lines above the code. They stay here, so that all lines keep their numbers.
        empty = len(below) - len(below.lstrip("\n"))
        return Cell(node, source, "\n" * empty + TransformerManager().transform_cell(below), magic)

    def functions(self) -> list[str]:
        """Return the names of all functions that cells define, in the notebook's order."""
        found = [one.node.name for one in self.statements if isinstance(one.node, Function)]
        return list(dict.fromkeys(found))

    def binding(self, name: str) -> list[Statement]:
        """Return the statements that give a global name a value."""
        return [statement for statement in self.statements if name in statement.binds]


def statements_of(cell: Cell) -> Iterator[Statement]:
    """Yield the statements of a cell. A cell that is not Python has none."""
    if cell.magic and not re.match(r"%%(time|timeit|capture|prun)\b", cell.magic):
        return
    try:
        tree = ast.parse(cell.python)
    except SyntaxError:
        return
    before = 0
    for node in tree.body:
        start = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", []))])
        last = node.end_lineno or node.lineno
        statement = Statement(cell, node, _first_comment(cell.lines, before, start), last)
        statement.binds, statement.uses, statement.stores = names_of(node)
        before = last
        yield statement


def _first_comment(lines: list[str], before: int, start: int) -> int:
    """Return the line of the first of the comments that stand directly above a line."""
    first = start
    while first - 1 > before and lines[first - 2].lstrip().startswith("#"):
        first -= 1
    return first


def names_of(node: ast.stmt) -> tuple[set[str], set[str], set[str]]:
    """Return the global names that a statement gives a value, those that it reads, and those that a function in it changes."""
    top = symtable.symtable(ast.unparse(node), "cell", "exec")
    binds, uses, stores = set[str](), set(annotated_names(node)), set[str]()
    tables = [top]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        for symbol in table.get_symbols():
            name = symbol.get_name()
            if table is top and (symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace()):
                binds.add(name)
            if symbol.is_referenced() and (table is top or symbol.is_global()):
                uses.add(name)
            if table is not top and symbol.is_declared_global() and symbol.is_assigned():
                stores.add(name)
    return binds, uses, stores


def parameters(function: Function) -> list[tuple[ast.arg, ast.expr | None]]:
    """Return a function's parameters with their default values, except for `*args` and `**kwargs`. None: it has no default."""
    given = function.args
    positional = [*given.posonlyargs, *given.args]
    defaults = [None] * (len(positional) - len(given.defaults)) + list(given.defaults)
    return [*zip(positional, defaults, strict=True), *zip(given.kwonlyargs, given.kw_defaults, strict=True)]


def annotated_names(node: ast.AST) -> Iterator[str]:
    """Yield the names in annotations, also in those that are text."""
    for one in ast.walk(node):
        for annotation in (getattr(one, "annotation", None), getattr(one, "returns", None)):
            if annotation is not None:
                yield from _names_in(annotation)


def _names_in(annotation: ast.AST) -> Iterator[str]:
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value).rpartition(".")[2] == "Literal":
        annotation = annotation.value  # its texts are values
    if isinstance(annotation, ast.Name):
        yield annotation.id
    elif isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        with suppress(SyntaxError):
            yield from _names_in(ast.parse(annotation.value, mode="eval").body)
    for inner in ast.iter_child_nodes(annotation):
        yield from _names_in(inner)
