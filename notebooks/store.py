"""Run the kit's notebooks and store their outputs, for the tests to compare with: `make notebooks`.

Only source, tags and outputs are stored. Nothing depends on the time, the machine or the editor.
"""

import os
import re
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

KIT = Path(__file__).resolve().parents[1]
TEMPLATE = KIT / "{{cookiecutter.app_name}}"
sys.path.insert(0, str(KIT / "engine" / "src"))

from jobqueue.reports.kernel import Kernel  # noqa: E402

NOTEBOOKS = [KIT / "notebooks" / "tour.ipynb", *sorted((TEMPLATE / "notebooks").glob("*.ipynb"))]
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


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
    resources = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(
        notebook, kernel_manager_class=Kernel, timeout=120, record_timing=False, resources=resources
    )
    try:
        client.execute(env=environment)
    except CellExecutionError as error:
        sys.exit(str(error))
    for cell in notebook.cells:
        tags = cell.metadata.get("tags")
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
            for output in cell.outputs:
                if "text" in output:
                    output.text = re.sub(rf"{re.escape(tempfile.gettempdir())}/\w+/", "", output.text)
    notebook.metadata = nbformat.from_dict(METADATA)
    nbformat.validate(notebook)
    nbformat.write(notebook, path)


if __name__ == "__main__":
    main()
