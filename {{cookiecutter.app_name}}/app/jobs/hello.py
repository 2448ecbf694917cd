"""The smallest job. Copy this file for a job of your own."""

import time

from jobqueue import current_job

from app.jobs import huey


@huey.task()
def greet(name: str, seconds: int = 5) -> str:
    for second in range(seconds):
        current_job().progress(second, seconds, f"thinking about {name}")
        time.sleep(1)
    return f"Hello, {name}!"
