"""When a failed attempt is tried again."""

import random

from huey.api import Task
from huey.exceptions import RateLimitExceeded, RetryTask

from jobqueue.ledger.records import Retry
from jobqueue.messages.messages import in_seconds

LONGEST_PAUSE = 3600  # seconds to which a backoff may grow the pause between two attempts
JITTER = 0.1  # of a pause, added at random: jobs that failed together are not tried again together


def next_retry(task: Task, exception: BaseException | None, at: float | None) -> Retry:
    """Return when the next attempt is due, and what is left for the ones after it.

    :param task: its `retries` are those left after this one.
    :param exception: why the attempt failed: a rate limit and Huey's RetryTask bring a delay of their own.
    :param at: seconds since the epoch, if the task named a time.
    """
    delay, pause = 0.0, task.retry_delay
    if isinstance(exception, RateLimitExceeded):
        at, delay = None, task.retry_delay or exception.delay
    elif isinstance(exception, RetryTask) and exception.delay is not None:
        at, delay = None, in_seconds(exception.delay)
    elif at is None and task.retry_delay:
        delay = task.retry_delay * random.uniform(1, 1 + JITTER)
        pause = min(task.retry_delay * (task.retry_backoff or 1), max(task.retry_delay, LONGEST_PAUSE))
    return Retry(delay=delay, at=at, retries=task.retries, retry_delay=pause)
