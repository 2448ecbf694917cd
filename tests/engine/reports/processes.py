"""Processes as the tests of reports look for them: whether they live, and those of a print."""

from collections.abc import Sequence
from contextlib import suppress

import psutil

from tests.waiting import wait_until

START = 30  # seconds in which a consumer, a kernel and Chromium start on a busy machine


def lives(process: psutil.Process) -> bool:
    """Return whether a process runs. Some hosts never collect what an ended process leaves."""
    with suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def family_of_print(process: psutil.Process, before: Sequence[psutil.Process] = ()) -> list[psutil.Process]:
    """Wait until Chromium draws for a process, and return all processes of this Chromium.

    :param before: children that the process had before it printed, such as another test's browser.
    """

    def draws() -> list[psutil.Process]:
        family = [child for child in process.children(recursive=True) if child not in before]
        with suppress(psutil.NoSuchProcess):
            if any("--type=renderer" in child.cmdline() for child in family):
                return family
        return []

    return wait_until(draws, START)
