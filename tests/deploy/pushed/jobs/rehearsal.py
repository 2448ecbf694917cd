"""Put among a pushed app's jobs: one that users start, and one that is due each second."""

import time

from app.jobs import huey
from jobqueue import every


@huey.task()
def square(number: int, seconds: float) -> int:
    time.sleep(seconds)
    return number**2


@huey.periodic_task(every("second", overlap="queue"), queue="beats")
def beat() -> None:
    pass
