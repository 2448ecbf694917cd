"""An app under a URL prefix passes its own tests, which say where its pages, links and log-in lead."""

import os
import subprocess
import sys

import pytest

from tests.baking import Bake


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
