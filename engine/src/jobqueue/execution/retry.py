"""Retry delays: when a failed attempt is tried again."""

import random
from typing import Any, cast

from huey.api import Task
from huey.exceptions import RateLimitExceeded, RetryTask

from jobqueue.ledger.records import Retry
from jobqueue.messages.messages import in_seconds

LONGEST_PAUSE = 3600  # seconds; a backoff does not grow the pause between two attempts beyond this
JITTER = 0.1  # largest random addition, as a fraction of the pause, so that jobs that failed together retry apart


def next_retry(task: Task, exception: BaseException | None, at: float | None) -> Retry:
    """Return when the next attempt is due, and the retries and pause for the attempts after it.

    :param task: `task.retries` is the number of retries left after the next attempt.
    :param exception: the reason for the failure. Huey's RateLimitExceeded and RetryTask bring their own delay.
    :param at: the time that the task asked for, in seconds since the epoch.
    """
    delay, pause = 0.0, task.retry_delay
    kind, asked = type(exception), cast(Any, exception)  # isinstance() would run the exception's own code
    if issubclass(kind, RateLimitExceeded):
        at, delay = None, task.retry_delay or asked.delay
    elif issubclass(kind, RetryTask) and asked.delay is not None:
        at, delay = None, in_seconds(asked.delay)
    elif at is None and task.retry_delay:
        delay = task.retry_delay * random.uniform(1, 1 + JITTER)
        pause = min(task.retry_delay * (task.retry_backoff or 1), max(task.retry_delay, LONGEST_PAUSE))
    return Retry(delay=delay, at=at, retries=task.retries, retry_delay=pause)
