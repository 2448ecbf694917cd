"""Notice a task that closes the files of its worker process, such as its connections to the database.

SQLite cannot open a database again in such a process. So the worker exits, and its consumer says why.
"""

import os

EXIT_CODE = 70

_watched: tuple[int, int] | None = None  # a file descriptor of this process, and its inode


def watch() -> None:
    """Watch the files of this worker process from now on."""
    global _watched
    reader, writer = os.pipe()
    os.close(writer)
    _watched = reader, os.fstat(reader).st_ino


def exit_if_closed() -> None:
    """Exit if the task has closed the files of this worker process. Do nothing in any other process."""
    if _watched is None:
        return
    descriptor, inode = _watched
    try:
        if os.fstat(descriptor).st_ino == inode:
            return
    except OSError:
        pass
    os._exit(EXIT_CODE)
