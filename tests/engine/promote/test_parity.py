"""What a promoted job's test and notebook compare is all that its recorded calls show: mutants of the module turn them red."""

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from jobqueue.promote import apply, evidence, plan, promotion
from jobqueue.promote.dependencies import definition_of_task, kind_of
from jobqueue.promote.notebook import Notebook
from jobqueue.promote.writing import run_here
from jobqueue.reports.kernel import Kernel
from tests.engine.consumers import environment
from tests.engine.promote import mutants
from tests.engine.promote.notebooks import write
from tests.engine.promote.test_promotion import CELLS, lay_out

FRAMES = """
import pandas as pd

PRICES = {"tea": 2.5, "milk": 1.25}
# %%
# Orders of a week.
def orders(days: int) -> pd.DataFrame:
    names = ["tea" if day % 3 < 1 else "milk" for day in range(days)]
    return pd.DataFrame({"product": names, "count": [day * 2 + 1 for day in range(days)]})


def receipts(days: int = 6, discount: float = 0.1) -> pd.DataFrame:
    table = orders(days)
    table["paid"] = table["count"] * table["product"].map(PRICES) * (1 - discount)
    table["large"] = table["paid"] > 9
    return table[table["count"] != 3]
# %%
receipts()
# %%
receipts(days=8, discount=0.25)
"""
DATASET = """
from datetime import date, timedelta

import numpy as np
from jobqueue import every
from jobqueue.notebook import queue

START = date(2024, 1, 2)
STEPS = (1, 2, 4)
# %%
def days(count: int):
    return [START + timedelta(days=7 * number) for number in range(count)]


def weight(step):
    if step >= 3:
        return step / 8
    return step ** 2 - 0.5
# %%
@queue.dataset(every("day at 07:30"), stale_after="2 days")
def levels(count: int = 3) -> dict:
    curve = np.cumsum([weight(step) for step in STEPS])
    print("last", round(float(curve[-1]), 3))
    return {
        str(day): {"level": float(curve[number % len(STEPS)]), "up": number in STEPS}
        for number, day in enumerate(days(count))
    }
# %%
levels()
# %%
first = levels()
print(first == levels())
"""
# By the module's name: the cells, and the task.
NOTEBOOKS = {"sales": (CELLS, "total_sales"), "receipts": (FRAMES, "receipts"), "levels": (DATASET, "levels")}
EACH = 10  # mutants of a module
GREEN = 10  # runs of what nobody touched

AGAIN = """
import sys
from pathlib import Path
Path({path!r}).write_text({source!r})
for _name in [name for name in sys.modules if name.partition(".")[0] == "app"]:
    del sys.modules[_name]
"""


class Checks:
    """A promoted module of an app, with its test and its notebook, both run by processes that are warm."""

    def __init__(self, app: Path, module: str, server: "subprocess.Popen[str]") -> None:
        cells, task = NOTEBOOKS[module]
        path = write(app / "notebooks" / f"{module}.ipynb", cells, run=True)
        before = Notebook(path)
        self._calls, _ = evidence.literal_calls(before, task)
        self._function = run_here(task, kind_of(definition_of_task(before, task)))
        apply(app, plan(app, path, task).files)
        self._module, self._server, self._notebook = module, server, Notebook(path)
        self._file = app / "app" / "jobs" / f"{module}.py"
        self.source = self._file.read_text()

    def outcome(self, source: str) -> str:
        """Return what the recorded calls return, print or raise with this source."""
        return str(self._ask(source, calls=self._calls))

    def test_is_green(self, source: str) -> bool:
        code = self._ask(source)
        assert code in (0, 1, 2), code  # 2: the module cannot be imported
        return bool(code == 0)

    def notebook_is_green(self, *sources: str) -> list[bool]:
        """Run the notebook once with each source, all in one kernel, and compare what it shows."""
        node = nbformat.v4.new_notebook()
        for source in sources:
            again = AGAIN.format(path=str(self._file), source=source)
            node.cells += [nbformat.v4.new_code_cell(cell) for cell in (again, *self._sources())]
        resources = {"metadata": {"path": str(self._notebook.path.parent)}}
        client = NotebookClient(node, kernel_manager_class=Kernel, resources=resources, allow_errors=True, timeout=60)
        client.execute(env=environment(self._file.parents[2]))
        count = len(self._notebook.cells) + 1
        runs = [node.cells[start + 1 : start + count] for start in range(0, len(node.cells), count)]
        return [not evidence.differences(self._notebook, run) for run in runs]

    def _sources(self) -> list[str]:
        return [cell.source for cell in self._notebook.cells]

    def _ask(self, source: str, **request: Any) -> Any:
        assert self._server.stdin is not None and self._server.stdout is not None
        asked = {"module": self._module, "function": self._function, "source": source, **request}
        self._server.stdin.write(json.dumps(asked) + "\n")
        self._server.stdin.flush()
        return json.loads(self._server.stdout.readline())


@contextmanager
def warm(app: Path) -> Iterator["subprocess.Popen[str]"]:
    """Run the program of mutants.py in an app."""
    variables = environment(app) | {"PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    with subprocess.Popen(
        [sys.executable, mutants.__file__],
        cwd=app,
        env=variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        yield server
        assert server.stdin is not None
        server.stdin.close()


@pytest.mark.long
@pytest.mark.parametrize("module", NOTEBOOKS)
def test_mutants_of_a_promoted_module_turn_the_apps_tests_red(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    lay_out(tmp_path)
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    monkeypatch.setattr(promotion, "_prove", lambda *_: None)  # what follows runs the same, ten times
    with warm(tmp_path) as server:
        checks = Checks(tmp_path, module, server)
        assert all(checks.test_is_green(checks.source) for _ in range(GREEN))
        assert all(checks.notebook_is_green(*[checks.source] * GREEN))
        # A mutant is equivalent, as far as the notebook shows, if all recorded calls return and print the same.
        held = checks.outcome(checks.source)
        others = [mutant for mutant in mutants.mutants(checks.source) if checks.outcome(mutant) != held]
        assert len(others) >= EACH
        chosen = random.Random(request.config.getoption("seed")).sample(others, EACH)
        green = [mutant for mutant in chosen if checks.test_is_green(mutant)]
        if green:
            survivors = [one for one, is_green in zip(green, checks.notebook_is_green(*green), strict=True) if is_green]
            assert not survivors, survivors[0]
