"""Functions that bake and install an app as a user does, but without the user's configuration and without downloads."""

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

from cookiecutter.main import cookiecutter

KIT = Path(__file__).parent.parent
TEMPLATE = KIT / "{{cookiecutter.app_name}}"
ENGINE = KIT / "engine" / "src"  # in the PYTHONPATH of every process that a test starts (tests/conftest.py)
EXAMPLES = ("portfolio", "blank")
PROGRAMS = Path(sys.executable).parent

Bake = Callable[..., Path]  # type of the fixtures `bake` and `installed`


def bake(output: Path, overwrite: bool = False, /, **answers: str) -> Path:
    """Bake an app with these answers in `output`, with the hooks. Return its folder. Raise cookiecutter's errors."""
    output.mkdir(parents=True, exist_ok=True)
    made = cookiecutter(
        str(KIT),
        no_input=True,
        extra_context=answers,
        output_dir=str(output),
        config_file=str(configuration(output.parent)),
        overwrite_if_exists=overwrite,
    )
    return Path(made)


def configuration(folder: Path) -> Path:
    """Write a configuration that makes cookiecutter keep its templates and replays in this folder. Return its path."""
    path = folder / "cookiecutter.yaml"
    path.write_text(json.dumps({"cookiecutters_dir": str(folder / "templates"), "replay_dir": str(folder / "replays")}))
    return path


def install(app: Path) -> None:
    """Install an app and its wheel of the engine in the app's `.venv`, which can also import the kit's packages."""
    thin = app / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", thin], check=True)
    packages = Path(sysconfig.get_path("purelib", scheme="venv", vars={"base": str(thin)}))
    packages.joinpath("kit.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    # The kit's environment has the engine too, perhaps an older build of the same version, which pip must not accept.
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--ignore-installed", "--quiet"]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(thin / "bin" / "python")]
    wheels = map(str, app.glob("vendor/*.whl"))
    subprocess.run([*pip, "install", *offline, *wheels, "--editable", str(app)], check=True, env=without_source())


def in_the_app(app: Path, **settings: str) -> dict[str, str]:
    """Return environment variables with which processes use an installed app's programs and its wheel of the engine."""
    return without_source() | {"PATH": with_programs(app / ".venv" / "bin")["PATH"], **settings}


def without_source() -> dict[str, str]:
    """Return this process's environment variables without the path to the engine's source."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def with_programs(*folders: Path, **settings: str) -> dict[str, str]:
    """Return this process's environment variables with these folders first in PATH, followed by the kit's programs."""
    path = os.pathsep.join(map(str, [*folders, PROGRAMS, os.environ["PATH"]]))
    return os.environ | {"PATH": path, **settings}
