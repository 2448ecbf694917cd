"""Worker processes: they die with their parent, and handle the alarm of a timeout and the signal to check their claim."""

import contextlib
import ctypes
import ctypes.util
import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

from huey.consumer import ProcessEnvironment

from jobqueue import interrupts
from jobqueue.consumer.timeouts import claim_lost_error, on_alarm
from jobqueue.consumer.worker import DurableWorker
from jobqueue.execution import closed_files
from jobqueue.execution.current_job import current_job
from jobqueue.ledger.releasing import KILLED

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP)


class DurableProcesses(ProcessEnvironment):
    """Huey's environment of worker processes."""

    CHECK_CLAIM = signal.SIGUSR1  # sent when a worker may have lost its claim

    def create_process(self, runnable: Any, name: str) -> Any:
        return self.mp.Process(target=runnable, name=name, daemon=False)  # a daemon cannot start child processes

    def init_child(self, process: DurableWorker) -> None:
        self.worker = process
        die_with_parent(process.parent)
        for stop in STOPS:
            # The main process decides when a worker stops. SIG_IGN will not do: a task's subprocesses would inherit it.
            signal.signal(stop, lambda *_: None)
        signal.signal(signal.SIGALRM, on_alarm)
        signal.signal(
            self.CHECK_CLAIM,
            lambda *_: interrupts.request(current_job().token, lambda: claim_lost_error(process.ledger)),
        )
        reset_signals_in_children()
        closed_files.watch()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(AttributeError):  # a stream may be None
                vars(stream)["close"] = stream.flush  # a task may close it, and the worker logs to it

    @contextlib.contextmanager
    def timeout(self, seconds: float) -> Iterator[None]:
        self.worker.deadline.value = time.monotonic() + seconds
        signal.setitimer(signal.ITIMER_REAL, seconds, interrupts.AGAIN / 5)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self.worker.deadline.value = 0.0


def how_it_ended(exit_code: int | None) -> tuple[str, str]:
    """Return how a worker process ended while it ran a job, and advice to the author of the task.

    :param exit_code: as multiprocessing has it: the negative number of a signal, or a status. None for a thread.
    """
    if exit_code == closed_files.EXIT_CODE:
        return "the task closed its worker's files", "A task must close only files that it has opened itself."
    if exit_code is not None and exit_code >= 0:
        return (
            f"it exited with status {exit_code}",
            "The task, or a library that it uses, ended the process, for example with os._exit().",
        )
    if exit_code is None or exit_code == -signal.SIGKILL:
        return "it was killed" if exit_code else "it ended", KILLED
    return (
        f"it was ended by {signal.Signals(-exit_code).name}",
        "The task, or a library that it uses, crashed the process.",
    )


def ask_to_check_claim(process: Any) -> None:
    """Signal a worker process to check whether it still holds its claim. Ignore a process that has ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, DurableProcesses.CHECK_CLAIM)


def reset_signals_in_children() -> None:
    """Restore the default signal handlers in processes that a task forks, so that signals can stop them as usual."""

    def block() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)

    def unblock() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)

    def restore() -> None:
        for signum in (*STOPS, signal.SIGALRM, DurableProcesses.CHECK_CLAIM):
            signal.signal(signum, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        unblock()

    os.register_at_fork(before=block, after_in_parent=unblock, after_in_child=restore)


def is_stopped(process: Any) -> bool:
    """Return whether a child process was stopped (SIGSTOP) and not continued since. Return False for a thread."""
    pid = getattr(process, "pid", None)
    if pid is None:
        return False
    try:
        return os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when its parent dies. On systems other than Linux each claim checks the parent."""
    if sys.platform == "linux":
        PR_SET_PDEATHSIG = 1
        ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died in between
        os._exit(1)
