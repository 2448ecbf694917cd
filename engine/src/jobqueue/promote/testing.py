"""A pytest plugin that compares notebooks with what is stored in them, beside nbval. An app's conftest.py names it.

It leaves out `notebooks/scratch/`, runs `notebooks/reports/` without a comparison, and does not compare standard error, where
progress bars write times. A notebook without outputs is an error.
"""

from pathlib import Path
from typing import Any

import nbformat
import pytest

SCRATCH, REPORTS = "scratch", "reports"


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    return True if collection_path.name == SCRATCH and collection_path.parent.name == "notebooks" else None


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if file_path.suffix != ".ipynb" or file_path.parent.name == REPORTS:
        return None
    cells = nbformat.read(file_path, as_version=4).cells
    if any(cell.get("outputs") for cell in cells):
        return None
    return NoOutputs.from_parent(parent, path=file_path)


def pytest_collectstart(collector: Any) -> None:
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += ("stderr",)
        if collector.path.parent.name == REPORTS:
            collector.compare_outputs = False


class NoOutputs(pytest.File):
    """A notebook that nothing can be compared with."""

    def collect(self) -> Any:
        raise self.CollectError(
            f"{self.path.name} has no stored outputs, so there is nothing to compare. Run all cells and save, or move it to "
            "notebooks/scratch/."
        )
