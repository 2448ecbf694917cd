"""A guard ends a program with its children when the process that started it is killed."""

import os
import signal
import subprocess
import sys

import psutil

from jobqueue.guard import SHELL
from tests.engine.consumers import environment
from tests.engine.reports.processes import lives
from tests.waiting import wait_until

# Starts a program with a child, and forks. Prints the process ids of the program, its child and the fork.
STARTS = """
import os, subprocess, time
from jobqueue.guard import Guard
guard = Guard()
program = 'trap "" TERM; sleep 60 & echo $$ $!; wait'
started = subprocess.Popen([*guard.command, "sh", "-c", program], stdout=subprocess.PIPE, **guard.options)
pids = started.stdout.readline().split()
fork = os.fork()
if fork:
    print(*map(int, pids), fork, flush=True)
time.sleep(60)
"""


def test_program_and_its_child_end_with_a_killed_process_even_if_a_fork_of_it_lives() -> None:
    command = [sys.executable, "-c", STARTS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment(), text=True) as starter:
        assert starter.stdout is not None
        program, child, fork = (psutil.Process(int(pid)) for pid in starter.stdout.readline().split())
        try:
            os.killpg(program.pid, signal.SIGTERM)  # as a host's stop does
            assert lives(program) and lives(child)
            starter.kill()
            wait_until(lambda: not lives(program) and not lives(child), timeout=1)
            assert lives(fork)
        finally:
            fork.kill()


def test_program_whose_starter_died_before_it_runs_is_killed() -> None:
    read, write = os.pipe()
    os.close(write)  # as a starter leaves it that dies between the fork and the start of the program
    command = [*SHELL, f"/dev/fd/{read}", "sleep", "60"]
    with subprocess.Popen(command, pass_fds=[read], start_new_session=True) as program:
        os.close(read)
        assert program.wait(timeout=1) == -signal.SIGKILL
