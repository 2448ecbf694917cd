"""Install an app, and the engine without the template, in empty environments with an empty home, as users and hosts do."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Playwright, expect

from tests import baking
from tests.end_to_end.running import WAIT, free_port, wait_until

pytestmark = pytest.mark.long

PYTHON = Path(sys.base_prefix, "bin", f"python3.{sys.version_info.minor}")  # not the kit's environment
ANSWERS = "from app.web import server; print(server.test_client().get('/health').status)"
README = baking.KIT / "engine" / "README.md"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    tmp_path.joinpath("home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def copy(app: Path, tmp_path: Path) -> Path:
    return shutil.copytree(app, tmp_path / app.name)


def test_pinned_requirements_install_in_an_empty_environment(copy: Path, home: Path) -> None:
    environment = user(home)
    run([PYTHON, "-m", "venv", ".venv"], copy, environment)
    python = copy / ".venv" / "bin" / "python"
    run([python, "-m", "pip", "install", "--quiet", "--require-hashes", "-r", "requirements.txt"], copy, environment)
    run([python, "-m", "pip", "check"], copy, environment)
    assert run([python, "-c", ANSWERS], copy, environment) == "200 OK\n"
    assert "worker" in run([python, "-m", "app", "--help"], copy, environment)


@pytest.mark.parametrize("example", ["blank"], indirect=True)
@pytest.mark.parametrize("installer", ["uv", "pip"])
def test_make_starts_tests_and_lints_a_fresh_app(copy: Path, home: Path, installer: str) -> None:
    environment = user(home, uv=installer == "uv")
    make = ["make", f"PYTHON={PYTHON}"]
    port = free_port()
    copy.joinpath(".env").write_text(f"PORT={port}\n")
    with started([*make, "start"], copy, environment, "make") as process:
        log = copy.joinpath("make.log").read_text
        wait_until(lambda: answers(port) or process.poll() is not None, log, timeout=600)
        assert process.poll() is None, log()
    assert "passed" in run([*make, "test"], copy, environment)
    run([*make, "lint"], copy, environment)


@pytest.mark.parametrize("example", ["blank"], indirect=True)
@pytest.mark.parametrize("installer", ["uv", "pip"])
def test_make_lock_keeps_the_wheel(copy: Path, home: Path, installer: str) -> None:
    before = copy.joinpath("requirements.txt").read_text()
    run(["make", f"PYTHON={PYTHON}", "lock"], copy, user(home, uv=installer == "uv"))
    after = copy.joinpath("requirements.txt").read_text()
    (wheel,) = re.findall(r"^\./vendor/.*\n.*$", before, re.MULTILINE)
    assert wheel in after
    assert names(after) == names(before)


def test_the_engine_alone_runs_the_app_of_its_readme(tmp_path: Path, home: Path, playwright: Playwright) -> None:
    """Without the template: an empty environment, the wheel with the extra that the README names, and its app."""
    text = README.read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (extra,) = set(re.findall(r"pip install '[^']*(\[\w+\])'", text))
    worker, web = re.findall(r"^(huey_consumer .*|flask .*)$", text, re.MULTILINE)[:2]
    (wheel,) = baking.TEMPLATE.glob("vendor/*.whl")
    environment = user(home, tmp_path / "env" / "bin")
    port = free_port()
    tmp_path.joinpath("app.py").write_text(code)
    run([PYTHON, "-m", "venv", "env"], tmp_path, environment)
    run(["pip", "install", "--quiet", f"{wheel}{extra}"], tmp_path, environment)
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


def user(home: Path, *programs: Path, uv: bool = False) -> dict[str, str]:
    """Return the environment variables of a user who has nothing of the kit's, with uv or without."""
    system = [folder for folder in os.environ["PATH"].split(os.pathsep) if not Path(folder, "uv").exists()]
    if uv:
        home.joinpath("uv").mkdir()
        home.joinpath("uv", "uv").symlink_to(baking.PROGRAMS / "uv")
        programs = (*programs, home / "uv")
    path = os.pathsep.join(map(str, [*programs, *(folder for folder in system if folder != str(baking.PROGRAMS))]))
    kept = {
        name: value for name, value in baking.without_source().items() if not name.startswith(("PYTHON", "VIRTUAL"))
    }
    return kept | {"PATH": path, "HOME": str(home)}


def run(command: Sequence[str | Path], folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@contextlib.contextmanager
def started(
    command: Sequence[str], folder: Path, environment: dict[str, str], name: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command while the code inside runs. Its output is in `name`.log."""
    with folder.joinpath(f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        yield process
    finally:
        running = psutil.Process(process.pid)
        processes = [running, *running.children(recursive=True)]  # honcho gives each of its own a group of its own
        for found in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                found.kill()
        psutil.wait_procs(processes, timeout=WAIT)
        process.wait()


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1) as response:
        return bool(response.status == 200)
    return False


def names(requirements: str) -> set[str]:
    return set(re.findall(r"^([\w.-]+)==", requirements, re.MULTILINE))
