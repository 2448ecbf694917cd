"""Tests that a fresh app is small: a few short files, without the engine's source."""

from pathlib import Path

from tests import baking
from tests.baking import Bake

MOST_FILES = 20  # Python files, with tests
MOST_LINES = 250  # lines of Python in app/, without pages and jobs


def test_a_blank_app_has_no_source_of_the_engine(bake: Bake) -> None:
    app = bake("blank")
    engine = {path.read_bytes() for path in baking.ENGINE.rglob("*.py") if path.stat().st_size > 200}
    assert not [path for path in app.rglob("*.py") if path.read_bytes() in engine]
    assert not app.joinpath("jobqueue").exists()


def test_a_blank_app_has_few_files(bake: Bake) -> None:
    found = sources(bake("blank"))
    assert len(found) <= MOST_FILES, sorted(map(str, found))


def test_a_blank_app_has_little_code_around_its_pages_and_jobs(bake: Bake) -> None:
    app = bake("blank") / "app"
    owners = {*app.glob("pages/*.py"), *app.glob("jobs/*.py")} - {app / "jobs" / "__init__.py"}
    lines = {str(path): len(path.read_text().splitlines()) for path in sources(app) if path not in owners}
    assert sum(lines.values()) <= MOST_LINES, lines


def sources(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))
