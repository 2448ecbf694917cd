"""A submit checks a notebook's parameters, and imports nothing of Jupyter."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jobqueue import DurableHuey
from jobqueue.reports.parameters import source_of
from tests.baking import TEMPLATE
from tests.engine.consumers import environment
from tests.engine.reports.notebook_jobs import tasks_on, write_notebook

TAKES = 'It takes region="north", rows=3, share=0.5, what="charts", note="", day=None.'


@pytest.fixture
def tasks(huey: DurableHuey, tmp_path: Path) -> SimpleNamespace:
    write_notebook(tmp_path)
    return tasks_on(huey, tmp_path)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"regoin": "north"}, f'weekly has no parameter "regoin". {TAKES}'),
        ({"rows": "3"}, f'weekly takes rows as int, and "3" is str. {TAKES}'),
        ({"rows": True}, f"weekly takes rows as int, and True is bool. {TAKES}"),
        ({"region": None}, f"weekly takes region as str, and None is NoneType. {TAKES}"),
        (
            {"day": object()},
            "weekly cannot take day: a value of type object cannot be written into a cell. Give text, a number, True, "
            "False, None, or a list or dict of them.",
        ),
    ],
)
def test_parameter_that_the_notebook_cannot_take_is_refused_at_the_submit(
    huey: DurableHuey, tasks: SimpleNamespace, given: dict[str, Any], message: str
) -> None:
    for submit in (tasks.weekly, tasks.weekly.using(owner="ann"), tasks.weekly.call_local):
        with pytest.raises(ValueError) as error:
            submit(**given)
        assert str(error.value) == message
    with pytest.raises(ValueError):
        huey.enqueue(tasks.weekly.s().then(tasks.weekly, **given))
    assert huey.jobs() == []


def test_parameters_go_by_name(huey: DurableHuey, tasks: SimpleNamespace) -> None:
    with pytest.raises(ValueError, match=r"weekly takes its parameters by name\. It takes region"):
        tasks.weekly("north")
    handle = tasks.weekly(share=1, day=["monday"])  # an int where a float is the default; anything for None
    assert handle.get_job().name == "weekly"


def test_value_is_written_as_python_that_makes_it_again() -> None:
    value = {"a": [1, -2.5, "é\n\"'", None, True], "b": float("-inf")}
    assert eval(source_of(value)) == value
    assert source_of(float("nan")) == "float('nan')"


def test_declaration_names_a_missing_notebook_and_a_name_that_no_task_can_have(
    huey: DurableHuey, tmp_path: Path
) -> None:
    with pytest.raises(
        ValueError, match=r"There is no notebook notebooks/nowhere\.ipynb in .*\. Give its path from there"
    ):
        huey.notebook("notebooks/nowhere.ipynb")
    path = write_notebook(tmp_path).rename(tmp_path / "1st look.ipynb")
    with pytest.raises(ValueError, match="A task cannot be named '1st look', after its notebook. Give name="):
        huey.notebook(path)
    path.write_text('{"cells": 3}')
    with pytest.raises(
        ValueError, match="look cannot read its notebook .*TypeError.*Open it in JupyterLab and save it"
    ):
        huey.notebook(path, name="look")()


IN_THE_WEB_PROCESS = """
import sys
from jobqueue.web.cli import import_server
server = import_server("app.web:server")
from app.jobs import huey
from app.jobs.weekly import weekly

huey.migrate()
address = f"/jobs/{weekly(until='2020-03-20').id}"
client = server.test_client()
print(client.get(address).status_code, client.get(f"{address}/report.html").status_code)
jupyter = {"nbclient", "nbconvert", "nbformat", "ipykernel", "IPython", "jupyter_client", "zmq"}
print(jupyter & {name.partition(".")[0] for name, module in sys.modules.items() if module is not None})
"""


@pytest.mark.long
def test_web_process_submits_a_report_and_shows_its_job_without_an_import_of_jupyter(tmp_path: Path) -> None:
    variables = environment(DATABASE_URL=f"sqlite:///{tmp_path}/jobs.sqlite")
    command = [sys.executable, "-c", IN_THE_WEB_PROCESS]
    ran = subprocess.run(command, cwd=TEMPLATE, capture_output=True, text=True, env=variables)
    assert (ran.stdout, ran.returncode) == ("200 404\nset()\n", 0), ran.stderr


def test_environment_without_the_extra_refuses_the_submit(
    tasks: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobqueue.reports.notebook.NEEDED", ("ipykernel", "no_such_package"))
    with pytest.raises(
        RuntimeError, match='Notebook jobs need the "reports" extra. Add it in pyproject.toml, then run'
    ):
        tasks.weekly()
