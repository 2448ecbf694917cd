"""A simulated user's machine: an empty home, Python, make and optionally uv, but nothing of the kit's environment."""

import contextlib
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from tests import baking
from tests.end_to_end.running import WAIT, free_port, wait_until

PYTHON = Path(sys.base_prefix, "bin", f"python3.{sys.version_info.minor}")  # not the kit's environment
FOLDER = Path("My Projects", "it's")  # a path that make and shells must not split


def user(home: Path, *programs: Path, uv: bool = False) -> dict[str, str]:
    """Return the environment variables of a user with `python3` and optionally uv, but without the kit's environment.

    :param home: an empty folder. The variables for this machine's package index and certificates are kept.
    :param programs: folders to put first in PATH.
    """
    own = home / "programs"
    own.mkdir(exist_ok=True)
    own.joinpath("python3").write_text(f'#!/bin/sh\nexec {PYTHON} "$@"\n')
    own.joinpath("python3").chmod(0o755)
    if uv:
        own.joinpath("uv").symlink_to(baking.PROGRAMS / "uv")
    system = [folder for folder in os.environ["PATH"].split(os.pathsep) if not Path(folder, "uv").exists()]
    path = os.pathsep.join(map(str, [*programs, own, *(folder for folder in system if folder != str(baking.PROGRAMS))]))
    kept = {
        name: value
        for name, value in baking.without_source().items()
        if not name.startswith(("PYTHON", "VIRTUAL")) and name not in ("HOST", "PORT")
    }
    return kept | {"PATH": path, "HOME": str(home)}


def run(command: Sequence[str | Path], folder: Path, environment: dict[str, str], typed: str = "") -> str:
    done = subprocess.run(command, cwd=folder, env=environment, input=typed, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@contextlib.contextmanager
def started(
    command: Sequence[str], folder: Path, environment: dict[str, str], name: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command while the code inside runs. Its output is in `name`.log."""
    with folder.joinpath(f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        yield process
    finally:
        running = psutil.Process(process.pid)
        processes = [running, *running.children(recursive=True)]  # honcho puts each program in its own process group
        for found in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                found.kill()
        psutil.wait_procs(processes, timeout=WAIT)
        process.wait()


def serves(command: Sequence[str], folder: Path, environment: dict[str, str]) -> None:
    """Run a command until its app answers. Assert that it listens on the given port of the loopback address only."""
    port = free_port()
    with started(command, folder, environment | {"PORT": str(port)}, "served") as process:
        log = folder.joinpath("served.log").read_text
        wait_until(lambda: answers(port) or process.poll() is not None, log, timeout=600)
        assert process.poll() is None, log()
        assert listeners(process) == {("127.0.0.1", port)}


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1) as response:
        return bool(response.status == 200)
    return False


def listeners(process: "subprocess.Popen[bytes]") -> set[tuple[str, int]]:
    """Return the addresses that a process and its children listen on."""
    running = psutil.Process(process.pid)
    connections = [
        connection
        for found in [running, *running.children(recursive=True)]
        for connection in found.net_connections(kind="tcp")
    ]
    return {(found.laddr.ip, found.laddr.port) for found in connections if found.status == psutil.CONN_LISTEN}
