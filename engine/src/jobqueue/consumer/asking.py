"""Asking for jobs: idle workers of one consumer with the same queues ask one at a time.

While none of them hears of a job, one asks in each interval, and the others wait. As soon as one gets a job, the others may ask at
once. The notifier wakes one of them, so that they do not all ask for one job.
"""

import multiprocessing
import time

IDLE = 1.0  # seconds between two requests of idle workers that hear nothing of a job
POLL = 0.1  # the same shortly after a job, if notifications do not arrive
ASKED = 100  # requests a second of all such consumers, so that hundreds of them do not ask a thousand times a second
SHORTLY = 60.0  # seconds
NEVER = float("-inf")


class Asking:
    """Times that the workers of one consumer share, by time.monotonic(). A process that stops in between changes none of them."""

    def __init__(self) -> None:
        self._asked_in_vain_at = multiprocessing.RawValue("d", NEVER)
        self._worked_at = multiprocessing.RawValue("d", NEVER)  # when one of them last got a job
        self.consumers = multiprocessing.RawValue("i", 1)  # number of consumers of this database

    def interval(self, hears: bool) -> float:
        """Return the seconds between two requests.

        :param hears: whether notifications arrive.
        """
        if hears or time.monotonic() > self._worked_at.value + SHORTLY:
            return IDLE
        return min(max(POLL, self.consumers.value / ASKED), IDLE)

    def takes_turn(self, interval: float) -> bool:
        """Return whether the calling worker is to ask. Then the others wait for an interval."""
        now = time.monotonic()
        if now < self._asked_in_vain_at.value + interval:
            return False
        self._asked_in_vain_at.value = now
        return True

    def note(self, got_a_job: bool) -> None:
        """Note how a request ended. More jobs may wait where one did."""
        self._asked_in_vain_at.value = NEVER if got_a_job else time.monotonic()
        if got_a_job:
            self._worked_at.value = time.monotonic()
