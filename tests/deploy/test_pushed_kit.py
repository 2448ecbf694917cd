"""The kit itself, pushed to a host: its buildpack installs requirements.txt, calls bin/post_compile, then runs the Procfile."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import baking
from tests.end_to_end.running import RunningApp, wait_until


@pytest.mark.long
def test_the_kits_own_procfile_runs_the_demo(tmp_path: Path) -> None:
    kit = tmp_path / "kit"
    shutil.copytree(baking.KIT, kit, ignore=shutil.ignore_patterns(".git", ".venv", "build", "*_cache", "__pycache__"))
    home = {"HOME": str(tmp_path), "PYTHONPATH": ""}  # it runs on the wheel that requirements.txt names
    subprocess.run([kit / "bin" / "post_compile"], cwd=kit, env=baking.with_programs(**home), check=True)
    pushed = RunningApp(kit)
    try:
        pushed.start(**home)  # waits until the web process answers
        ledger = kit / "build" / "portfolio-desk" / "var" / "jobs.sqlite"
        wait_until(ledger.exists, "the worker has made the ledger")
        made = subprocess.run(
            ["sh", "-c", first_account().replace("NAME", "ann")],
            cwd=kit,
            env=baking.with_programs(**home),
            input="mountain river nine\n" * 2,
            capture_output=True,
            text=True,
        )
        assert made.stdout == "ann can log in now.\n", made.stderr
    finally:
        pushed.stop()


def first_account() -> str:
    """The command that the README has for it."""
    found = re.search(
        r"`(cd build/portfolio-desk && .*users add NAME --admin)`", (baking.KIT / "README.md").read_text()
    )
    assert found is not None
    return found[1]
