"""A guard: it ends a program of a job, such as a kernel or Chromium, with all processes that the program starts.

The program leads a process group. A shell in the same group reads from a pipe that only this process holds open, and kills the
group when the pipe closes: at the job's end, or because this process died, even of SIGKILL. The shell runs before the program
does, so no moment is unguarded. PR_SET_PDEATHSIG would spare the program's children.
"""

import os
import signal
import subprocess
import tempfile
from contextlib import suppress
from typing import IO, Any
from weakref import WeakSet

from jobqueue import interrupts

# The shell is no child of the program, and outlives signals that a host sends to all processes before it stops.
SHELL = ["sh", "-c", '( { trap "" HUP INT TERM; read _ <"$0"; kill -9 0; } >/dev/null 2>&1 & ); exec "$@"']


def socket_folder(prefix: str) -> "tempfile.TemporaryDirectory[str]":
    """Return a new temporary folder for sockets of a program. A socket's path has at most 103 bytes on macOS."""
    parent = None if len(tempfile.gettempdir()) < 60 else "/tmp"
    return tempfile.TemporaryDirectory(prefix=prefix, dir=parent, ignore_cleanup_errors=True)


class Guard:
    """The guard of one program.

    Example::

        guard = Guard()
        try:
            process = subprocess.Popen([*guard.command, "chromium", "--headless"], **guard.options)
            process.wait()
        finally:
            guard.kill(process)

    `command`: to put before the program's own. `options`: for Popen.
    """

    _open: "WeakSet[Guard]" = WeakSet()

    def __init__(self) -> None:
        read, write = os.pipe()
        self._pipe: list[IO[bytes]] = [os.fdopen(read, "rb", 0), os.fdopen(write, "wb", 0)]
        self.command = [*SHELL, f"/dev/fd/{read}"]
        self.options: dict[str, Any] = {"pass_fds": [read], "start_new_session": True}
        self._open.add(self)

    def kill(self, process: "subprocess.Popen[bytes] | None") -> None:
        """Kill all processes of the program's group, and wait for the program.

        :param process: the program. None if it was not started.
        """
        with interrupts.deferred():  # an interrupt in between would let the program live
            if process is not None and self in self._open:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            self._open.discard(self)
            self._close()

    def _close(self) -> None:
        for end in self._pipe:
            end.close()

    @classmethod
    def _leave(cls) -> None:
        """Close what a fork of this process has inherited, so that the fork keeps no program alive."""
        while cls._open:
            cls._open.pop()._close()


os.register_at_fork(after_in_child=Guard._leave)
