"""Fixtures: an app to push, and the environments that its hosts install."""

import shutil
from pathlib import Path

import pytest

from engine import wheel
from tests.baking import Bake


@pytest.fixture(scope="session")
def source(bake: Bake, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A baked app with the page and the jobs of the rehearsal, and a wheel of the engine as it is now."""
    app = tmp_path_factory.mktemp("source") / "blank"
    shutil.copytree(bake("blank"), app)
    shutil.copytree(Path(__file__).with_name("pushed"), app / "app", dirs_exist_ok=True)
    for old in app.glob("vendor/*.whl"):
        old.unlink()
    built = wheel.build(app / "vendor")
    wheel.pin(app / "requirements.txt", built)
    return app


@pytest.fixture(scope="session")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python environments of all hosts: the first push installs, others have the same requirements."""
    return tmp_path_factory.mktemp("environments")
