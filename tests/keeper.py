"""The keeper of a server: it stops the server when no process uses it any more, however the tests end.

Each process that uses the server holds a shared lock on the file `users`. This POSIX lock ends with its process, and
children do not inherit it. When the keeper gets the exclusive lock, no user is left. Then it stops the server and
removes its folders.

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

STOPS_IN = 5  # seconds until the server is killed


def want(users: Path) -> int:
    """Keep the server until the returned descriptor is closed or this process ends. Wait for a server that is stopping.

    Call this once in a process: closing any of its descriptors of the file releases the lock.
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
