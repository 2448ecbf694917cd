"""Tests that `bin/post_compile` refuses a push of a broken app, and that its output ends with file, line and error."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import baking
from tests.baking import Bake

pytestmark = pytest.mark.long

JOB = "from app.jobs import huey\n\n\n@huey.task()\ndef prices():\n    import requests_of_nobody\n    return 1\n"
PAGE = 'import dash\n\ndash.register_page(__name__)\nlayout = "new"\n'
MISTAKES = {
    "syntax error in a page": ("app/pages/new.py", PAGE + "def (:\n", "app/pages/new.py, line 5: SyntaxError: "),
    "import error in a job": (
        "app/jobs/new.py",
        "\nimport nothing_of_this_name\n" + JOB,
        "app/jobs/new.py, line 2: ModuleNotFoundError: No module named 'nothing_of_this_name'",
    ),
    "import error in a page": (
        "app/pages/new.py",
        PAGE + "from app.jobs.hello import nothing\n",
        "app/pages/new.py, line 5: ImportError: cannot import name 'nothing'",
    ),
    "error in the queue's own module": (
        "app/jobs/__init__.py",
        "from app.settings import nothing\n",
        "app/jobs/__init__.py, line 1: ImportError: cannot import name 'nothing'",
    ),
    "task that is made wrongly": (
        "app/jobs/new.py",
        JOB.replace("task()", "periodic_task(every('blue moon'))").replace(
            "\n\n\n", "\nfrom jobqueue import every\n\n\n"
        ),
        "app/jobs/new.py, line 5: ",
    ),
    "module that ends the process": (
        "app/jobs/new.py",
        "import sys\n\nsys.exit()\n",
        "app/jobs/new.py, line 3: SystemExit",
    ),
}


@pytest.fixture(scope="module")
def folder(bake: Bake, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(bake("blank"), tmp_path_factory.mktemp("check") / "app")


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_build_with_a_mistake_is_refused(folder: Path, mistake: str) -> None:
    name, code, words = MISTAKES[mistake]
    file = folder / name
    before = file.read_text() if file.exists() else None
    file.write_text(code)
    try:
        refused = build(folder)
    finally:
        if before is None:
            file.unlink()
        else:
            file.write_text(before)
    assert refused.returncode == 1
    assert any(line.startswith(words) for line in refused.stdout.splitlines()[-5:]), refused.stdout
    assert "Traceback" not in refused.stdout


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"PORT": "many"}, "PORT is 'many'"),
        ({"DATABASE_URL": "mysql://ann:hunter2secret@host/app"}, "DATABASE_URL cannot be used"),
        ({"QUEUES": "heavy:1"}, "ValueError: Of 2 workers, 1 would serve no queue"),
    ],
    ids=["PORT", "DATABASE_URL", "QUEUES"],
)
def test_a_build_with_a_setting_that_cannot_be_used_is_refused(
    folder: Path, settings: dict[str, str], words: str
) -> None:
    refused = build(folder, **settings)
    assert refused.returncode == 1
    assert words in "\n".join(refused.stdout.splitlines()[-5:])
    assert "hunter2secret" not in refused.stdout


@pytest.mark.parametrize("example", baking.EXAMPLES)
def test_a_build_needs_neither_a_database_nor_secrets(bake: Bake, example: str) -> None:
    accepted = build(bake(example), APP_ENV="production")
    assert accepted.returncode == 0, accepted.stdout
    assert accepted.stdout.startswith("The app can start. Tasks: ")


def build(app: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run bin/post_compile as a host's buildpack does."""
    unset = {"SECRET_KEY", "DATABASE_URL", "REDIS_URL"}
    environment = {name: value for name, value in baking.with_programs().items() if name not in unset} | settings
    assert os.access(app / "bin" / "post_compile", os.X_OK)
    return subprocess.run(
        ["bin/post_compile"], cwd=app, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
