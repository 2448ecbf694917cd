"""Runs a server for as long as a process wants it, and no longer: whatever kills the tests, nothing is left running.

Who wants it holds a shared lock on the file `users`: a POSIX lock, which ends with the process that took it, and which no
child of it inherits. Once the exclusive lock can be had nobody is left, and the server goes, with its folders.
`keeper.py '{"users": ..., "folders": [...], "command": [...], "account": {}, "stop_signal": ...}'`
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, lockf
from pathlib import Path
from threading import Thread

import psutil

STOPS_IN = 5  # seconds; then it is killed


def want(users: Path) -> int:
    """Keep the server until this descriptor is closed or this process ends. Wait for one that is going.

    A process wants it once: whichever of its descriptors of the file it closes, its lock is gone.
    """
    descriptor = os.open(users, os.O_RDWR | os.O_CREAT)
    lockf(descriptor, LOCK_SH)
    return descriptor


def main() -> int:
    asked = json.loads(sys.argv[1])
    users = os.open(asked["users"], os.O_RDWR)
    server = subprocess.Popen(asked["command"], cwd=asked["folders"][0], **asked["account"])
    Thread(target=stop_when_unwanted, args=(users, server, asked["stop_signal"]), daemon=True).start()
    code = server.wait()
    with suppress(BlockingIOError):
        lockf(users, LOCK_EX | LOCK_NB)
        for folder in asked["folders"]:
            shutil.rmtree(folder)
    return code


def stop_when_unwanted(users: int, server: "subprocess.Popen[bytes]", stop_signal: int) -> None:
    lockf(users, LOCK_EX)
    with suppress(psutil.NoSuchProcess):
        family = psutil.Process(server.pid).children(recursive=True)
        server.send_signal(stop_signal)
        server.send_signal(signal.SIGCONT)  # a test may have paused it
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.resume()
        if psutil.wait_procs(family, STOPS_IN)[1]:
            server.kill()
            for process in family:
                with suppress(psutil.NoSuchProcess):
                    process.kill()


if __name__ == "__main__":
    sys.exit(main())
