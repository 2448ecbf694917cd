"""Tests of app names. The message for a refused name says what is wrong and suggests a name, and no files are left."""

import ast
import re
from pathlib import Path

import pytest

from tests import baking

SUPPORTED = ["a", "desk", "desk2", "portfolio-desk", "a1-b2-c3", "my-json", "con-air", "x" * 40]

# Name -> the reason in the message, and the suggested name
REFUSED = {
    "Desk": ("is not small letters", "desk"),
    "my desk": ("is not small letters", "my-desk"),
    "my_desk": ("is not small letters", "my-desk"),
    "my--desk": ("is not small letters", "my-desk"),
    "-desk": ("is not small letters", "desk"),
    "desk-": ("is not small letters", "desk"),
    "2desks": ("is not small letters", "app-2desks"),
    "déjà-vu": ("is not small letters", "deja-vu"),
    "日本": ("is not small letters", "my-app"),
    "desk\n": ("is not small letters", "desk"),
    'desk"': ("is not small letters", "desk"),
    "desk'''": ("is not small letters", "desk"),
    "../desk": ("is not small letters", "desk"),
    "my/own/desk": ("is not small letters", "my-own-desk"),
    "x" * 41: ("has 41 characters", "x" * 40),
    "json": ("standard library", "json-app"),
    "xml": ("standard library", "xml-app"),
    "this": ("standard library", "this-app"),
    "dash": ("the app itself needs", "dash-app"),
    "huey": ("the app itself needs", "huey-app"),
    "scikit-learn": ("the app itself needs", "scikit-learn-app"),
    "python": ("a command that a shell needs", "python-app"),
    "dash-jobqueue": ("the app itself needs", "dash-jobqueue-app"),
    "redis": ("the app itself needs", "redis-app"),
    "app": ("used inside the app", "app-app"),
    "jobqueue": ("used inside the app", "jobqueue-app"),
    "test": ("used inside the app", "test-app"),
    "tests": ("used inside the app", "tests-app"),
    "make": ("a command that a shell needs", "make-app"),
    "activate": ("a command that a shell needs", "activate-app"),
    "con": ("reserved by Windows", "con-app"),
    "nul": ("reserved by Windows", "nul-app"),
    "lpt9": ("reserved by Windows", "lpt9-app"),
    "CON": ("is not small letters", "con-app"),
}


@pytest.mark.parametrize("name", SUPPORTED, ids="name:{}".format)
def test_good_name_becomes_folder_distribution_and_command(name: str, tmp_path: Path) -> None:
    app = baking.bake(tmp_path / "out", app_name=name, example="blank")
    assert app == tmp_path / "out" / name
    pyproject = app.joinpath("pyproject.toml").read_text()
    assert f'name = "{name}"' in pyproject
    assert f'"{name}" = "app.__main__:main"' in pyproject


@pytest.mark.parametrize("name", REFUSED, ids=lambda name: f"name:{ascii(name)}")
def test_bad_name_is_refused_and_leaves_no_files(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    reason, suggested = REFUSED[name]
    output = tmp_path / "in" / "out"
    with pytest.raises(Exception):  # noqa: B017  cookiecutter has several for a hook that fails
        baking.bake(output, app_name=name, example="blank")
    message = capfd.readouterr().err
    assert f"app_name: {name!r} " in message
    assert reason in message
    assert f"{suggested!r} would do" in message
    assert [path for path in output.parent.rglob("*") if "replays" not in path.parts] == [
        output.parent / "cookiecutter.yaml",
        output,
    ]


@pytest.mark.parametrize("name", ["", ".", ".."], ids=lambda name: f"name:{name!r}")
def test_name_of_an_existing_folder_is_refused_and_removes_nothing(name: str, tmp_path: Path) -> None:
    kept = tmp_path / "out" / "kept"
    kept.mkdir(parents=True)
    with pytest.raises(Exception, match="already exists"):
        baking.bake(tmp_path / "out", app_name=name, example="blank")
    assert kept.exists()


@pytest.mark.parametrize("key", ["app_title", "description", "author"])
@pytest.mark.parametrize("text", ["", "  ", "two\nlines", "a\ttab", "\x1b[31mred", "\u2028"], ids=ascii)
def test_text_that_cannot_be_printed_is_refused(
    key: str, text: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Exception):  # noqa: B017
        baking.bake(tmp_path / "out", app_name="desk", example="blank", **{key: text})
    assert f"  {key}" in capfd.readouterr().err
    assert not list((tmp_path / "out").iterdir())


def test_exactly_the_pinned_packages_are_refused_as_dependencies() -> None:
    pinned = set(re.findall(r"^([\w.-]+)==", (baking.KIT / "requirements.txt").read_text(), re.MULTILINE))
    listed = words_in_the_hook("DEPENDENCIES")
    assert listed == pinned | {"dash-jobqueue"}, "change DEPENDENCIES in hooks/pre_gen_project.py"


def words_in_the_hook(name: str) -> set[str]:
    source = (baking.KIT / "hooks" / "pre_gen_project.py").read_text()
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return set(eval(ast.unparse(node.value)))
    raise LookupError(f"hooks/pre_gen_project.py has no {name}")
