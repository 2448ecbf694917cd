"""Tests that the template's wheel is built from the engine's source, and that pinned requirements have its hash."""

import re
import shutil
import zipfile
from pathlib import Path

import pytest

from engine import wheel
from tests import baking


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheel.build(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="module")
def vendored() -> Path:
    (only,) = wheel.wheels()
    return only


def test_the_vendored_wheel_is_what_the_source_builds(built: Path, vendored: Path) -> None:
    assert vendored.name == built.name, "run `make wheel`"
    there, now = contents(vendored), contents(built)
    changed = sorted(name for name in there.keys() | now.keys() if there.get(name) != now.get(name))
    assert not changed, "run `make wheel`"
    assert vendored.read_bytes() == built.read_bytes(), "run `make wheel`: the same files, packed by another zlib"


def test_the_same_source_gives_the_same_bytes_anywhere(built: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / "engine"
    shutil.copytree(wheel.ENGINE, copy, copy_function=shutil.copyfile)  # with other dates and modes
    copy.joinpath("src", "jobqueue", "__pycache__").mkdir(exist_ok=True)
    copy.joinpath("src", "jobqueue", "__pycache__", "huey.cpython-311.pyc").write_bytes(b"compiled")
    (tmp_path / "built").mkdir()
    assert wheel.build(tmp_path / "built", copy).read_bytes() == built.read_bytes()


@pytest.mark.parametrize("path", wheel.PINNED, ids=lambda path: str(path.relative_to(baking.KIT)))
def test_pinned_requirements_name_the_wheel_with_its_hash(path: Path, vendored: Path) -> None:
    (line,) = wheel.LINE.finditer(path.read_text())
    assert vendored.name in line[0]
    assert line[0].endswith(f"--hash=sha256:{wheel.digest(vendored)}"), "run `make wheel`"


def test_the_wheel_has_types_assets_migrations_and_licence(vendored: Path) -> None:
    names = contents(vendored).keys()
    for suffix in ("jobqueue/py.typed", ".js", ".css", "migrations/versions/0001_ledger.py", "licenses/LICENSE"):
        assert any(name.endswith(suffix) for name in names), suffix
    assert {name.partition("/")[0] for name in names} == {"jobqueue", vendored.name.split("-py3")[0] + ".dist-info"}


def test_pinning_replaces_name_and_hash_and_nothing_else(tmp_path: Path, vendored: Path) -> None:
    newer = tmp_path / "dash_jobqueue-0.3.0-py3-none-any.whl"
    newer.write_bytes(b"newer")
    pinned = tmp_path / "requirements.txt"
    before = (baking.KIT / "templates" / "requirements-blank.txt").read_text()
    pinned.write_text(before)
    wheel.pin(pinned, newer)
    expected = before.replace(vendored.name, newer.name).replace(wheel.digest(vendored), wheel.digest(newer))
    assert pinned.read_text() == expected != before


def test_requirements_that_name_no_wheel_are_refused(tmp_path: Path, vendored: Path) -> None:
    pinned = tmp_path / "requirements.txt"
    pinned.write_text("huey==3.5.4 \\\n    --hash=sha256:00\n")
    with pytest.raises(LookupError, match=re.escape("Run `make lock`")):
        wheel.pin(pinned, vendored)


def contents(path: Path) -> dict[str, tuple[bytes, tuple[int, ...], int]]:
    """Return content, date and mode of every file in a wheel."""
    with zipfile.ZipFile(path) as archive:
        return {info.filename: (archive.read(info), info.date_time, info.external_attr) for info in archive.infolist()}
