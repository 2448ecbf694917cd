"""Promotions in a small app: what they write, what they refuse, and that nothing is half done."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from click.testing import CliRunner

import jobqueue
from jobqueue.cli.promote import demote, promote
from jobqueue.promote import Refused, apply, evidence, plan, plan_back, promotion, undo
from jobqueue.promote.notebook import Notebook
from tests.engine.consumers import environment, wait_until
from tests.engine.promote import killed
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
# %%
for rows in (1, 2):
    print(total_sales.call_local(rows=rows))
"""
EDITED = r"(?s)^app/jobs/sales.py was edited since it was promoted:\n.*\n-    return x - 1\n\+    return x - 2\n.*\n"
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
    return lay_out(tmp_path / "desk")


def lay_out(root: Path) -> Path:
    """Make the small app in a folder."""
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


def with_output(path: Path) -> Path:
    """Store an output in each cell of a notebook that has not run."""
    node = nbformat.read(path, as_version=4)
    for cell in node.cells:
        cell.outputs = [nbformat.v4.new_output("stream", text="1\n")]
    nbformat.write(node, path)
    return path


def put(stored: Path, app: Path) -> Path:
    return Path(shutil.copy(stored, app / "notebooks" / "sales.ipynb"))


@pytest.mark.long
def test_a_job_is_written_with_its_test_and_its_place_in_the_notebook(
    app: Path, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(stored, app)
    before = tree(app)
    planned = plan(app, path, "total_sales", every="day at 07:30")
    assert tree(app) == before  # a plan writes nothing
    assert planned.next_steps == [
        "make start",
        "In JupyterLab: File, Reload Notebook from Disk",
        "Calls of total_sales with a notebook's variable have no test. Only the notebook covers them.",
    ]
    apply(app, planned.files)
    job = (app / "app/jobs/sales.py").read_text()
    assert '@huey.periodic_task(every("day at 07:30"), retries=1)\ndef total_sales(' in job
    assert "from jobqueue.notebook" not in job
    test = (app / "tests/jobs/test_sales.py").read_text()
    assert 'total_sales.call_local("south")' in test and "pytest.approx(20.0)" in test
    diff = planned.diff(app)
    assert diff == ""  # all of it is written

    with pytest.raises(
        Refused, match="total_sales is promoted already. To change it, first take it back: python -m app demote"
    ):
        plan(app, path, "total_sales")
    (app / "tests/jobs/test_sales.py").write_text(test + "# mine\n")
    with pytest.raises(Refused, match=r"^tests/jobs/test_sales.py was edited since it was promoted. Undo the edits"):
        plan_back(app, "total_sales")
    (app / "tests/jobs/test_sales.py").write_text(test)
    (app / "app/jobs/sales.py").write_text(job.replace("return x - 1", "return x - 2"))
    with pytest.raises(Refused, match=EDITED + "Undo the edits, demote again, and make them in the notebook.$"):
        plan_back(app, "total_sales")
    # The notebook as it was before the promotion is promoted again: what promote wrote is replaced, and no edit of it.
    promoted = path.read_text()
    put(stored, app)
    with pytest.raises(
        Refused, match=EDITED + r"Take the edits into the notebook \(python -m app demote total_sales\), or"
    ):
        plan(app, path, "total_sales", every="day at 07:30")
    path.write_text(stored.read_text().replace("return x - 1", "return x - 2 + 1"))
    (app / "app/jobs/sales.py").write_text(job)
    replaced = tree(app)
    monkeypatch.chdir(app)
    command = ["notebooks/sales.ipynb", "total_sales", "--every", "day at 07:30", "--dry-run"]
    said = CliRunner().invoke(promote, command).output
    assert "+    return x - 2 + 1" in said and said.endswith("Nothing was written.\n")
    assert tree(app) == replaced
    path.write_text(promoted)
    apply(app, plan_back(app, "total_sales").files)
    assert tree(app) == before


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
    path = with_output(write(app / "notebooks" / "sales.ipynb", "def total(): return 1\n# %%\ntotal()"))
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


def test_a_stored_error_is_refused_unless_its_cell_is_tagged(tmp_path: Path) -> None:
    cells = (
        "from jobqueue.notebook import queue\n@queue.task()\ndef total(text): return len(text)\n"
        "# %%\ntotal('x' * 10_000_000)\n# %%\nprint(total.calls)"
    )
    path = write(tmp_path / "sales.ipynb", cells)
    node = nbformat.read(path, as_version=4)
    node.cells[1].outputs = [nbformat.v4.new_output("error", ename="ArgumentsTooLarge", evalue="", traceback=[])]
    nbformat.write(node, path)
    with pytest.raises(Refused) as refused:
        evidence.check_stored(Notebook(path))
    assert str(refused.value) == (
        "[2] total('x' * 10_000_000) stores the error ArgumentsTooLarge. Mend it, or tag the cell raises-exception."
    )
    node.cells[1].metadata.tags = ["raises-exception"]
    nbformat.write(node, path)
    evidence.check_stored(Notebook(path))
    with pytest.raises(Refused, match=r"^\[3\] raises AttributeError: .*'calls' in a fresh kernel\. Mend it, run all"):
        evidence.run(Notebook(path), tmp_path, {})  # the tagged cell raises too


# Refused before the notebook runs: the cells, options, and the refusal.
EARLY: dict[str, tuple[str, dict[str, Any], str]] = {
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
    "a notebook named like a keyword": (
        "def total(): return 1\n# %%\nprint(1)",
        {"file": "class.ipynb"},
        "class.ipynb makes no module's name. Use --as with a name of letters, digits and underscores.",
    ),
    "a notebook whose name has spaces": (
        "def total(): return 1\n# %%\nprint(1)",
        {"file": "1st look.ipynb"},
        "1st look.ipynb makes no module's name.",
    ),
    "a page for a parameter without a field": (
        "def total(rows: list[int] = []): return 1\n# %%\nprint(1)",
        {"page": True},
        "total has the parameter rows: list[int]. Leave --page out, and write the page.",
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
    options = dict(options)
    path = with_output(write(app / "notebooks" / options.pop("file", "sales.ipynb"), source))
    before = tree(app)
    with pytest.raises(Refused) as refused:
        plan(app, path, **({"task": "total"} | options))
    assert refusal in str(refused.value)
    assert tree(app) == before


def test_two_functions_of_a_cell_are_taken_back_one_after_the_other(app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for proof in ("_records", "_prove"):  # nothing here depends on a run
        monkeypatch.setattr(promotion, proof, lambda *_: ([], False))
    path = with_output(write(app / "notebooks" / "sales.ipynb", "def net(): return 1\n\ndef gross(): return 2"))
    before = tree(app)
    apply(app, plan(app, path, "net").files)
    with pytest.raises(Refused, match="^app/jobs/sales.py holds the job net, and a module holds one job. Use --as.$"):
        plan(app, path, "gross")
    apply(app, plan(app, path, "gross", name="all").files)
    with pytest.raises(
        Refused, match=r"^\[1\] held gross too, which was promoted later. First take that back: python -m"
    ):
        plan_back(app, "net")
    apply(app, plan_back(app, "gross").files)
    apply(app, plan_back(app, "net").files)
    assert tree(app) == before


def test_the_command_says_where_it_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(demote, ["total"]).output == (
        f"Error: {tmp_path} is not an app's folder: it has no app/jobs. Go to the folder of pyproject.toml.\n"
    )
    monkeypatch.setitem(sys.modules, "jobqueue.promote", None)
    monkeypatch.delattr(jobqueue, "promote")
    told = CliRunner().invoke(promote, ["notebooks/sales.ipynb", "total"]).output
    assert told == "Error: promote needs the development tools. Run: make setup\n"


def test_a_result_that_the_queue_cannot_keep_is_refused(app: Path) -> None:
    source = "class Odd: ...\ndef total(): return [Odd]\n# %%\nbool(total())"
    path = write(app / "notebooks" / "sales.ipynb", source, run=True)
    with pytest.raises(Refused, match=r"^total\(\) returns what the queue cannot keep. "):
        plan(app, path, "total")


KILLED = """
import os, signal, sys
from itertools import count
from pathlib import Path
from jobqueue.promote import changes
def audit(event, args):
    global passed
    if event in ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree") and str(root) in str(args[0]):
        passed += 1
        if passed == moment:
            os.kill(os.getpid(), signal.SIGKILL)
for moment in count(1):
    root, passed = Path(sys.argv[1], str(moment)), 0
    root.mkdir()
    for name in ("b.txt", "c.txt", "gone.txt"):
        (root / name).write_text("before")
    child = os.fork()
    if child == 0:
        sys.addaudithook(audit)
        changes.apply(root, {Path("a/new.py"): "new", Path("b.txt"): "after", Path("gone.txt"): None, Path("c.txt"): "after"})
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code != -signal.SIGKILL:
        sys.exit(code)
"""


@pytest.mark.long
def test_a_promotion_that_is_killed_at_any_moment_is_undone_or_whole(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    before = dict.fromkeys(["b.txt", "c.txt", "gone.txt"], b"before")
    after = {"a/new.py": b"new", "b.txt": b"after", "c.txt": b"after"}
    moments = sorted(map(int, os.listdir(tmp_path)))
    undone = 0
    for moment in moments:
        root = tmp_path / str(moment)
        undo(root)
        found = tree(root)
        assert found in (before, after), moment
        assert undo(root) == ""
        assert not any(name.startswith(".promote") for name in os.listdir(root))
        if found == before:
            undone += 1
            assert not (root / "a").exists()
    assert len(moments) > undone > 20 and found == after


@pytest.mark.long
def test_a_command_that_is_killed_leaves_the_tree_as_it_was_or_the_next_puts_it_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # the new test needs no plugin
    lay_out(tmp_path / "whole")
    write(tmp_path / "whole" / "notebooks" / "sales.ipynb", "def total(n=2): return n + 1\n# %%\ntotal()", run=True)
    before = tree(tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "before")
    lines = run_killed(tmp_path).split()
    after = tree(tmp_path / "whole")
    roots = []
    for kind in ("start", "write"):
        moments = sorted({round(1 + i * (lines.count(kind) - 1) / 9) for i in range(10)})
        for moment in moments:
            roots.append(Path(shutil.copytree(tmp_path / "before", tmp_path / f"{kind}{moment}")))
        run_killed(tmp_path, kind, *moments)
    assert len(roots) == 20
    wait_until(lambda: not running_in(tmp_path), timeout=20)  # kernels notice that their parent is gone
    for root in roots:
        monkeypatch.chdir(root)
        found = tree(root)
        assert root.name.startswith("write") or found == before
        said = CliRunner().invoke(demote, ["nothing"]).output
        assert found == before or "The last command was interrupted" in said, (root.name, said)
        assert tree(root) in (before, after), root.name
    assert tree(root) == after  # the last moment's: all was written


def run_killed(*arguments: object) -> str:
    """Run the program of killed.py, and return what it printed."""
    command = [sys.executable, killed.__file__, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return "".join(line for line in done.stdout.splitlines(keepends=True) if line.strip() in ("start", "write"))


def running_in(folder: Path) -> list[int]:
    """Return the processes whose working directory is in a folder."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if Path(process.cwd()).is_relative_to(folder):
                found.append(process.pid)
    return found
