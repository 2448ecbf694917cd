"""Serve in several processes (WEB_CONCURRENCY). They die with the first process, which starts those again that were killed."""

import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable

from jobqueue.consumer.processes import die_with_parent

logger = logging.getLogger("jobqueue.web")

AGAIN = 1.0  # seconds until a process that was killed is started again


def run(count: int, serve: Callable[[int], None]) -> int:
    """Call `serve` in this many child processes until SIGTERM. Return the exit code of the first that failed, or 0.

    :param serve: called with the id of this process.
    """
    parent, children, codes = os.getpid(), set[int](), list[int]()
    stops = False

    def stop(*_: object) -> None:
        nonlocal stops
        stops = True
        for child in children:
            with contextlib.suppress(ProcessLookupError):  # it has ended just now
                os.kill(child, signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    while True:
        while not stops and len(children) < count:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # until the child is known, and has no handler
            if not stops:  # a SIGTERM may have come since the last look
                child = os.fork()
                if child == 0:
                    os._exit(_serve(serve, parent))
                children.add(child)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        if not children:
            return next(filter(None, codes), 0)
        child, status = os.wait()
        if child not in children:  # process 1 of a container is given the processes that others leave behind
            continue
        children.remove(child)
        code = os.waitstatus_to_exitcode(status)
        if code > 0 and not stops:  # another one would fail alike
            codes.append(code)
            stop()
        elif not stops:
            time.sleep(AGAIN)


def _serve(serve: Callable[[int], None], parent: int) -> int:
    """Serve in a child process. Return its exit code."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    die_with_parent(parent)
    try:
        serve(parent)
        return 0
    except SystemExit as exit:
        return exit.code if isinstance(exit.code, int) else 1
    except BaseException:
        logger.exception("A web process cannot serve.")
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
