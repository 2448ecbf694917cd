"""An image made of a Dockerfile without Docker: its steps run in a root of debootstrap, and need this machine's root for that.

| Docker | here |
|---|---|
| `FROM python:3.11-slim-bookworm` | debootstrap's bookworm with its packages of Python, which is 3.11 too |
| `COPY` | without the files that .dockerignore names, as Docker's own client for Python reads it |
| `RUN` | chroot, with the variables and the user so far, this machine's network, and its settings of pip |
| a container | namespaces of its own for mounts and processes, a read-only root, a /tmp in memory, this machine's network |
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fcntl import LOCK_EX, flock
from pathlib import Path
from string import Template

import psutil
from docker.utils.build import exclude_paths

from tests.pgbouncer import SOURCES
from tests.waiting import wait_until

BUILD = Path(__file__).parents[2] / "build"
BASE = re.compile(r"python:3\.11-slim-(bookworm)")
PACKAGES = ["ca-certificates", "python3", "python3-venv", "python-is-python3"]
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Starts a command as the first process of its namespaces: no shell is left between it and its signals.
ENTER = """
set -e
root=$1 user=$2 folder=$3 mode=$4 shared=$5
shift 5
mount --bind "$root" "$root"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
for path in $shared; do mount --bind "$path" "$root$path"; done
mount -o "remount,bind,$mode" "$root"
exec chroot --userspec="$user" --groups= "$root" sh -c 'cd "$0" && exec "$@"' "$folder" "$@"
"""


@dataclass
class Stage:
    """A stage of a Dockerfile: its root, and what its steps so far set."""

    root: Path
    variables: dict[str, str] = field(default_factory=lambda: {"PATH": PATH})
    user: str = "0:0"
    folder: str = "/"
    command: list[str] = field(default_factory=list)

    def run(self, line: str) -> None:
        """Run a line of RUN. Raises subprocess.CalledProcessError, with the output."""
        pip, shared = pip_settings()
        for path in shared:
            place = self.root / path.relative_to("/")
            (place if path.is_dir() else place.parent).mkdir(parents=True, exist_ok=True)
            if not path.is_dir() and not place.exists():
                place.touch()
        command = self.enter(["/bin/sh", "-c", line], "rw", shared)
        subprocess.run(command, env=self.variables | pip, check=True, capture_output=True, text=True)

    def enter(self, command: Sequence[str], mode: str, shared: Sequence[Path] = ()) -> list[str]:
        unshared = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "/bin/sh", "-c", ENTER, "enter"]
        return [*unshared, str(self.root), self.user, self.folder, mode, " ".join(map(str, shared)), *command]

    @contextmanager
    def container(self, command: Sequence[str], log: Path, **settings: str) -> "Iterator[Container]":
        """Run a command in a container while the code inside runs. Its output is in `log`."""
        with log.open("wb") as output:
            process = subprocess.Popen(
                self.enter(command, "ro"), env=self.variables | settings, stdout=output, stderr=output
            )
        try:
            yield Container(process)
        finally:
            process.kill()
            process.wait()

    def output(self, *command: str, **settings: str) -> str:
        """Run a command in a container until it ends. Return its output. Raises subprocess.CalledProcessError."""
        done = subprocess.run(
            self.enter(command, "ro"), env=self.variables | settings, check=True, capture_output=True, text=True
        )
        return done.stdout


class Container:
    """A running container. `first` is its process 1."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process
        wait_until(lambda: self.started() or not self.running())

    def started(self) -> bool:
        children = psutil.Process(self.process.pid).children()
        return bool(children) and children[0].name() not in ("sh", "chroot", "mount", "unshare")

    def running(self) -> bool:
        return self.process.poll() is None

    @property
    def first(self) -> psutil.Process:
        return psutil.Process(self.process.pid).children()[0]

    def stop(self, timeout: float) -> int:
        """Send SIGTERM to the first process, as hosts do. Return its exit code. Raises subprocess.TimeoutExpired."""
        self.first.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)


def build(context: Path, folder: Path) -> dict[str, Stage]:
    """Carry out the Dockerfile of a folder. Return its stages by name. The last one, without a name, is the image."""
    folder.mkdir()
    send(context, folder / "context")
    stages: dict[str, Stage] = {}
    for instruction, line in instructions(context):
        if instruction == "FROM":
            base, _, name = line.partition(" AS ")
            stage = stages[name] = Stage(base_root(base, folder / (name or "image")))
            continue
        match instruction:
            case "ENV":
                pairs = (part.partition("=") for part in shlex.split(line))
                stage.variables |= {key: Template(value).substitute(stage.variables) for key, _, value in pairs}
            case "WORKDIR":
                stage.folder = line
                stage.root.joinpath(line.lstrip("/")).mkdir(parents=True, exist_ok=True)
            case "COPY" if line.startswith("--from="):
                name, source, target = line.removeprefix("--from=").split()
                copy(stages[name].root / source.lstrip("/"), stage, target)
            case "COPY":
                source, target = line.split()
                copy(folder / "context" / source, stage, target)
            case "RUN":
                stage.run(line)
            case "USER":
                stage.user = line
            case "CMD":
                stage.command = json.loads(line)
            case "EXPOSE":
                assert line == stage.variables["PORT"]
            case _:
                raise NotImplementedError(f"{instruction} is new in the Dockerfile. Add it here.")
    return stages


def instructions(context: Path) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile with their arguments, each on one line."""
    whole = re.sub(r"\\\n\s*", "", re.sub(r"(?m)^#.*\n", "", context.joinpath("Dockerfile").read_text()))
    return [(instruction, line) for instruction, _, line in (text.partition(" ") for text in whole.split("\n") if text)]


def base_root(base: str, target: Path) -> Path:
    """Copy the root that stands for a base image."""
    found = BASE.fullmatch(base)
    assert found, f"{base} is new in the Dockerfile. Name the packages that stand for it here."
    subprocess.run(["cp", "--archive", "--reflink=auto", debootstrapped(found[1]), target], check=True)
    for name in ("hosts", "resolv.conf"):  # Docker writes them too
        shutil.copy(Path("/etc", name), target / "etc" / name)
    return target


def debootstrapped(suite: str) -> Path:
    """Return the root of a release of Debian, which is made once, with this machine's own source of packages."""
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        raise RuntimeError("The test of the image needs root, and debootstrap, which is in Debian's packages.")
    root = BUILD / f"debootstrap-{suite}"
    BUILD.mkdir(exist_ok=True)
    with root.with_suffix(".lock").open("w") as lock:
        flock(lock, LOCK_EX)
        if not root.exists():
            draft = root.with_suffix(".draft")
            shutil.rmtree(draft, ignore_errors=True)
            mirror = re.findall(r"(?m)^URIs: (\S+)", SOURCES.read_text())[:1] if SOURCES.exists() else []
            options = ["--variant=minbase", f"--include={','.join(PACKAGES)}"]
            subprocess.run(["debootstrap", *options, suite, draft, *mirror], check=True, capture_output=True)
            draft.rename(root)
    return root


def send(context: Path, target: Path) -> None:
    """Copy what a build gets of a folder."""
    patterns = [
        line for line in context.joinpath(".dockerignore").read_text().splitlines() if line[:1] not in ("", "#")
    ]
    for name in exclude_paths(str(context), patterns) - {"Dockerfile"}:  # which it sends beside the files
        source, copied = context / name, target / name
        if source.is_file():
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copied)


def copy(source: Path, stage: Stage, target: str) -> None:
    place = stage.root / Path(stage.folder, target).relative_to("/")
    if source.is_dir():
        place.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "--archive", f"{source}/." if source.is_dir() else source, place], check=True)


def pip_settings() -> tuple[dict[str, str], list[Path]]:
    """Return this machine's settings of pip as variables, and the files and folders that they name.

    The pages of an index in a folder link to files beside that folder.
    """
    listed = subprocess.check_output([sys.executable, "-m", "pip", "config", "list"], text=True)
    pairs = re.findall(r"(?m)^[^.\n]+\.([\w-]+)='(.*)'$", listed)
    settings = {f"PIP_{name.upper().replace('-', '_')}": value for name, value in pairs}
    words = " ".join(settings.values()).split()
    named = [Path(word.removeprefix("file://")).parent if "://" in word else Path(word) for word in words]
    return settings, [path for path in named if path.is_absolute() and path.exists()]
