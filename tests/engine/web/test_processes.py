"""Web processes, and SIGTERM at moments that it rarely meets."""

import subprocess
import sys
from pathlib import Path

import pytest

# SIGTERM arrives when a child has ended, and the first process does not know it yet.
AFTER_AN_END = """
wait = os.wait

def wait_and_stop():
    ended = wait()
    os.kill(first, signal.SIGTERM)
    return ended

os.wait = wait_and_stop
"""

# SIGTERM arrives when the first process is about to start a child.
BEFORE_A_CHILD = """
open("the first to serve", "x").close()
mask = signal.pthread_sigmask

def stop_and_mask(how, signals):
    if how == signal.SIG_BLOCK:
        os.kill(first, signal.SIGTERM)
    return mask(how, signals)

signal.pthread_sigmask = stop_and_mask
"""

# A process that ends was left behind by another, and is given to the first process, as to process 1 of a container.
WITH_AN_ORPHAN = """
import ctypes

PR_SET_CHILD_SUBREAPER = 36
assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1) == 0
child = os.fork()
if child == 0:
    if os.fork():
        os._exit(0)
    while os.getppid() != first:
        pass
    os._exit(0)
os.waitpid(child, 0)
wait = os.wait
ended = []

def wait_and_stop():
    ended.append(wait())
    if len(ended) == 2:  # the orphan and the first child
        os.kill(first, signal.SIGTERM)
    return ended[-1]

os.wait = wait_and_stop
"""

PROCESSES = """
import os, signal
from jobqueue.web import processes

first = os.getpid()

def serve(parent):
    # The first child ends at once.
    try:
        open("the first to serve", "x").close()
    except FileExistsError:
        signal.pause()  # until SIGTERM, which ends it
{moment}
raise SystemExit(processes.run(2, serve))
"""

# SIGTERM arrives again before each line that the server executes at SIGTERM.
AT_EACH_LINE = """
import logging, signal, socket, sys
from jobqueue.web import server

times = 0

def again(frame, event, argument):
    global times
    handler = frame
    while handler is not None and handler.f_code.co_name != "stop":
        handler = handler.f_back
    if handler is not None:
        times += 1
        signal.raise_signal(signal.SIGTERM)
    return again

class Stop(logging.Handler):
    def emit(self, record):
        if record.msg.startswith("Serving"):
            sys.settrace(again)
            signal.raise_signal(signal.SIGTERM)
            sys.settrace(None)

logging.getLogger("jobqueue.web").setLevel(logging.INFO)
logging.getLogger("jobqueue.web").addHandler(Stop())
server.serve(lambda environ, start: [], socket.create_server(("127.0.0.1", 0)), linger_s=0)
assert times > 2
"""


@pytest.mark.parametrize(
    "moment", [AFTER_AN_END, BEFORE_A_CHILD, WITH_AN_ORPHAN], ids=["after an end", "before a child", "with an orphan"]
)
def test_sigterm_at_any_moment_stops_all_processes(tmp_path: Path, moment: str) -> None:
    code = PROCESSES.format(moment=moment)
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, timeout=30).returncode == 0


def test_sigterm_that_arrives_again_during_its_handler_stops_the_server() -> None:
    assert subprocess.run([sys.executable, "-c", AT_EACH_LINE], timeout=30).returncode == 0
