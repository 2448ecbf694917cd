"""The promote command, killed at moments of its own. As a program: FOLDER [KIND NUMBER...].

Without moments it runs the command in FOLDER/whole, and prints the kinds of its moments, a line each: "start" of a process or a
copy, "write" to the app. With moments it runs the command in FOLDER/<kind><number> for each of them, and kills it there. The plan
is the same each time, and changes nothing: for writes it is made once.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from jobqueue import promote as tools
from jobqueue.cli.promote import promote

STARTS = ("subprocess.Popen", "shutil.copytree", "tempfile.mkdtemp")
WRITES = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree")
ARGUMENTS = ["notebooks/sales.ipynb", "total", "--every", "day at 07:30"]


def run(root: Path, kind: str = "", number: int = 0) -> None:
    """Run the command. Print its moments, or kill this process at one of them."""
    passed = 0

    def at(event: str, args: tuple[Any, ...]) -> None:
        nonlocal passed
        writes = event in WRITES and str(root) in str(args[0]) and (event != "open" or "w" in str(args[1]))
        if not writes and event not in STARTS:
            return
        now = "write" if writes else "start"
        if not kind:
            print(now, flush=True)
        elif now == kind:
            passed += 1
            if passed == number:
                os.kill(os.getpid(), signal.SIGKILL)

    os.chdir(root)
    sys.addaudithook(at)
    promote.main(ARGUMENTS, standalone_mode=False)


def main(folder: Path, kind: str = "", *numbers: str) -> None:
    if not kind:
        run(folder / "whole")
    if kind == "write":
        root = folder / f"write{numbers[0]}"
        os.chdir(root)
        planned = tools.plan(root, Path(ARGUMENTS[0]), ARGUMENTS[1], every=ARGUMENTS[3])
        tools.plan = lambda *_, **__: planned
    for number in numbers:
        child = os.fork()
        if child == 0:
            run(folder / f"{kind}{number}", kind, int(number))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, number


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
