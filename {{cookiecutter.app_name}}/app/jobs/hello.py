"""The smallest job. Copy this file for one of your own."""

import time

from jobqueue import current_job

from app.jobs import huey


@huey.task()
def greet(name: str, seconds: int = 5) -> str:
    """Takes its time to say hello."""
    for second in range(seconds):
        current_job().progress(second, seconds, f"thinking about {name}")
        time.sleep(1)
    return f"Hello, {name}!"
