"""Kernels for tests: real ones, in processes of their own."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from tests.engine.consumers import environment


@dataclass
class Cell:
    """The outputs of a cell that has run."""

    text: str = ""  # what it printed, and the text of its value
    shown: dict[str, dict[str, str]] = field(default_factory=dict)  # displays that have an id: their newest content
    values: list[dict[str, str]] = field(default_factory=list)  # other displays, and the value
    error: str = ""  # the exception's name and text
    traceback: str = ""


class Kernel:
    """A kernel and a client of it."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self.manager = manager
        self.client = client

    @property
    def pid(self) -> int:
        assert isinstance(self.manager.provisioner, LocalProvisioner) and self.manager.provisioner.process
        pid: int = self.manager.provisioner.process.pid
        return pid

    def run(self, code: str, timeout: float = 30) -> Cell:
        """Run a cell, and return its outputs. Raises TimeoutError."""
        return self.outputs(self.client.execute(code), timeout)

    def outputs(self, request: str, timeout: float = 30) -> Cell:
        """Return the outputs of a cell, once it has run."""
        cell = Cell()
        while True:
            message = self.client.get_iopub_msg(timeout=timeout)
            if message["parent_header"].get("msg_id") != request:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                cell.text += content["text"]
            elif kind in ("display_data", "update_display_data", "execute_result"):
                shown = content.get("transient", {}).get("display_id")
                if shown:
                    cell.shown[shown] = content["data"]
                else:
                    cell.values.append(content["data"])
                    cell.text += content["data"].get("text/plain", "")
            elif kind == "error":
                cell.error = f"{content['ename']}: {content['evalue']}"
                cell.traceback = "\n".join(content["traceback"])
            elif kind == "status" and content["execution_state"] == "idle":
                return cell

    def value(self, expression: str) -> Any:
        """Return the value of an expression of JSON's types."""
        cell = self.run(f"import json; print(json.dumps({expression}))")
        assert not cell.error, cell.error
        return json.loads(cell.text)


@contextmanager
def kernel(**variables: str) -> Iterator[Kernel]:
    """Start a kernel of this interpreter, and stop it at the end of the block."""
    # It is reached by sockets: another program may take a TCP port before the kernel opens it.
    with tempfile.TemporaryDirectory() as folder:
        manager = KernelManager(kernel_name="python3", transport="ipc", ip=f"{folder}/kernel")
        manager.start_kernel(env=environment() | {"PYDEVD_DISABLE_FILE_VALIDATION": "1"} | variables, cwd=os.getcwd())
        client = manager.blocking_client()
        try:
            client.start_channels()
            client.wait_for_ready(timeout=60)
            yield Kernel(manager, client)
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)
