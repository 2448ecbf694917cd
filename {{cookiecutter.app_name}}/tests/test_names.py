"""An update of the template may add a name that you have added too. These tests find it: delete one of the two."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_every_dependency_is_named_once() -> None:
    project = tomllib.loads(ROOT.joinpath("pyproject.toml").read_text())["project"]
    assert twice([re.split("[ <>=!~;@]", wanted)[0] for wanted in project["dependencies"]]) == set()


@pytest.mark.parametrize("name", ["Procfile", "Procfile.dev"])
def test_every_process_is_named_once(name: str) -> None:
    assert twice([line.partition(":")[0] for line in ROOT.joinpath(name).read_text().splitlines()]) == set()


def twice(names: list[str]) -> set[str]:
    return {name for name in names if names.count(name) > 1}
