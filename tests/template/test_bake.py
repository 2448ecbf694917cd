"""Tests of a bake: it makes the same exact files, quickly and offline, and the app passes its checks and tests."""

import filecmp
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import baking
from tests.baking import Bake

# Files of every app, besides the engine's wheel.
FILES = """
.env .gitignore .python-version Makefile Procfile Procfile.dev README.md app.json pyproject.toml
requirements.txt bin/post_compile
app/__init__.py app/__main__.py app/access.py app/settings.py app/shell.py app/web.py
app/assets/charts.css app/assets/colours.css app/assets/session.js
app/jobs/__init__.py app/jobs/hello.py
app/pages/__init__.py app/pages/hello.py app/pages/not_found_404.py
conftest.py
notebooks/.jupyter/labconfig/default_setting_overrides.json notebooks/.jupyter/labconfig/page_config.json
notebooks/first_job.ipynb
tests/browser.py tests/conftest.py tests/test_accounts.py tests/test_hello.py tests/test_names.py
tests/test_web.py
""".split()
# Files of the portfolio example only.
PORTFOLIO = """
app/jobs/analysis.py app/jobs/frontier.py app/jobs/market.py app/jobs/parallel.py app/jobs/weekly.py
app/pages/analysis.py app/pages/analysis_results.py app/pages/frontier.py app/pages/market.py
app/pages/market_weights.py
app/portfolio/__init__.py app/portfolio/figures.py app/portfolio/frontier.py app/portfolio/prices.py
app/portfolio/request.py app/portfolio/statistics.py app/portfolio/universe.py app/portfolio/walk_forward.py
app/sources/__init__.py app/sources/http.py app/sources/replay.py
notebooks/prices.ipynb notebooks/reports/weekly.ipynb
tests/portfolio/test_analysis.py tests/portfolio/test_frontier.py tests/portfolio/test_market.py
tests/portfolio/test_request.py tests/portfolio/test_sources.py
tests/portfolio/test_statistics.py tests/portfolio/test_universe.py tests/portfolio/test_walk_forward.py
""".split()

# Files of an answer to `deploy` only.
IMAGE = [".dockerignore", "Dockerfile", "tests/test_dockerfile.py"]
DEPLOY = {
    "procfile": [],
    "containers": [*IMAGE, "compose.yaml", "tests/test_compose.py"],
    "kubernetes": [
        *IMAGE,
        *(f"kubernetes/base/{name}.yaml" for name in ("kustomization", "web", "worker", "ingress", "network")),
        *(f"kubernetes/overlays/production/{name}.yaml" for name in ("kustomization", "scaling")),
        "kubernetes/overlays/staging/kustomization.yaml",
        "tests/test_kubernetes.py",
    ],
}

AT_MOST = 3  # seconds of processor time for a bake with its hooks
CACHES = ("__pycache__", "_cache")


@pytest.fixture(params=DEPLOY, ids="deploy:{}".format)
def deploy(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def app(example: str, deploy: str, bake: Bake) -> Path:
    return bake(example, deploy=deploy)


@pytest.fixture(scope="module")
def mypy_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mypy")


def test_bake_makes_the_exact_files(app: Path, example: str, deploy: str) -> None:
    (wheel,) = baking.TEMPLATE.glob("vendor/*.whl")
    assert sorted(files(app)) == sorted(
        [*FILES, f"vendor/{wheel.name}", *(PORTFOLIO if example == "portfolio" else []), *DEPLOY[deploy]]
    )


def test_no_jinja_is_left(app: Path) -> None:
    for name in files(app):
        assert "cookiecutter" not in name
        if not name.endswith((".py", ".ipynb", ".js", ".css", ".whl")):
            assert not re.search(r"\{[{%#]|[}%#]\}|cookiecutter", app.joinpath(name).read_text()), name


def test_python_and_notebooks_are_copied_unchanged(app: Path) -> None:
    for name in files(app):
        if name.endswith((".py", ".ipynb")):
            assert filecmp.cmp(app / name, baking.TEMPLATE / name, shallow=False), name


def test_two_bakes_are_identical(app: Path, example: str, deploy: str, tmp_path: Path) -> None:
    again = baking.bake(tmp_path / "out", example=example, deploy=deploy)
    assert again.name == app.name
    assert contents(again) == contents(app)


def test_a_second_bake_over_the_first_keeps_what_the_app_made(tmp_path: Path) -> None:
    made = baking.bake(tmp_path / "out", example="blank")
    ledger = made / "var" / "jobs.sqlite"
    ledger.parent.mkdir()
    ledger.write_text("jobs")
    made.joinpath("README.md").unlink()
    baking.bake(tmp_path / "out", True, example="blank")
    assert ledger.read_text() == "jobs"
    assert made.joinpath("README.md").exists()


def test_bake_is_quick_and_needs_no_network(example: str, tmp_path: Path) -> None:
    tmp_path.joinpath("sitecustomize.py").write_text(NO_NETWORK)
    config = str(baking.configuration(tmp_path))
    command = [sys.executable, "-m", "cookiecutter", "--config-file", config, "--no-input", str(baking.KIT)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [*without_network(), *command, f"example={example}", "--output-dir", str(tmp_path / "out")],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime < AT_MOST


def test_env_has_the_port_and_no_secret(app: Path) -> None:
    settings = [line for line in app.joinpath(".env").read_text().splitlines() if not line.startswith("#")]
    assert settings == ["PORT=8050"]


def test_git_ignores_settings_ledger_and_environment(app: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(app, tmp_path / "app")
    for name in ("var/jobs.sqlite", ".venv/ready", "odd.egg-info/PKG-INFO", "app/__pycache__/web.pyc"):
        copy.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
        copy.joinpath(name).touch()
    subprocess.run(["git", "init", "--quiet", copy], check=True)
    listed = subprocess.run(
        ["git", "-C", copy, "ls-files", "--others", "--exclude-standard"], check=True, capture_output=True, text=True
    )
    assert set(listed.stdout.splitlines()) == files(app) - {".env"}


@pytest.mark.long
def test_app_passes_lint_and_type_checks(app: Path, example: str, installed: Bake, mypy_cache: Path) -> None:
    python = installed(example=example) / ".venv" / "bin" / "python"  # it has the wheel, whose types mypy reads
    mypy = ["mypy", f"--cache-dir={mypy_cache}", f"--python-executable={python}"]
    for check in (["ruff", "check", "--no-cache"], ["ruff", "format", "--check", "--no-cache"], mypy):
        command = [str(baking.PROGRAMS / check[0]), *check[1:]]
        done = subprocess.run(command, cwd=app, env=baking.without_source(), capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(check)}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("example", ["blank", pytest.param("portfolio", marks=pytest.mark.long)], indirect=True)
def test_app_passes_its_own_tests(example: str, installed: Bake, tmp_path: Path) -> None:
    app = installed(example=example)
    passes(app, app, f"--basetemp={tmp_path / 'base'}")


@pytest.mark.long
@pytest.mark.parametrize("deploy", ["containers", "kubernetes"], indirect=True)
def test_app_passes_the_tests_of_how_it_is_deployed(app: Path, example: str, deploy: str, installed: Bake) -> None:
    """Test the only tests that the answer adds."""
    passes(app, installed(example=example), *(name for name in DEPLOY[deploy] if name.startswith("tests/")))


def passes(app: Path, environment: Path, *arguments: str) -> None:
    """Run tests of an app, with the environment of an installed one."""
    done = subprocess.run(
        [environment / ".venv" / "bin" / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=app,
        env=baking.in_the_app(environment),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_command_is_installed_under_the_apps_name(installed: Bake, bake: Bake) -> None:
    app = installed(example="blank")
    command = app / ".venv" / "bin" / bake(example="blank").name
    environment = baking.in_the_app(app)
    shown = subprocess.run(
        [command, "--help"], cwd=app, env=environment, check=True, capture_output=True, text=True
    ).stdout
    for part in ("worker", "jobs", "doctor"):
        assert part in shown


# Ends cookiecutter or a hook when it connects a socket or looks up a name.
NO_NETWORK = """
import sys

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        raise SystemExit(f"a bake used the network: {event} {arguments}")

sys.addaudithook(refuse)
"""


def without_network() -> list[str]:
    """Return a prefix that runs a command without a network, or an empty one if the system does not permit that."""
    isolated = ["unshare", "--map-root-user", "--net"]
    permitted = shutil.which("unshare") and subprocess.run([*isolated, "true"], capture_output=True).returncode == 0
    return isolated if permitted else []


def files(app: Path) -> set[str]:
    found = {path.relative_to(app) for path in app.rglob("*") if path.is_file()}
    return {path.as_posix() for path in found if not any(part.endswith(CACHES) for part in path.parts)}


def contents(app: Path) -> dict[str, tuple[bytes, int]]:
    return {name: (app.joinpath(name).read_bytes(), app.joinpath(name).stat().st_mode) for name in files(app)}
