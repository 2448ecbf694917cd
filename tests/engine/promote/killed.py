"""The promote command, killed at a moment of its own. As a program: FOLDER [MOMENT...].

Without moments it runs the command in FOLDER/whole, and prints what it does, a line each. With moments it runs the command in
FOLDER/<moment> for each of them, and kills it there.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from jobqueue import promote as tools  # noqa: F401  # the command imports it
from jobqueue.cli.promote import promote

STARTS = ("subprocess.Popen", "shutil.copytree", "tempfile.mkdtemp")
WRITES = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree")


def run(root: Path, moment: int | None) -> None:
    """Run the command. Print the moments, or kill this process at one of them."""
    count = 0

    def at(event: str, args: tuple[Any, ...]) -> None:
        nonlocal count
        writes = event in WRITES and str(root) in str(args[0]) and (event != "open" or "w" in str(args[1]))
        if not writes and event not in STARTS:
            return
        count += 1
        if moment is None:
            print("write" if writes else "start", event, flush=True)
        elif count == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    os.chdir(root)
    sys.addaudithook(at)
    promote.main(["notebooks/sales.ipynb", "total", "--every", "day at 07:30"], standalone_mode=False)


def main(folder: Path, moments: list[str]) -> None:
    if not moments:
        run(folder / "whole", None)
    for moment in moments:
        child = os.fork()
        if child == 0:
            run(folder / moment, int(moment))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, moment


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
