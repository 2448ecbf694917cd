"""Tests of the Makefiles of the kit and of an app: `make` explains each target, and bin/check reports its parts."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests import baking
from tests.baking import Bake


@pytest.fixture(params=["kit", "app"])
def folder(request: pytest.FixtureRequest, bake: Bake) -> Path:
    return baking.KIT if request.param == "kit" else bake(example="blank")


def test_make_explains_every_target_in_a_line(folder: Path) -> None:
    makefile = folder.joinpath("Makefile").read_text()
    targets = " ".join(re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE))
    shown = subprocess.run(["make", "--silent"], cwd=folder, check=True, capture_output=True, text=True).stdout
    assert sorted(re.findall(r"^make (\S+) +\S", shown, re.MULTILINE)) == sorted(set(targets.split()) - {"help"})


def test_check_prints_the_time_of_each_part_and_ends_with_the_last_line(tmp_path: Path) -> None:
    """Test bin/check below another make, as in `make check`. Make then prints the folders that it enters and leaves."""
    below_make = os.environ | {"MAKELEVEL": "1"}
    tmp_path.joinpath("Makefile").write_text("one:\n\t@echo 2 passed\ntwo:\n\t@echo 3 passed\nbroken:\n\t@false\n")
    check = baking.KIT / "bin" / "check"
    done = subprocess.run(
        [check, "one", "two"], cwd=tmp_path, env=below_make, check=True, capture_output=True, text=True
    )
    lines = done.stdout.splitlines()
    assert [re.sub(r" +\d+ min \d\d s", ": a time", line) for line in lines[-5:-2]] == [
        "one: a time  2 passed",
        "two: a time  3 passed",
        "all: a time",
    ]
    assert lines[-1] == "3 passed"
    failed = subprocess.run([check, "broken", "two"], cwd=tmp_path, capture_output=True, text=True)
    assert failed.returncode != 0
    assert "3 passed" not in failed.stdout
