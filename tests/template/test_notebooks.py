"""Tests that the notebooks run and give their stored outputs. `make notebooks` stores the outputs again."""

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests import baking
from tests.baking import Bake
from tests.engine.promote.notebooks import write

TOUR = baking.KIT / "notebooks" / "tour.ipynb"
NOTEBOOKS = {"tour": TOUR} | {path.stem: path for path in sorted((baking.TEMPLATE / "notebooks").glob("*.ipynb"))}

LARGEST = 200_000  # bytes of a notebook; a chart with too many points has more
PLACES = re.compile(r"/(?:home|root|tmp|usr|var|Users)/|site-packages")  # paths of one machine

# With all that trips writers: a cell magic, tabs, carriage returns, quotes and backslashes in text, a last comment.
SALES = '''
import time

GRÖSSE = """a\t"b" \\\\
  c"""
# %%
%%capture

# Adds up.\r
def total_sales(region: str = "north") -> str:\r
\ttime.sleep(1)\r
\treturn GRÖSSE + \\\r
\t\tregion\r
# the end
# %%
total_sales()
'''


@pytest.fixture(params=NOTEBOOKS, ids="notebook:{}".format)
def path(request: pytest.FixtureRequest) -> Path:
    return NOTEBOOKS[request.param]


@pytest.fixture
def cells(path: Path) -> list[Any]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


@pytest.mark.long
def test_the_apps_own_tests_run_its_notebook(installed: Bake) -> None:
    """Test that the notebook's cells are collected. Another test checks that they pass."""
    app = installed(example="portfolio")
    done = pytest_in(app, baking.in_the_app(app), "--collect-only")
    for notebook in ("prices", "reports/weekly"):
        assert f"notebooks/{notebook}.ipynb::Cell 0" in done.stdout, done.stdout + done.stderr


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


@pytest.mark.long
def test_the_docs_commands_promote_a_notebook_and_take_it_back(bake: Bake, tmp_path: Path) -> None:
    app = Path(shutil.copytree(bake(example="blank"), tmp_path / "desk"))
    (app / ".venv").symlink_to(sys.prefix)
    path = write(app / "notebooks" / "sales.ipynb", SALES, run=True)
    used = processor_time()
    subprocess.run(["jupyter", "execute", path], env=baking.in_the_app(app), capture_output=True, check=True)
    peer = processor_time() - used
    before = files(app)
    text = (baking.KIT / "docs" / "notebooks.md").read_text()
    [promote] = re.findall(r"^\S+python -m app promote .*$", text, re.MULTILINE)
    [demote] = re.findall(r"`(\S+python -m app demote [^`]*)`", text)
    begun, used = time.monotonic(), processor_time()
    done = subprocess.run(["bash", "-ec", promote], cwd=app, capture_output=True, text=True)
    took, used = time.monotonic() - begun, processor_time() - used
    assert done.returncode == 0, done.stdout + done.stderr
    print(f"promote took {took:.1f} s, {used:.1f} s of them on a processor. Jupyter runs the notebook in {peer:.1f} s")
    assert used < 7 * peer  # on an idle machine it waits for 4 s besides, three of them in the notebook
    promoted = {"app/jobs/sales.py", "tests/jobs/test_sales.py", "app/pages/sales.py"}
    assert files(app).keys() - before.keys() == promoted
    assert all(f"| `{path}` |" in text for path in promoted)
    done = subprocess.run(["bash", "-ec", demote], cwd=app, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert files(app) == before


@pytest.mark.alone
@pytest.mark.long
def test_all_notebooks_of_kit_and_app_show_what_is_stored_and_are_checked_in_under_two_minutes(installed: Bake) -> None:
    app = installed(example="portfolio")
    begun = time.monotonic()
    # The kit's own tests run without the plugin, the app's with it.
    for folder, environment, arguments in (
        (baking.KIT, baking.with_programs(), ["-p", "nbval.plugin", TOUR]),
        (app, baking.in_the_app(app), ["notebooks"]),
    ):
        done = pytest_in(folder, environment, "--nbval", "--nbval-current-env", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
    took = time.monotonic() - begun
    print(f"the notebooks took {took:.1f} s")
    assert took < 120


def test_the_web_process_imports_nothing_of_notebooks() -> None:
    code = "import sys, app.web; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=baking.TEMPLATE, capture_output=True, text=True, check=True,
        env=os.environ | {"DATABASE_URL": "sqlite://"},
    )  # fmt: skip
    loaded = done.stdout.split()
    for name in ("jobqueue.notebook", "jobqueue.promote", "nbformat", "nbclient", "ipykernel", "jupyter_client"):
        assert not [module for module in loaded if f"{module}.".startswith(f"{name}.")]


def processor_time() -> float:
    """Return the seconds that processes which this one started, and which have ended, spent on a processor."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def files(app: Path) -> dict[str, bytes]:
    """Return the contents of an app's files, but of hidden folders."""
    paths = {path.relative_to(app): path for path in app.rglob("*") if path.is_file()}
    return {str(name): path.read_bytes() for name, path in paths.items() if not str(name).startswith(".")}


def pytest_in(folder: Path, environment: dict[str, str], *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    command = ["python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
