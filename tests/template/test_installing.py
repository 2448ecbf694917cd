"""Tests that install an app, and the engine alone, in empty environments with an empty home, as users and hosts do."""

import os
import re
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Playwright, expect

from tests import baking
from tests.end_to_end.running import WAIT, free_port, wait_until
from tests.user import FOLDER, PYTHON, answers, run, serves, started, user

pytestmark = pytest.mark.long

ANSWERS = "from app.web import server; print(server.test_client().get('/hello').status)"
README = baking.KIT / "engine" / "README.md"
STARTS = {"pip": ["make", "start"], "uv": ["make", "start", "PROCFILE=Procfile"]}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    tmp_path.joinpath("home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def copy(app: Path, tmp_path: Path) -> Path:
    return shutil.copytree(app, tmp_path / FOLDER / app.name)


def test_pinned_requirements_install_in_an_empty_environment(copy: Path, home: Path) -> None:
    """Test with uv, which takes a tenth of pip's time. pip installs the kit's own environment, with the same pins."""
    environment = user(home, uv=True)
    into = ["--python", ".venv"]
    run(["uv", "venv", "--python", PYTHON, ".venv"], copy, environment)
    run(["uv", "pip", "install", *into, "--require-hashes", "-r", "requirements.txt"], copy, environment)
    run(["uv", "pip", "check", *into], copy, environment)
    python = copy / ".venv" / "bin" / "python"
    assert run([python, "-c", ANSWERS], copy, environment) == "200 OK\n"
    assert "worker" in run([python, "-m", "app", "--help"], copy, environment)


@pytest.mark.parametrize("example", ["blank"], indirect=True)
@pytest.mark.parametrize("installer", ["uv", "pip"])
def test_make_starts_tests_and_lints_a_fresh_app(copy: Path, home: Path, installer: str) -> None:
    """Test each target once."""
    environment = user(home, uv=installer == "uv")
    serves(STARTS[installer], copy, environment)
    run([baking.PROGRAMS / "uv", "pip", "check", "--python", ".venv"], copy, environment)
    if installer == "pip":
        assert "passed" in run(["make", "test"], copy, environment)
    else:
        run(["make", "lint"], copy, environment)


@pytest.mark.parametrize("example", ["blank"], indirect=True)
@pytest.mark.parametrize("installer", ["uv", "pip"])
def test_make_lock_keeps_the_wheel(copy: Path, home: Path, installer: str) -> None:
    before = copy.joinpath("requirements.txt").read_text()
    run(["make", "lock"], copy, user(home, uv=installer == "uv"))
    after = copy.joinpath("requirements.txt").read_text()
    (wheel,) = re.findall(r"^\./vendor/.*\n.*$", before, re.MULTILINE)
    assert wheel in after
    assert names(after) == names(before)


def test_engine_alone_runs_the_app_of_its_readme(tmp_path: Path, home: Path, playwright: Playwright) -> None:
    """Test the wheel, the README's commands that install it, and the README's app, without the template."""
    text = README.read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    install, worker, web = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)[:3]
    (wheel,) = baking.TEMPLATE.glob("vendor/*.whl")
    shutil.copy(wheel, tmp_path)
    port = free_port()
    tmp_path.joinpath("app.py").write_text(code)
    run(["sh", "-ec", install], tmp_path, user(home))
    environment = user(home, tmp_path / ".venv" / "bin")  # as if the environment were activated
    with (
        started(worker.split(), tmp_path, environment, "worker"),
        started([*web.split(), "--port", str(port)], tmp_path, environment, "web"),
    ):
        wait_until(lambda: answers(port), lambda: tmp_path.joinpath("web.log").read_text())
        browser = playwright.chromium.launch(executable_path=os.environ.get("CHROMIUM"), args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{port}")
        page.get_by_role("button", name="Add up").click()
        expect(page.get_by_text(str(sum(range(100_000_000))))).to_be_visible(timeout=1000 * WAIT)
        browser.close()


def names(requirements: str) -> set[str]:
    return set(re.findall(r"^([\w.-]+)==", requirements, re.MULTILINE))
