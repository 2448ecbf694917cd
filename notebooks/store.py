"""Run the kit's notebooks and store their outputs, for the tests to compare with: `make notebooks`.

Only source, tags and outputs are stored. Nothing depends on the time, the machine or the editor.
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.manager import start_new_kernel
from nbval.plugin import coalesce_streams  # type: ignore[import-untyped]

KIT = Path(__file__).resolve().parents[1]
TEMPLATE = KIT / "{{cookiecutter.app_name}}"
NOTEBOOKS = [KIT / "notebooks" / "tour.ipynb", TEMPLATE / "notebooks" / "prices.ipynb"]
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
OUTPUTS = ("display_data", "execute_result", "stream")


def main() -> None:
    for path in NOTEBOOKS:
        with tempfile.TemporaryDirectory() as folder:
            ledger = f"sqlite:///{Path(folder, 'jobs.sqlite')}"
            source = os.pathsep.join(map(str, [KIT / "engine" / "src", TEMPLATE]))
            environment = {"DATABASE_URL": ledger, "PYTHONPATH": source, "PYTHONDONTWRITEBYTECODE": "1"}
            store(path, os.environ | environment)
        print(f"{path.relative_to(KIT)}: {path.stat().st_size / 1000:.0f} kB")


def store(path: Path, environment: dict[str, str]) -> None:
    """Run a notebook's cells in a new kernel, and write it back. If a cell raises, stop and leave the file unchanged."""
    notebook = nbformat.read(path, as_version=4)
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(path.parent), env=environment)
    try:
        for cell in notebook.cells:
            tags = cell.metadata.get("tags")
            cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
            if cell.cell_type == "code":
                run(cell, client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel()
    notebook.metadata = nbformat.from_dict(METADATA)
    nbformat.validate(notebook)
    nbformat.write(notebook, path)


def run(cell: Any, client: Any) -> None:
    messages: list[Any] = []
    reply = client.execute_interactive(cell.source, timeout=120, output_hook=messages.append)["content"]
    if reply["status"] != "ok":
        sys.exit("\n".join([cell.source, *reply["traceback"]]))
    outputs = [nbformat.v4.output_from_msg(message) for message in messages if message["msg_type"] in OUTPUTS]
    cell.outputs = coalesce_streams(outputs)
    cell.execution_count = reply["execution_count"]


if __name__ == "__main__":
    main()
