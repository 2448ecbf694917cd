"""Notebooks for tests, written as text: cells are separated by lines of `# %%`."""

from pathlib import Path

import nbformat
from nbclient import NotebookClient

from jobqueue.reports.kernel import Kernel

BETWEEN = "# %%\n"


def write(path: Path, source: str, run: bool = False) -> Path:
    """Write a notebook of these cells. Run it and store its outputs, or only number its cells."""
    cells = [nbformat.v4.new_code_cell(cell.strip("\n")) for cell in source.lstrip("\n").split(BETWEEN)]
    node = nbformat.v4.new_notebook(cells=cells)
    if run:
        NotebookClient(node, kernel_manager_class=Kernel, resources={"metadata": {"path": str(path.parent)}}).execute()
    else:
        for number, cell in enumerate(node.cells, 1):
            cell.execution_count = number
    nbformat.write(node, path)
    return path
