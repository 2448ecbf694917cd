"""The first commands of the README, and the kit's own targets, as a user types them: in a clone, with Python, make and uv alone.

Without uv, they install with pip, as the run of all tests itself begins on a fresh machine. That takes ten times as long.
"""

import os
import re
import shutil
from pathlib import Path

import pytest

from tests import baking
from tests.user import FOLDER, run, serves, user

pytestmark = pytest.mark.long

README = baking.KIT.joinpath("README.md").read_text()
DEMO, APP, PROMOTE = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
UNTRACKED = shutil.ignore_patterns(".git", ".venv", "build", "*_cache", "__pycache__", ".hypothesis")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return user(tmp_path_factory.mktemp("home"), uv=True)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(baking.KIT, tmp_path_factory.mktemp("clone") / FOLDER / "kit", ignore=UNTRACKED)


def test_the_demo_of_the_readme_runs(clone: Path, environment: dict[str, str]) -> None:
    serves(["sh", "-ec", DEMO], clone, environment)


def test_the_app_of_the_readme_is_made_and_runs(clone: Path, environment: dict[str, str]) -> None:
    make, *others = APP.splitlines()
    made = run(["sh", "-ec", make], clone, environment, typed=6 * os.linesep)  # Enter takes each proposed answer
    (go_there,) = re.findall(r"^ +(cd .*)$", made, re.MULTILINE)
    assert run(["sh", "-ec", f"{go_there} && pwd"], clone, environment) == f"{clone.parent / 'portfolio-desk'}\n"
    serves(["sh", "-ec", "\n".join(others)], clone, environment)
    promoted = run(["sh", "-ec", f"{go_there}\n{PROMOTE}"], clone, environment)
    assert "app/pages/first_job.py" in promoted


@pytest.mark.parametrize("target", ["lint", "wheel", "notebooks", "lock"])
def test_the_kits_targets_work_in_any_folder(clone: Path, environment: dict[str, str], target: str) -> None:
    run(["make", target], clone, environment)


@pytest.mark.parametrize("target", ["test", "deploy"])
def test_the_kits_tests_are_found_in_any_folder(clone: Path, environment: dict[str, str], target: str) -> None:
    only_listed = environment | {"PYTEST_ADDOPTS": "--collect-only --quiet"}
    assert re.search("^[1-9][0-9/]* tests", run(["make", target], clone, only_listed), re.MULTILINE)
