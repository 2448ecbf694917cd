"""Promotions in a small app: what they write, what they refuse, and that nothing is half done."""

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobqueue.promote import Refused, apply, plan, plan_back, undo
from tests.engine.consumers import environment
from tests.engine.promote.notebooks import write

CELLS = """
import numpy as np
from jobqueue.notebook import queue
# %%
RATES = {"north": 1.5, "south": 2.0}


def net(x):
    return x - 1
# %%
@queue.task(retries=1)
def total_sales(region: str = "north", rows: int = 5) -> dict:
    print("adds up", rows)
    values = np.arange(rows) * RATES[region]
    return {"sum": float(values.sum()), "net": net(rows), "rows": [float(v) for v in values]}
# %%
queue.watch(total_sales("south"))
# %%
total_sales.call_local(rows=3)
"""
APP = {
    "app/__init__.py": "",
    "app/jobs/__init__.py": (
        "import os\nfrom jobqueue import DurableHuey\n"
        'huey = DurableHuey("app", os.environ.get("DATABASE_URL"), tasks_in="app.jobs")\n'
    ),
    "app/jobs/hello.py": "from app.jobs import huey\n\n\n@huey.task()\ndef greet():\n    return 1\n",
    "pyproject.toml": "[tool.ruff]\nline-length = 120\n",
    "notebooks/numbers.csv": "1,2\n",
    "notebooks/beside.py": "x = 1\n",
}


@pytest.fixture
def app(tmp_path: Path) -> Path:
    root = tmp_path / "desk"
    for name, text in APP.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a notebook that has run."""
    return write(tmp_path_factory.mktemp("stored") / "sales.ipynb", CELLS, run=True)


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let kernels and processes of the promotion import the engine."""
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    yield


def tree(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and ".ruff_cache" not in path.parts
    }


def put(stored: Path, app: Path) -> Path:
    return Path(shutil.copy(stored, app / "notebooks" / "sales.ipynb"))


def pytest_in(app: Path, *tests: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    variables = environment(app) | {"DATABASE_URL": f"sqlite:///{app}/var/jobs.sqlite", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=app, env=variables, capture_output=True, text=True, timeout=60)


@pytest.mark.long
def test_a_job_is_written_with_its_test_and_its_place_in_the_notebook(app: Path, stored: Path) -> None:
    path = put(stored, app)
    before = tree(app)
    promotion = plan(app, path, "total_sales", every="day at 07:30")
    assert tree(app) == before  # a plan writes nothing
    apply(app, promotion.files)
    job = (app / "app/jobs/sales.py").read_text()
    assert '@huey.periodic_task(every("day at 07:30"), retries=1)\ndef total_sales(' in job
    assert "from jobqueue.notebook" not in job
    test = (app / "tests/jobs/test_sales.py").read_text()
    assert 'total_sales.call_local("south")' in test and "pytest.approx(20.0)" in test
    assert pytest_in(app, "tests/jobs/test_sales.py").returncode == 0
    diff = promotion.diff(app)
    assert diff == ""  # all of it is written

    # The stored outputs check the job now: an edit of a line that the calls reach turns its test red.
    for number, (old, new) in enumerate(mutations(job, random.Random(7), 5)):
        (app / "app/jobs/sales.py").write_text(job.replace(old, new, 1))
        done = pytest_in(app, "tests/jobs/test_sales.py")
        assert done.returncode == 1, f"{number}: {old} -> {new}\n{done.stdout}"

    with pytest.raises(Refused, match="app/jobs/sales.py was edited since it was promoted."):
        plan_back(app, "total_sales")
    (app / "app/jobs/sales.py").write_text(job)
    with pytest.raises(
        Refused, match="total_sales is promoted already. To change it, first take it back: python -m app demote"
    ):
        plan(app, path, "total_sales")
    apply(app, plan_back(app, "total_sales").files)
    assert tree(app) == before


def mutations(source: str, chance: random.Random, count: int) -> list[tuple[str, str]]:
    """Return edits of lines that the recorded calls reach."""
    edits = [
        ("np.arange(rows) * RATES", "np.arange(rows) + RATES"),
        ("return x - 1", "return x + 1"),
        ("return x - 1", "return x - 2"),
        ('"south": 2.0', '"south": 3.0'),
        ('"north": 1.5', '"north": 1.25'),
        ("np.arange(rows)", "np.arange(rows + 1)"),
        ('"net": net(rows)', '"net": net(rows - 1)'),
        ("values.sum()", "values.max()"),
        ("for v in values]", "for v in values[1:]]"),
        ("rows: int = 5", "rows: int = 6"),
    ]
    chosen = chance.sample(edits, count)
    assert all(old in source for old, _ in chosen)
    return chosen


def test_a_stale_output_is_refused(app: Path) -> None:
    path = write(app / "notebooks" / "sales.ipynb", "def total(): return 1\n# %%\ntotal()", run=True)
    path.write_text(path.read_text().replace('"1"', '"2"'))
    with pytest.raises(Refused, match=r"^\[2\] shows 1, but 2 is stored. Run all cells from the top, and save.$"):
        plan(app, path, "total")


def test_an_output_that_differs_at_each_run_is_refused(app: Path) -> None:
    path = write(
        app / "notebooks" / "sales.ipynb", "import time\ndef total(): return time.time_ns()\n# %%\ntotal()", run=True
    )
    with pytest.raises(
        Refused, match=r"^\[2\] gives another output at each run, so it proves nothing. Tag it nbval-ignore-output"
    ):
        plan(app, path, "total")


@pytest.mark.parametrize(
    ("counts", "refusal"),
    [
        ([2, 1], r"\[2\] ran before \[1\]\. Run all cells from the top, save, and promote again."),
        ([1, None], r"total\(\) has not run."),
        ([1, 5], r"\[5\] is not the first run of its cell."),
    ],
)
def test_cells_that_ran_out_of_order_are_refused(app: Path, counts: list[int | None], refusal: str) -> None:
    import nbformat

    path = write(app / "notebooks" / "sales.ipynb", "def total(): return 1\n# %%\ntotal()", run=True)
    node = nbformat.read(path, as_version=4)
    for cell, count in zip(node.cells, counts, strict=True):
        cell.execution_count = count
    nbformat.write(node, path)
    with pytest.raises(Refused, match=refusal):
        plan(app, path, "total")


def test_a_notebook_without_outputs_is_refused(app: Path) -> None:
    path = write(app / "notebooks" / "sales.ipynb", "def total(): return 1\n# %%\ntotal()")
    with pytest.raises(Refused, match="sales.ipynb has no stored outputs, so there is nothing to compare."):
        plan(app, path, "total")


# Refused before the notebook runs: the cells, options, and the refusal.
EARLY = {
    "a file beside the notebook": (
        'def total(): return open("numbers.csv").read()\n# %%\nprint(1)',
        {},
        "numbers.csv lies beside the notebook, but a worker runs in the app's folder. Build its path from the app's root",
    ),
    "a module beside the notebook": (
        "import beside\n# %%\ndef total(): return beside.x\n# %%\nprint(1)",
        {},
        "beside lies beside the notebook, but a worker does not import from there.",
    ),
    "the name of another job": (
        "def greet(): return 1\n# %%\nprint(1)",
        {"task": "greet"},
        "app/jobs/hello.py already has a job named greet.",
    ),
    "a keyword as the name": (
        "def total(): return 1\n# %%\nprint(1)",
        {"name": "class"},
        "--as class makes no module's name.",
    ),
    "a module that promote did not write": (
        "def total(): return 1\n# %%\nprint(1)",
        {"name": "hello"},
        "app/jobs/hello.py exists already, and was not promoted from notebooks/sales.ipynb. Use --as.",
    ),
    "a schedule for a function with arguments": (
        "def total(region, *, rows): return 1\n# %%\nprint(1)",
        {"every": "day at 7:30"},
        "total needs region, rows, and a schedule passes no arguments. Give each a default value.",
    ),
    "a schedule that means nothing": ("def total(): return 1\n# %%\nprint(1)", {"every": "blue moon"}, "--every: "),
}


@pytest.mark.parametrize("name", EARLY)
def test_nothing_is_written_after_a_refusal(name: str, app: Path) -> None:
    source, options, refusal = EARLY[name]
    path = write(app / "notebooks" / "sales.ipynb", source)
    text = path.read_text().replace(
        '"outputs": []', '"outputs": [{"output_type": "stream", "name": "stdout", "text": "1\\n"}]'
    )
    path.write_text(text)
    before = tree(app)
    with pytest.raises(Refused) as refused:
        plan(app, path, **({"task": "total"} | options))  # type: ignore[arg-type]
    assert refusal in str(refused.value)
    assert tree(app) == before


def test_a_result_that_the_queue_cannot_keep_is_refused(app: Path) -> None:
    source = "class Odd: ...\ndef total(): return [Odd]\n# %%\nbool(total())"
    path = write(app / "notebooks" / "sales.ipynb", source, run=True)
    with pytest.raises(Refused, match=r"^total\(\) returns what the queue cannot keep. "):
        plan(app, path, "total")


KILLED = """
import os, signal, sys
from pathlib import Path
from jobqueue.promote import changes
root, moment = Path(sys.argv[1]), int(sys.argv[2])
count = 0
def audit(event, args):
    global count
    if event in ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree") and str(root) in str(args[0]):
        count += 1
        if count == moment:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(audit)
changes.apply(root, {Path("a/new.py"): "new", Path("b.txt"): "after", Path("gone.txt"): None, Path("c.txt"): "after"})
print("whole")
"""


@pytest.mark.long
def test_a_promotion_that_is_killed_at_any_moment_is_undone_or_whole(tmp_path: Path) -> None:
    moment, outcomes = 0, set()
    while "whole" not in outcomes:
        moment += 1
        root = tmp_path / str(moment)
        root.mkdir()
        for name in ("b.txt", "c.txt", "gone.txt"):
            (root / name).write_text("before")
        before = tree(root)
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(root), str(moment)], env=environment(), capture_output=True, text=True
        )
        if done.returncode == 0:
            outcomes.add("whole")
            assert done.stdout == "whole\n"
        assert done.returncode in (0, -9), done.stderr
        undo(root)
        after = {"a/new.py": b"new", "b.txt": b"after", "c.txt": b"after"}
        found = tree(root)
        assert found in (before, after), moment
        assert undo(root) == []
        if found == before:
            outcomes.add("undone")
            assert not (root / "a").exists()
    assert moment > 20
    assert "undone" in outcomes
    assert os.listdir(root) and not any(name.startswith(".promote") for name in os.listdir(root))
