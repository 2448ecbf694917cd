"""Wait for a job to end, and notice a wait that cannot end: a job waits for another, and all workers run jobs that wait.

A job that waits has an entry, a lock of its claim, so that others see it as long as it waits. When each worker that may run the
awaited job runs a job with such an entry, nothing changes by itself.
"""

import contextlib
import json
import math
import time
from collections.abc import Callable

from jobqueue.database.database import DatabaseUnavailable
from jobqueue.execution.current_job import ClaimedJob, current_job
from jobqueue.ledger.ledger import Ledger
from jobqueue.ledger.states import State

FIRST_CHECK, LONGEST_PAUSE = 1.0, 15.0  # seconds until the first check; the pauses after it double
LONGEST = 24 * 3600.0  # seconds until the entry of a job that waits expires


class NoFreeWorker(RuntimeError):
    """A job waits for another, and each worker that could run it runs a job that waits, too."""


def wait(
    ledger: Ledger, lease_s: float, job_id: str, timeout: float | None, ended: Callable[[float | None], bool]
) -> bool:
    """Wait for a job to end. Return False if it has not ended after `timeout` seconds.

    :param lease_s: seconds after which a consumer without a heartbeat counts as dead.
    :param ended: waits for this number of seconds at most, and returns whether the job has ended.

    In a job, raise NoFreeWorker if no worker is free to run the awaited job, and none will be.
    """
    job = current_job()
    if not isinstance(job, ClaimedJob):
        return ended(timeout)
    until = math.inf if timeout is None else time.monotonic() + timeout
    key, pause = _key(job.id), FIRST_CHECK
    try:
        while not ended(min(pause, max(until - time.monotonic(), 0.0))):
            if time.monotonic() >= until:
                return False
            if pause == FIRST_CHECK:
                job.patiently(lambda: ledger.entries.put_if_free(key, job_id.encode(), job.token, LONGEST, again=True))
            elif reason := job.patiently(lambda: _stuck(ledger, lease_s, job_id)):
                raise NoFreeWorker(reason)
            pause = min(2 * pause, LONGEST_PAUSE)
        return True
    finally:
        if pause > FIRST_CHECK:
            with contextlib.suppress(DatabaseUnavailable):  # the entry ends with the claim
                ledger.entries.delete(key)


def _key(job_id: str) -> str:
    return f"waits:{job_id}"


def _stuck(ledger: Ledger, lease_s: float, job_id: str) -> str:
    """Return why no worker will run this job, or "" if one may."""
    row = ledger.reading.job(job_id)
    if row is None or row["state"] == State.RUNNING or State(row["state"]).ended:
        return ""
    able = [
        consumer
        for consumer in ledger.consumers.all()
        if consumer["silent_s"] < lease_s
        and not consumer["draining"]
        and row["task"] in json.loads(consumer["tasks"])
        and (consumer["queues"] is None or row["queue"] in json.loads(consumer["queues"]))
    ]
    workers = sum(consumer["workers"] for consumer in able)
    running = ledger.consumers.held_by([consumer["id"] for consumer in able])
    waits = ledger.entries.peek([_key(held["id"]) for held in running])
    if not workers or not workers <= len(running) <= len(waits):
        return ""
    if any(ledger.reading.has_ended(awaited.decode()) for awaited in waits.values()):
        return ""
    theirs = "the only worker runs this job" if workers == 1 else f"all {workers} workers run jobs that wait"
    return (
        f"This job waits for job {job_id} ({row['task']}), which no worker is free to run: {theirs}. Start more workers, give the "
        "awaited task a queue and a worker of its own, or let it follow this job with .then(...) instead of waiting for it."
    )
