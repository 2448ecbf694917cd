"""Tests of the README's code in a baked app."""

import re
import subprocess
from pathlib import Path

from tests import baking
from tests.baking import Bake

READ = """
from app.jobs import huey
from fresh import prices
huey.immediate = True
prices.refresh()
print(prices.read().loc["2022-01-04", "AAPL"], prices.info().rows, prices.info().stale)
"""


def test_the_dataset_of_the_readme_is_read_in_a_baked_app(installed: Bake, tmp_path: Path) -> None:
    code = re.search(r"```python\n(.*?@huey\.dataset.*?)```", (baking.KIT / "README.md").read_text(), re.DOTALL)
    assert code is not None
    app = installed(example="blank")
    (tmp_path / "prices.csv").write_text("day,AAPL\n2022-01-03,10.5\n2022-01-04,11.5\n")
    (tmp_path / "fresh.py").write_text(code[1])
    command = [str(app / ".venv" / "bin" / "python"), "-c", READ]
    environment = baking.in_the_app(app)
    shown = subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True).stdout
    assert shown == "11.5 2 False\n"
