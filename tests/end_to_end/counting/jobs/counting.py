"""Put among a baked app's jobs: it counts, and goes on when a test lets it."""

import os
from collections.abc import Callable
from pathlib import Path
from time import sleep

from huey.exceptions import RetryTask

from app.jobs import huey
from jobqueue import current_job

NOTES = Path("notes")  # by which a test and the jobs tell each other how far they are
RETRY = 60  # seconds: longer than any test


def count_patiently(name: str, say: Callable[[str], None]) -> str:
    """Says that it counts, and ends when it may. One that is named so is tried again, but much later."""
    Path(NOTES, f"{name} runs").write_text(str(os.getpid()))
    say(f"counting {name}")
    if name.startswith("retry"):
        raise RetryTask(delay=RETRY)
    while not Path(NOTES, f"{name} may end").exists():
        sleep(0.05)
    return f"counted {name}"


@huey.task()
def count(name: str) -> str:
    current_job().step("begun", bool)  # so that there is one to go on from
    return count_patiently(name, lambda words: current_job().progress(1, 3, words))


@huey.pre_execute()
def claimed(task: object) -> None:
    hold("claimed")


@huey.post_execute()
def ending(task: object, value: object, error: object) -> None:
    """Wait, when the task has returned and its end is not written yet."""
    hold("ending")


def hold(moment: str) -> None:
    while Path(NOTES, f"hold {moment}").exists():
        Path(NOTES, f"held {moment}").touch()
        sleep(0.05)
