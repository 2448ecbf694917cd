"""Tests that the notebooks run and give their stored outputs. `make notebooks` stores the outputs again."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import baking
from tests.baking import Bake

TOUR = baking.KIT / "notebooks" / "tour.ipynb"
NOTEBOOKS = {"tour": TOUR} | {path.stem: path for path in sorted((baking.TEMPLATE / "notebooks").glob("*.ipynb"))}

LARGEST = 200_000  # bytes of a notebook; a chart with too many points has more
PLACES = re.compile(r"/(?:home|root|tmp|usr|var|Users)/|site-packages")  # paths of one machine


@pytest.fixture(params=NOTEBOOKS, ids="notebook:{}".format)
def path(request: pytest.FixtureRequest) -> Path:
    return NOTEBOOKS[request.param]


@pytest.fixture
def cells(path: Path) -> list[Any]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


@pytest.mark.long
def test_the_tour_shows_what_is_stored() -> None:
    done = pytest_in(baking.KIT, baking.with_programs(), "--nbval", "--nbval-current-env", TOUR)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.long
def test_the_apps_own_tests_run_its_notebook(installed: Bake) -> None:
    """Test that the notebook's cells are collected. Another test checks that they pass."""
    app = installed(example="portfolio")
    done = pytest_in(app, baking.in_the_app(app), "--collect-only")
    assert "notebooks/prices.ipynb::Cell 0" in done.stdout, done.stdout + done.stderr


def test_every_cell_was_run_once_and_in_order(cells: list[Any]) -> None:
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))


def test_all_cells_run_and_all_but_a_few_outputs_are_compared(cells: list[Any]) -> None:
    """Test that only outputs with a port, a bar's duration or a hook's text are not compared."""
    tags = [tag for cell in cells for tag in cell["metadata"].get("tags", [])]
    assert set(tags) == {"nbval-ignore-output"}
    assert len(tags) <= 2
    assert not any("NBVAL_" in line for cell in cells for line in cell["source"])


def test_stored_notebook_contains_no_path_of_the_machine(path: Path, cells: list[Any]) -> None:
    notebook = json.loads(path.read_text())
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert notebook["metadata"]["language_info"] == {"name": "python"}
    assert all(set(cell["metadata"]) <= {"tags"} for cell in notebook["cells"])
    assert not PLACES.search(json.dumps([cell["outputs"] for cell in cells]))


def test_a_stored_notebook_is_small(path: Path) -> None:
    assert path.stat().st_size < LARGEST


def pytest_in(folder: Path, environment: dict[str, str], *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    command = ["python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
