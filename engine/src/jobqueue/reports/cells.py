"""The cells of a notebook as nbformat reads it: prepared for a run, cut after it, and the headings among them."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jobqueue.reports.parameters import INJECTED, TAG, cell_source


def prepare(node: Any, parameters: Mapping[str, Any]) -> None:
    """Drop stored outputs, and put the given parameters into a cell after the one with the defaults."""
    import nbformat

    for cell in node.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    node.cells = [cell for cell in node.cells if INJECTED not in cell.metadata.get("tags", [])]
    if parameters:
        injected = nbformat.v4.new_code_cell(cell_source(parameters), metadata={"tags": [INJECTED]})
        node.cells.insert(_after_last(node, lambda cell: TAG in cell.metadata.get("tags", [])), injected)


def cut(node: Any) -> None:
    """Drop the cells after the last one that ran."""
    del node.cells[_after_last(node, lambda cell: cell.cell_type == "code" and cell.execution_count is not None) :]


def title(node: Any) -> str:
    """Return the notebook's first heading as plain text, or an empty text."""
    return next((heading for cell in node.cells for heading in _headings(cell)), "")


def heading_above(node: Any, index: int) -> str:
    """Return the last heading above a cell as plain text, or an empty text."""
    found = [heading for cell in node.cells[:index] for heading in _headings(cell)]
    return found[-1] if found else ""


def _headings(cell: Any) -> Iterator[str]:
    if cell.cell_type == "markdown":
        for heading in re.findall(r"^#{1,6} +(.+)$", cell.source, re.MULTILINE):
            yield re.sub(r"[*_`#]+", "", heading).strip()


def _after_last(node: Any, matches: Callable[[Any], bool]) -> int:
    return 1 + max((index for index, cell in enumerate(node.cells) if matches(cell)), default=-1)
