"""Run a notebook in a fresh kernel, compare what it shows with what is stored, and record the task's calls."""

import ast
import copy
import itertools
import json
import os
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from jobqueue.promote.notebook import Cell, Notebook
from jobqueue.promote.refusal import Refused
from jobqueue.reports.kernel import Kernel

TIMEOUT = 600  # seconds that a cell may run
VARYING = re.compile(r"0x[0-9a-f]+|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")  # addresses, job ids
IGNORED, RAISES = "nbval-ignore-output", "raises-exception"  # tags, as nbval names them


def check_stored(notebook: Notebook) -> None:
    """Refuse a notebook that was not run from the top, or whose outputs are not stored. Raises Refused."""
    counts = [(cell, cell.node.get("execution_count")) for cell in notebook.cells if cell.source.strip()]
    if not any(cell.node.outputs for cell, _ in counts):
        raise Refused(
            f"{notebook.path.name} has no stored outputs, so there is nothing to compare. Run all cells and save, or move it "
            "to notebooks/scratch/."
        )
    for cell, count in counts:
        if count is None:
            raise Refused(f"{cell.quoted(1)} has not run. Run all cells from the top, save, and promote again.")
    numbers = [count for _, count in counts]
    for before, after in itertools.pairwise(numbers):
        if after < before:
            raise Refused(f"[{before}] ran before [{after}]. Run all cells from the top, save, and promote again.")
    for expected, number in enumerate(numbers, 1):
        if number != expected:
            raise Refused(
                f"[{number}] is not the first run of its cell. Restart, run all cells from the top, and save."
            )
    for cell, _ in counts:
        failed = [output.ename for output in cell.node.outputs if output.output_type == "error"]
        if failed and RAISES not in cell.tags:
            raise Refused(
                f"{cell.label} {cell.quoted(1)} stores the error {failed[0]}. Mend it, or tag the cell {RAISES}."
            )


def run(notebook: Notebook, folder: Path, environment: dict[str, str], extra: str = "") -> tuple[list[Any], str]:
    """Run a notebook from the top in a fresh kernel. Return each code cell as it ran, and what `extra` printed.

    :param folder: the folder to run in.
    :param extra: code to run after the last cell.

    Raises Refused if a cell raises an exception that its stored output does not have.
    """
    node = copy.deepcopy(notebook.node)
    count = len(node.cells)
    if extra:
        import nbformat

        node.cells.append(nbformat.v4.new_code_cell(extra))
    client = NotebookClient(
        node,
        timeout=TIMEOUT,
        kernel_manager_class=Kernel,
        resources={"metadata": {"path": str(folder)}},
        store_widget_state=False,
    )
    try:
        client.execute(env=os.environ | environment)
    except CellExecutionError as error:
        raise Refused(_failed(notebook, node, error)) from error
    printed = "".join(output.get("text", "") for cell in node.cells[count:] for output in cell.outputs)
    return [cell for cell in node.cells[:count] if cell.cell_type == "code"], printed


def _failed(notebook: Notebook, node: Any, error: CellExecutionError) -> str:
    cells = [cell for cell in node.cells if cell.cell_type == "code"]
    number = next(
        (
            i
            for i, cell in enumerate(cells)
            if any(one.output_type == "error" for one in cell.outputs)
            and i < len(notebook.cells)
            and RAISES not in notebook.cells[i].tags
        ),
        None,
    )
    where = f"{notebook.cells[number].label} " if number is not None else ""
    return (
        f"{where}raises {error.ename}: {error.evalue} in a fresh kernel. Mend it, run all cells from the top, and save."
    )


def differences(notebook: Notebook, ran: Sequence[Any]) -> list[tuple[Cell, str, str]]:
    """Return the cells that show something else than what is stored, with both texts."""
    found = []
    for cell, now in zip(notebook.cells, ran, strict=True):
        if IGNORED in cell.tags:
            continue
        stored, fresh = shown(cell.node.outputs), shown(now.outputs)
        if stored != fresh:
            found.append((cell, *_first_difference(fresh, stored)))
    return found


def shown(outputs: Sequence[Any]) -> list[tuple[str, str]]:
    """Return what outputs show, but standard error: progress bars write times there."""
    found: list[tuple[str, str]] = []
    for output in outputs:
        if output.output_type == "stream":
            if output.name == "stderr":
                continue
            if found and found[-1][0] == "stdout":
                found[-1] = ("stdout", found[-1][1] + output.text)
            else:
                found.append(("stdout", output.text))
        elif output.output_type == "error":
            found.append(("error", f"{output.ename}: {output.evalue}"))
        else:
            for kind, content in sorted(output.data.items()):
                found.append((kind, content if isinstance(content, str) else json.dumps(content, sort_keys=True)))
    return [(kind, VARYING.sub("…", text)) for kind, text in found]


def _first_difference(shown: Sequence[tuple[str, str]], stored: Sequence[tuple[str, str]]) -> tuple[str, str]:
    order = sorted(range(max(len(shown), len(stored))), key=lambda i: _kind(shown, stored, i) != "text/plain")
    for i in order:
        now = shown[i][1] if i < len(shown) else "nothing"
        before = stored[i][1] if i < len(stored) else "nothing"
        if now != before:
            return _short(now), _short(before)
    return "", ""


def _kind(shown: Sequence[tuple[str, str]], stored: Sequence[tuple[str, str]], i: int) -> str:
    return shown[i][0] if i < len(shown) else stored[i][0]


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 60 else f"{text[:60]}…"


def saved_at(path: Path) -> str:
    return f"{datetime.fromtimestamp(path.stat().st_mtime):%H:%M:%S}"


# --- the task's calls ---

RECORD = """
def _promote_record(task, calls):
    import json
    from jobqueue import codec

    def plain(value):
        if value is None or type(value) in (bool, int, str, bytes):
            return repr(value)
        if type(value) is float:
            return repr(value) if value != value or value in (float("inf"), float("-inf")) else f"pytest.approx({{value!r}})"
        if type(value) in (list, tuple):
            inner = ", ".join(map(plain, value))
            return f"[{{inner}}]" if type(value) is list else f"({{inner}}{{',' if len(value) == 1 else ''}})"
        if type(value) is dict:
            return "{{" + ", ".join(f"{{key!r}}: {{plain(item)}}" for key, item in value.items()) + "}}"
        raise TypeError

    records = []
    for arguments in calls:
        record = {{"arguments": arguments}}
        value = eval(f"task({{arguments}})", {{"task": task}})
        try:
            codec.encode(value)
        except Exception as error:
            record["refused"] = str(error)
        try:
            record["value"] = plain(value)
        except TypeError:
            if hasattr(value, "to_string"):
                record["shown"] = value.to_string()
        records.append(record)
    print(json.dumps(records))


_promote_record({function}, {calls})
"""


def literal_calls(notebook: Notebook, task: str) -> tuple[list[str], bool]:
    """Return the arguments of the calls whose arguments are literals, as source, and whether there are other calls."""
    found: dict[str, None] = {}
    others = False
    for cell in notebook.cells:
        if RAISES in cell.tags:
            continue
        for statement in notebook.statements:
            if statement.cell is not cell:
                continue
            for one in ast.walk(statement.node):
                if isinstance(one, ast.Call) and ast.unparse(one.func) in (task, f"{task}.call_local"):
                    if all(map(_is_literal, [*one.args, *(keyword.value for keyword in one.keywords)])):
                        found[", ".join(map(ast.unparse, [*one.args, *one.keywords]))] = None
                    else:
                        others = True
    return list(found), others


def _is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except ValueError:
        return False
    return True


def recording(function: str, calls: Sequence[str]) -> str:
    """Return the code that records what calls of a function return.

    :param function: its source, such as "total.call_local".
    """
    return RECORD.format(function=function, calls=list(calls))
