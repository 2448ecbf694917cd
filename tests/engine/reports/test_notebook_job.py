"""A notebook runs as a job: its report, its failure with what was done, and its progress."""

import json
import signal
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from huey.exceptions import TaskException
from nbclient import NotebookClient
from nbformat import v4

from jobqueue import DurableHuey, State, codec
from jobqueue.cli import commands
from jobqueue.reports.kernel import Kernel
from jobqueue.reports.parameters import INJECTED
from jobqueue.reports.report import PLOTLY_HERE, report_of
from jobqueue.settings import Settings
from tests.engine.consumers import alive, wait_until, work
from tests.engine.reports.notebook_jobs import tasks_on, write_notebook
from tests.engine.reports.processes import START

pytestmark = pytest.mark.long

NOTES = ["The week", "The week", "Work", "Charts", "Charts", "Charts", "Charts", ""]


@pytest.fixture
def tasks(huey: DurableHuey, tmp_path: Path) -> SimpleNamespace:
    write_notebook(tmp_path)
    return tasks_on(huey, tmp_path)


def test_report_has_the_executed_notebook_and_one_html_file_with_charts(
    huey: DurableHuey, tasks: SimpleNamespace, tmp_path: Path
) -> None:
    handles = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    handle = tasks.weekly(region="south", rows=2)
    work(huey)
    report = handle.get()
    assert report == report_of(huey.ledger, handle.id)
    assert report.title == "The week"
    # The notebook: the given values in a cell of their own, new outputs, no output of an earlier run.
    cells = json.loads(report.notebook)["cells"]
    injected = next(cell for cell in cells if INJECTED in cell["metadata"].get("tags", []))
    assert "".join(injected["source"]) == "# Parameters\nregion = 'south'\nrows = 2"
    assert cells[cells.index(injected) - 1]["metadata"]["tags"] == ["parameters"]
    printed = "".join(cells[3]["outputs"][0]["text"])
    assert printed == f"for south in {tmp_path.name}\n"
    assert "an old output" not in report.notebook + report.html
    # The HTML: outputs without code, charts without plotly.js until it is opened.
    assert printed.strip() in report.html and "subprocess" not in report.html
    assert report.html.count("Plotly.newPlot(") == 3 and "application/vnd.plotly" not in report.html
    assert len(report.html) < 1_000_000 < 4_000_000 < len(report.page())
    assert PLOTLY_HERE not in report.page()
    assert len(codec.encode(report)[1]) < 150_000  # bytes in the ledger, with three charts
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handles


def test_failed_attempt_keeps_the_report_up_to_the_cell_that_raised(
    huey: DurableHuey, tasks: SimpleNamespace, tmp_path: Path
) -> None:
    failed, died = tasks.with_code(what="raise"), tasks.weekly(what="die", note=str(tmp_path / "note"))
    work(huey)
    job = failed.get_job()
    assert (job.state, job.error) == (State.FAILED, "CellFailed: [4] raised ValueError: no prices")
    assert (
        "----> 7     raise ValueError" in job.traceback and "asyncio" not in job.traceback
    )  # the cell's own traceback, without colours
    report = report_of(huey.ledger, failed.id)
    assert report is not None and report.html is not None and report.notebook is not None
    assert "for north in" in report.html and "no prices" in report.html and "newPlot" not in report.html
    assert "subprocess" in report.html  # code=True
    assert json.loads(report.notebook)["cells"][-1]["outputs"][0]["ename"] == "ValueError"
    with pytest.raises(TaskException) as error:
        failed.get()
    assert error.value.metadata["report"] == report
    assert died.get_job().error.startswith(
        "CellFailed: The notebook's kernel ended in [4]. It may have needed more memory"
    )
    _, child = map(int, (tmp_path / "note").read_text().split())
    wait_until(lambda: not alive(child), timeout=1)


def test_jobs_run_shows_the_progress_by_cells_and_saves_the_report(
    huey: DurableHuey, tasks: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = commands(huey, Settings(app_env="development"))
    ran = CliRunner().invoke(command, ["jobs", "run", "weekly"])
    progress = [f"{done} of 7  {note}" for done, note in enumerate(NOTES)]
    saved = ["Saved var/weekly.ipynb", "Saved var/weekly.html"]
    assert ran.output.splitlines() == progress + saved, ran
    assert (
        "for north in" in Path("var/weekly.ipynb").read_text()
        and "Plotly.newPlot" in Path("var/weekly.html").read_text()
    )
    refused = CliRunner().invoke(command, ["jobs", "run", "weekly", "regoin=south"])
    assert refused.exit_code == 1 and refused.output.startswith(
        'Error: weekly has no parameter "regoin". It takes region='
    )


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let SIGINT raise KeyboardInterrupt. A program that a shell runs in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("running_loop", "interruptible")
def test_interrupted_cell_that_runs_a_report_leaves_no_kernel(tasks: SimpleNamespace, tmp_path: Path) -> None:
    note = tmp_path / "note"
    here = threading.get_ident()

    def interrupt() -> None:
        wait_until(note.exists, START)
        signal.pthread_kill(here, signal.SIGINT)

    with ThreadPoolExecutor(1) as person, pytest.raises(KeyboardInterrupt):
        person.submit(interrupt)
        tasks.weekly.call_local(what="sleep", note=str(note))
    assert not any(map(alive, map(int, note.read_text().split())))


@pytest.mark.parametrize("folder", ["short", "long" * 20])
def test_kernel_is_reached_by_sockets_in_a_folder_of_its_own(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / folder).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / folder))
    source = "from ipykernel.connect import get_connection_info; print(get_connection_info())"
    node = v4.new_notebook(cells=[v4.new_code_cell(source)])
    NotebookClient(node, kernel_manager_class=Kernel).execute()
    info = json.loads(node.cells[0].outputs[0].text)
    assert (info["transport"], Path(info["ip"]).name) == ("ipc", "socket")
    assert not Path(info["ip"]).parent.exists()
