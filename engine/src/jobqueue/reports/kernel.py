"""Run a notebook in a kernel of this interpreter that never outlives the job."""

import asyncio
import os
import re
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

from jobqueue import interrupts
from jobqueue.execution.current_job import CurrentJob
from jobqueue.reports import cells
from jobqueue.reports.pdf import die_with_this_thread

T = TypeVar("T")
STARTUP = 120  # seconds that a kernel may take to start on a busy host
COLOUR = re.compile(r"\x1b\[[0-9;]*m")  # of a terminal
CHECK = 1.0  # seconds between two looks whether the job has timed out or was cancelled


class CellFailed(Exception):
    """A cell of the notebook raised an exception, or its kernel ended."""


class Kernel(AsyncKernelManager):
    """A kernel of this interpreter, whatever kernels are installed. On Linux it dies with the thread that starts it."""

    @property
    def kernel_spec(self) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=ERROR"]
        return KernelSpec(argv=argv, display_name="Python 3", language="python")

    async def _async_launch_kernel(self, kernel_cmd: list[str], **options: Any) -> None:
        if sys.platform == "linux":
            options["preexec_fn"] = die_with_this_thread
        with interrupts.deferred():  # an interrupt in between would lose sight of the process
            await super()._async_launch_kernel(kernel_cmd, **options)

    def kill(self) -> None:
        """Kill the kernel and the processes of its group now."""
        process = getattr(self.provisioner, "process", None)
        if process is None:
            return
        if hasattr(os, "killpg"):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()


def execute(node: Any, folder: Path, paths: list[Path], job: CurrentJob) -> None:
    """Run a notebook's cells in order, and store their outputs in it. Report the progress by cells.

    :param node: the notebook, as nbformat reads it.
    :param folder: the folder in which the kernel runs.
    :param paths: folders from which the notebook may import, beside its own.

    Raises CellFailed. In any case the outputs of the cells that ran are stored, and the kernel has ended.
    """
    try:
        _in_a_loop(lambda: _execute(node, folder, paths, job))
    except CellFailed as failed:
        raise failed.with_traceback(None) from None  # its note is the cell's traceback


async def _execute(node: Any, folder: Path, paths: list[Path], job: CurrentJob) -> None:
    with tempfile.TemporaryDirectory(prefix="notebook-", ignore_cleanup_errors=True) as scratch:
        run = _Run(node, job)
        work = asyncio.ensure_future(run.all_cells(folder, _environment(paths, scratch), Path(scratch, "kernel.json")))
        while not work.done():
            await asyncio.wait({work}, timeout=CHECK)
            if job.token is not None:
                run.report()
        await work


class _Run:
    """One run of a notebook."""

    def __init__(self, node: Any, job: CurrentJob) -> None:
        self.node = node
        self.cells = [
            (index, cell) for index, cell in enumerate(node.cells) if cell.cell_type == "code" and cell.source.strip()
        ]
        self.done = 0
        self.job = job

    def report(self) -> None:
        """Report the progress. Raises what interrupts the job: in a thread it has timed out or was cancelled."""
        at = self.cells[self.done][0] if self.done < len(self.cells) else 0
        self.job.progress(self.done, len(self.cells), cells.heading_above(self.node, at))

    async def all_cells(self, folder: Path, environment: dict[str, str], connection_file: Path) -> None:
        """Start a kernel, run the cells, and kill the kernel."""
        kernel = Kernel(connection_file=str(connection_file))
        client = NotebookClient(self.node, km=kernel, timeout=None, startup_timeout=STARTUP, record_timing=False)
        self.report()
        try:
            # async_setup_kernel would replace the worker's signal handlers.
            await client.async_start_new_kernel(cwd=str(folder), env=environment)
            await client.async_start_new_kernel_client()
            for index, cell in self.cells:
                await _execute_cell(client, cell, index)
                self.done += 1
                self.report()
        finally:
            kernel.kill()
            if client.kc is not None:
                client.kc.stop_channels()
            await kernel.cleanup_resources()


async def _execute_cell(client: NotebookClient, cell: Any, index: int) -> None:
    """Run a cell. Raises CellFailed."""
    try:
        await client.async_execute_cell(cell, index, execution_count=client.code_cells_executed + 1)
    except CellExecutionError as error:
        failed = CellFailed(f"[{cell.execution_count}] raised {error.ename}: {_plain(error.evalue)}")
        output = next((one for one in cell.outputs if one.output_type == "error"), None)
        failed.add_note(_plain("\n".join(output.traceback)) if output is not None else "")
        raise failed from None
    except DeadKernelError:
        raise CellFailed(
            f"The notebook's kernel ended in [{client.code_cells_executed}]. It may have needed more memory than there is."
        ) from None


def _plain(text: str) -> str:
    return COLOUR.sub("", text)


def _environment(paths: list[Path], scratch: str) -> dict[str, str]:
    """Return the kernel's environment: the app is importable, charts come as data, and a profile of IPython is not read."""
    before = os.environ.get("PYTHONPATH")
    found = os.pathsep.join([*map(str, paths), *([before] if before else [])])
    return os.environ | {"PYTHONPATH": found, "PLOTLY_RENDERER": "plotly_mimetype", "IPYTHONDIR": scratch}


def _in_a_loop(start: Callable[[], Any]) -> None:
    """Run a coroutine to its end in this thread, or in one of its own if a loop runs here, as in a notebook's kernel."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(start())
        return
    raised: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(start())
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]
