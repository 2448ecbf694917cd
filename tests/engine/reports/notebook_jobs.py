"""A notebook for tests, which does what its parameters say, and the tasks that run it.

As a script it is a consumer. Its argument is a JSON object with `storage`, `settings`, `worker_type`, `workers`, `folder` and
`prints`. If `prints` is true, it prints pages of `printed_app`, one of them each second, and runs no notebook.
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
from nbformat import v4

from jobqueue import DurableHuey, every

START = """
import os, pathlib, subprocess, sys, time
import tests.engine.consumers  # the app's code is importable

print("for", region, "in", os.path.basename(os.getcwd()))

def tell():
    if note:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        pathlib.Path(note + ".part").write_text(f"{os.getpid()} {child.pid}")
        os.replace(note + ".part", note)
"""
DO = """
tell()
if what == "sleep":
    time.sleep(60)
elif what == "C call":
    sum(range(4 * 10**9))  # about a minute, and no signal handler runs meanwhile
elif what == "raise":
    raise ValueError("no prices")
elif what == "die":
    os.kill(os.getpid(), 9)
"""
CHART = """
import plotly.graph_objects as go

go.Figure(go.Scatter(x=list(range(500)), y=[n * n for n in range(500)]))
"""


def write_notebook(folder: Path) -> Path:
    """Write the notebook as weekly.ipynb, with an output from an earlier run."""
    stale = v4.new_output("stream", text="an old output")
    cells = [
        v4.new_markdown_cell("# The *week*\n\nIts text."),
        v4.new_code_cell(
            'region = "north"\nrows: int = 3\nshare = 0.5\nwhat = "charts"\nnote = ""\nday = None',
            metadata={"tags": ["parameters"]},
        ),
        v4.new_code_cell(START, outputs=[stale]),
        v4.new_markdown_cell("## Work"),
        v4.new_code_cell(DO),
        v4.new_markdown_cell("## Charts"),
        *[v4.new_code_cell(CHART) for _ in range(3)],
        v4.new_code_cell('import pandas as pd\n\npd.DataFrame({"row": range(rows)})', outputs=[stale]),
    ]
    path = folder / "weekly.ipynb"
    nbformat.write(v4.new_notebook(cells=cells), path)
    return path


def tasks_on(huey: DurableHuey, folder: Path) -> SimpleNamespace:
    """Return tasks of the notebook in the folder. Write it before."""
    path = folder / "weekly.ipynb"
    return SimpleNamespace(
        weekly=huey.notebook(path),
        with_code=huey.notebook(path, name="with_code", code=True),
    )


def prints_on(huey: DurableHuey) -> SimpleNamespace:
    """Return tasks that print pages."""
    return SimpleNamespace(
        each_second=huey.page_report("/", every("second"), name="each_second"),
        endless=huey.page_report("/{page}", name="endless"),
    )


def main() -> None:
    options: dict[str, Any] = json.loads(sys.argv[1])
    huey = DurableHuey(
        "faults",
        secret_key="a key for tests",
        dash_app="tests.engine.reports.printed_app",
        **options["storage"],
        **options["settings"],
    )
    if options["prints"]:
        prints_on(huey)
    else:
        tasks_on(huey, Path(options["folder"]))
    huey.create_consumer(workers=options["workers"], worker_type=options["worker_type"]).run()


if __name__ == "__main__":
    from tests.engine.reports import notebook_jobs  # the tasks are named after this module

    notebook_jobs.main()
