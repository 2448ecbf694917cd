"""The states of a job, and the table of all transitions between them."""

from enum import StrEnum


class State(StrEnum):
    """The state of a job. TRANSITIONS lists how it changes."""

    WAITING = "waiting"  # for another job, or for all members of a chord
    SCHEDULED = "scheduled"  # until its time: after a delay, or the pause before a retry
    QUEUED = "queued"  # a worker may claim it
    RUNNING = "running"  # one claim holds it
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Return whether a job in this state has ended. Only a retry by a user leads out of such a state."""
        return self in (State.SUCCEEDED, State.FAILED, State.CANCELLED)


# Every transition: (state, event) -> the states that may follow. The names of the events are stored in the history of each job.
TRANSITIONS: dict[tuple[State, str], tuple[State, ...]] = {
    (State.WAITING, "released"): (State.QUEUED, State.SCHEDULED),  # its dependencies have ended
    (State.WAITING, "abandoned"): (State.CANCELLED,),  # the job before it in the pipeline did not succeed
    (State.WAITING, "cancelled"): (State.CANCELLED,),
    (State.SCHEDULED, "due"): (State.QUEUED,),
    (State.SCHEDULED, "cancelled"): (State.CANCELLED,),
    (State.QUEUED, "claimed"): (State.RUNNING,),
    (State.QUEUED, "cancelled"): (State.CANCELLED,),
    (State.QUEUED, "unknown"): (State.FAILED,),  # no consumer's code has had its task for an hour
    (State.RUNNING, "ended"): (State.SUCCEEDED, State.FAILED, State.CANCELLED),
    (State.RUNNING, "retried"): (State.SCHEDULED, State.QUEUED),  # after a pause, or at once
    (State.RUNNING, "lost"): (State.QUEUED, State.FAILED),  # its worker died; the job fails after too many losses
    (State.RUNNING, "given back"): (State.QUEUED,),  # released by a consumer that stopped; not counted as a loss
    (State.RUNNING, "cancelled"): (State.CANCELLED,),
    (State.FAILED, "put back"): (State.QUEUED, State.WAITING),  # retried by a user; its dependents wait again
    (State.CANCELLED, "put back"): (State.QUEUED, State.WAITING),
}
