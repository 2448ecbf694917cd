"""Run a notebook in a kernel of this interpreter that never outlives the job."""

import asyncio
import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

from jobqueue import interrupts
from jobqueue.execution.current_job import CurrentJob
from jobqueue.guard import Guard, socket_folder
from jobqueue.reports import cells

STARTUP = 120  # seconds that a kernel may take to start on a busy host
COLOUR = re.compile(r"\x1b\[[0-9;]*m")  # of a terminal
CHECK = 1.0  # seconds between two looks whether the job has timed out or was cancelled
# A kernel that a host's SIGTERM to all processes does not end: the consumer lets the job end, or releases it. The processes that
# the notebook forks end as usual.
LAUNCH = """
import sys
if not sys.path[0]:
    del sys.path[0]  # the notebook's folder: modules in it would hide those of the kernel
import os, signal
signal.signal(signal.SIGTERM, lambda *_: None)
os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))
from ipykernel import kernelapp
kernelapp.launch_new_instance()
"""


class CellFailed(Exception):
    """A cell of the notebook raised an exception, or its kernel ended."""


class Kernel(AsyncKernelManager):
    """A kernel of this interpreter, whatever kernels are installed. It ends with this process, and its children do too.

    It is reached by sockets in a folder of its own. TCP ports are chosen before the kernel opens them, and another program may
    take one in between.
    """

    _guard: Guard | None = None

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._sockets = socket_folder("kernel-")
        self.transport, self.ip = "ipc", str(Path(self._sockets.name, "socket"))

    @property
    def kernel_spec(self) -> KernelSpec:
        argv = [sys.executable, "-c", LAUNCH, "-f", "{connection_file}", "--log-level=ERROR"]
        return KernelSpec(argv=argv, display_name="Python 3", language="python")

    async def _async_launch_kernel(self, kernel_cmd: list[str], **options: Any) -> None:
        with interrupts.deferred():  # an interrupt in between would lose sight of the process
            self._guard = Guard()
            await super()._async_launch_kernel([*self._guard.command, *kernel_cmd], **options, **self._guard.options)

    def kill(self) -> None:
        """Kill the kernel and the processes that it started now."""
        if self._guard is not None:
            self._guard.kill(getattr(self.provisioner, "process", None))

    async def _async_cleanup_resources(self, restart: bool = False) -> None:
        self.kill()
        await super()._async_cleanup_resources(restart)
        if not restart:
            self._sockets.cleanup()

    cleanup_resources = _async_cleanup_resources


def execute(node: Any, folder: Path, paths: list[Path], job: CurrentJob) -> None:
    """Run a notebook's cells in order, and store their outputs in it. Report the progress by cells.

    :param node: the notebook, as nbformat reads it.
    :param folder: the folder in which the kernel runs.
    :param paths: folders from which the notebook may import, beside its own.

    Raises CellFailed. In any case the outputs of the cells that ran are stored, and the kernel has ended.
    """
    try:
        _in_a_loop(lambda interrupted: _execute(node, folder, paths, job, interrupted))
    except CellFailed as failed:
        raise failed.with_traceback(None) from None  # its note is the cell's traceback


async def _execute(node: Any, folder: Path, paths: list[Path], job: CurrentJob, interrupted: threading.Event) -> None:
    with tempfile.TemporaryDirectory(prefix="notebook-", ignore_cleanup_errors=True) as scratch:
        run = _Run(node, job)
        work = asyncio.ensure_future(run.all_cells(folder, _environment(paths, scratch), Path(scratch, "kernel.json")))
        while not work.done():
            await asyncio.wait({work}, timeout=CHECK)
            if interrupted.is_set():
                work.cancel()
            elif job.token is not None:
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
            kernel.kill()  # at once: the rest awaits
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


def _in_a_loop(start: Callable[[threading.Event], Coroutine[Any, Any, None]]) -> None:
    """Run a coroutine to its end in this thread, or in one of its own if a loop runs here, as in a notebook's kernel.

    :param start: makes the coroutine, which ends early once the given event is set.
    """
    interrupted = threading.Event()
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(start(interrupted))
        return
    with ThreadPoolExecutor(1) as thread:
        run = thread.submit(lambda: asyncio.run(start(interrupted)))
        try:
            run.result()
        finally:
            interrupted.set()
