"""Tests of an app's pinned requirements: versions and hashes of every package for all platforms, and no index."""

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


def test_kit_pins_the_same_versions_as_both_examples(app: Path) -> None:
    """Test that the kit's environment can run every bake with the versions that users have."""
    kit = pinned(baking.KIT / "requirements.txt")
    assert {name: kit.get(name) for name in pinned(app / "requirements.txt")} == pinned(app / "requirements.txt")


def test_kit_pins_its_own_dependencies_and_those_of_app_developers(app: Path) -> None:
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
    """Return the versions of each package, which may differ between platforms. The engine's is in its wheel's name."""
    pins: Pins = {}
    text = requirements.read_text()
    lines = re.findall(r"^([\w.-]+)==([^ ;]+)|^\./.*/([^/-]+)-([^-]+)-py3-none-any\.whl ", text, re.MULTILINE)
    for name, version in [(line[0] or line[2], line[1] or line[3]) for line in lines]:
        pins.setdefault(canonicalize_name(name), []).append(Version(version))
    return pins
