"""The pinned requirements of an app: every version, for every platform, with hashes, and without the address of an index."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests import baking
from tests.baking import Bake

Pins = dict[str, list[Version]]


def test_every_dependency_is_pinned_within_its_bounds(app: Path) -> None:
    pins = pinned(app / "requirements.txt")
    for wanted in dependencies(app):
        found = pins.get(canonicalize_name(wanted.name), [])
        assert found, f"{wanted} is in pyproject.toml and not in requirements.txt: make lock"
        assert all(wanted.specifier.contains(version) for version in found), f"{wanted} is pinned to {found}"


def test_every_pin_has_a_hash_and_none_names_an_index(app: Path) -> None:
    kit = [baking.KIT / "requirements.txt", baking.KIT / "benchmarks/requirements.txt"]
    for text in (path.read_text() for path in [app / "requirements.txt", *kit]):
        assert "://" not in text
        assert "--index-url" not in text
        for entry in re.sub(r"\\\n\s*", "", text).splitlines():
            assert entry.startswith("#") or re.search(r"(==[^ ]+|\.whl) .*--hash=sha256:[0-9a-f]{64}", entry), entry


def test_the_kit_has_what_both_examples_pin(app: Path) -> None:
    """So that one environment runs every bake, and runs what the app's user runs."""
    kit = pinned(baking.KIT / "requirements.txt")
    assert {name: kit.get(name) for name in pinned(app / "requirements.txt")} == pinned(app / "requirements.txt")


def test_the_kit_pins_what_it_and_the_apps_developers_need(app: Path) -> None:
    kit = pinned(baking.KIT / "requirements.txt")
    for wanted in [*dependencies(app, "dev"), *dependencies(baking.KIT)]:
        assert all(wanted.specifier.contains(version) for version in kit[canonicalize_name(wanted.name)])


def test_blank_installs_nothing_of_the_portfolio_example(bake: Bake) -> None:
    extra = pinned(bake("portfolio") / "requirements.txt").keys() - pinned(bake("blank") / "requirements.txt").keys()
    assert {"skfolio", "scikit-learn", "cvxpy-base"} <= extra
    assert "skfolio" not in bake("blank").joinpath("pyproject.toml").read_text()


def test_every_dependency_of_the_engine_is_pinned_within_its_bounds(app: Path) -> None:
    pins = pinned(app / "requirements.txt")
    engine = baking.KIT / "engine"
    wanted = [*dependencies(engine), *(found for extra in extras(app) for found in dependencies(engine, extra))]
    assert len(wanted) > 10
    for dependency in wanted:
        found = pins.get(canonicalize_name(dependency.name), [])
        assert found and all(dependency.specifier.contains(version) for version in found), f"{dependency}: {found}"


def extras(app: Path) -> set[str]:
    """Return the engine's extras that an app asks for."""
    return next(wanted.extras for wanted in dependencies(app) if wanted.name == "dash-jobqueue")


def dependencies(project: Path, extra: str = "") -> list[Requirement]:
    about = tomllib.loads(project.joinpath("pyproject.toml").read_text())["project"]
    listed = about["optional-dependencies"][extra] if extra else about["dependencies"]
    return [Requirement(line) for line in listed]


def pinned(requirements: Path) -> Pins:
    """Return the versions of each name. They may differ between platforms. The engine's is in the name of its wheel."""
    pins: Pins = {}
    text = requirements.read_text()
    lines = re.findall(r"^([\w.-]+)==([^ ;]+)|^\./.*/([^/-]+)-([^-]+)-py3-none-any\.whl ", text, re.MULTILINE)
    for name, version in [(line[0] or line[2], line[1] or line[3]) for line in lines]:
        pins.setdefault(canonicalize_name(name), []).append(Version(version))
    return pins
