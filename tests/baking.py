"""How the tests bake an app and install it: as a user does, but without the user's configuration or a second download."""

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
ENGINE = KIT / "engine" / "src"  # tests/conftest.py lets every process that a test starts import it
EXAMPLES = ("portfolio", "blank")
PROGRAMS = Path(sys.executable).parent

Bake = Callable[..., Path]  # of the fixtures `bake` and `installed`


def bake(output: Path, overwrite: bool = False, /, **answers: str) -> Path:
    """The app of these answers in `output`, with the hooks run; what cookiecutter raises is raised."""
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
    """A configuration of cookiecutter that keeps what it remembers in this folder."""
    path = folder / "cookiecutter.yaml"
    path.write_text(json.dumps({"cookiecutters_dir": str(folder / "templates"), "replay_dir": str(folder / "replays")}))
    return path


def install(app: Path) -> None:
    """Install an app and its wheel of the engine in an environment of its own, `.venv`, which sees all of the kit's too."""
    thin = app / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", thin], check=True)
    packages = Path(sysconfig.get_path("purelib", scheme="venv", vars={"base": str(thin)}))
    packages.joinpath("kit.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    # The kit has the engine too, perhaps an older build of the same version: that one is not taken for the app's.
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--ignore-installed", "--quiet"]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(thin / "bin" / "python")]
    wheels = map(str, app.glob("vendor/*.whl"))
    subprocess.run([*pip, "install", *offline, *wheels, "--editable", str(app)], check=True, env=without_source())


def in_the_app(app: Path, **settings: str) -> dict[str, str]:
    """Return the environment variables of an installed app's processes: its programs come first, and its wheel of the engine."""
    return without_source() | {"PATH": with_programs(app / ".venv" / "bin")["PATH"], **settings}


def without_source() -> dict[str, str]:
    """Return this process's environment variables without the path to the engine's source."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def with_programs(*folders: Path, **settings: str) -> dict[str, str]:
    """This process's environment with these folders' programs first, and the kit's after them."""
    path = os.pathsep.join(map(str, [*folders, PROGRAMS, os.environ["PATH"]]))
    return os.environ | {"PATH": path, **settings}
