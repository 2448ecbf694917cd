"""The page of a promoted job: a field for each parameter."""

import ast
from pathlib import Path

import pytest

from jobqueue.promote.dependencies import definition_of_task, dependencies
from jobqueue.promote.notebook import Notebook
from jobqueue.promote.page import page_module
from jobqueue.promote.refusal import Refused
from tests.engine.promote.notebooks import write

BEFORE = """
import datetime as dt
from datetime import date
from enum import Enum
from typing import Literal
RATE = 0.05
class Side(Enum):
    BUY = 1
    SELL = 2
# %%
"""
# By parameter: the field, and the argument that the page passes.
FIELDS = {
    "rows: int": (
        'dmc.NumberInput( id="sales-rows", label="Rows", allowDecimal=False, maw=300, persistence=True, persistence_type="memory"',
        "rows=int(rows)",
    ),
    "rate: float = RATE": (
        'dmc.NumberInput( id="sales-rate", label="Rate", value=RATE, maw=300, persistence=True, persistence_type="memory"',
        "rate=float(rate)",
    ),
    "n: int = None": ("dmc.NumberInput(", 'n=None if n in ("", None) else int(n)'),
    "n=3": ("value=3, allowDecimal=False", "n=int(n)"),
    'job: str = "{x}"': (
        'dmc.TextInput( id="sales-job", label="Job", value="{x}", maw=300, persistence=True, persistence_type="memory"',
        "job=job",
    ),
    "fast: bool = True": (
        'dmc.Switch( id="sales-fast", label="Fast", checked=True, maw=300, persistence=True, persistence_type="memory"',
        "fast=fast",
    ),
    "date: date = date(2024, 1, 2)": (
        "value=datetime.date(2024, 1, 2)",
        "date=datetime.date.fromisoformat(date)",
    ),
    "since: dt.date": ("dmc.DateInput(", "since=datetime.date.fromisoformat(since)"),
    'region: Literal["north", "south"]': ('data=["north", "south"], value="north"', "region=region"),
    "size: 'Literal[1, 2]' = 2": ('data=["1", "2"], value=str(2)', "size=int(size)"),
    "side: Side = Side.SELL": ("value=Side.SELL.name", "side=Side[side]"),
    "total: int": ('id="sales-total", label="Total", allowDecimal=False', "total=int(total_)"),
    "start_button=1": (
        'id="sales-start_button", label="Start button"',
        "start_button=int(start_button)",
    ),
    "x: int, /": ("dmc.NumberInput(", "total(int(x))"),
}


def page(tmp_path: Path, parameters: str, kind: str = "task") -> str:
    notebook = Notebook(write(tmp_path / "sales.ipynb", f"{BEFORE}def total({parameters}): return 1"))
    node = definition_of_task(notebook, "total").node
    assert isinstance(node, ast.FunctionDef)
    return page_module(tmp_path, "sales", node, kind, dependencies(notebook, "total"))


@pytest.mark.parametrize("parameter", FIELDS)
def test_a_page_has_a_field_for_each_parameter(parameter: str, tmp_path: Path) -> None:
    text = page(tmp_path, parameter)
    flat = " ".join(text.split())
    field, passed = FIELDS[parameter]
    assert field in flat and passed in flat, text
    assert text.count('"sales-start-button"') == 2
    assert len(text.splitlines()) < 45  # hello's has 28


def test_the_page_of_a_dataset_refreshes_it(tmp_path: Path) -> None:
    text = page(tmp_path, "n=3", "dataset")
    assert "jobs.panel(__name__, task=total.task)" in text and "return total.refresh()" in text
    assert "NumberInput" not in text


@pytest.mark.parametrize(
    ("parameter", "refusal"),
    [
        ("*rows", "total takes any number (*rows). Leave --page out."),
        ("rows: list[int]", "total has the parameter rows: list[int]. Leave --page out, and write the page."),
    ],
)
def test_a_parameter_without_a_field_is_refused(parameter: str, refusal: str, tmp_path: Path) -> None:
    with pytest.raises(Refused) as refused:
        page(tmp_path, parameter)
    assert refusal in str(refused.value)
