"""Tests of an app under a URL prefix: it passes its own tests, and a page may be at the root."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.baking import Bake


@pytest.mark.long
@pytest.mark.parametrize("variable", ["DASH_URL_BASE_PATHNAME", "DASH_REQUESTS_PATHNAME_PREFIX"])
def test_apps_own_tests_pass_under_a_url_prefix(bake: Bake, variable: str) -> None:
    tests = [f"tests/test_{name}.py" for name in ("web", "accounts")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
        cwd=bake(example="portfolio"),
        env=os.environ | {variable: "/explorer/"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


HOME = """
import dash

dash.register_page(__name__, path="/", order=-1)
layout = "home"
"""
ASK = """
from app.web import server
for path in "/", "/explorer/":
    answer = server.test_client().get(path)
    print(answer.status_code, answer.location)
"""


def test_a_page_at_the_root_is_shown_there(bake: Bake, tmp_path: Path) -> None:
    app = shutil.copytree(bake(example="blank"), tmp_path / "app")
    app.joinpath("app", "pages", "home.py").write_text(HOME)
    environment = os.environ | {"DASH_URL_BASE_PATHNAME": "/explorer/"}
    answers = subprocess.check_output([sys.executable, "-c", ASK], cwd=app, env=environment, text=True)
    assert answers == "302 /explorer/\n200 None\n"
