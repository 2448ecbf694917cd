"""A job for a baked app, which runs until a test lets it end."""

import os
from collections.abc import Callable
from pathlib import Path
from time import sleep

from huey.exceptions import RetryTask

from app.jobs import huey
from jobqueue import current_job

NOTES = Path("notes")  # folder of the files with which a test and the jobs synchronise
RETRY = 60  # seconds: longer than any test


def count_patiently(name: str, say: Callable[[str], None]) -> str:
    """Report that the job counts, and wait until it may end. A job with a name like "retry..." retries much later."""
    Path(NOTES, f"{name} runs").write_text(str(os.getpid()))
    say(f"counting {name}")
    if name.startswith("retry"):
        raise RetryTask(delay=RETRY)
    while not Path(NOTES, f"{name} may end").exists():
        sleep(0.05)
    return f"counted {name}"


@huey.task()
def count(name: str) -> str:
    current_job().step("begun", bool)  # a saved step, so that a later attempt continues from it
    return count_patiently(name, lambda words: current_job().progress(1, 3, words))


@huey.pre_execute()
def claimed(task: object) -> None:
    hold("claimed")


@huey.post_execute()
def ending(task: object, value: object, error: object) -> None:
    """Wait between the return of the task and the write of its end."""
    hold("ending")


def hold(moment: str) -> None:
    while Path(NOTES, f"hold {moment}").exists():
        Path(NOTES, f"held {moment}").touch()
        sleep(0.05)
