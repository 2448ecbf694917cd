"""TODO-DOC."""

from enum import StrEnum


class State(StrEnum):
    """Where a job is. It leaves one state for another only as TRANSITIONS says."""

    WAITING = "waiting"  # follows another job, or all members of a chord
    SCHEDULED = "scheduled"  # waits for its time: a delay, or the pause before a retry
    QUEUED = "queued"  # a worker may claim it
    RUNNING = "running"  # one claim holds it
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in (State.SUCCEEDED, State.FAILED, State.CANCELLED)


# What may happen to a job: (state, event) -> the states it may be in afterwards.
TRANSITIONS: dict[tuple[State, str], tuple[State, ...]] = {
    (State.WAITING, "released"): (State.QUEUED, State.SCHEDULED),  # what it waited for has ended
    (State.WAITING, "abandoned"): (State.CANCELLED,),  # the job before it in the pipeline did not succeed
    (State.WAITING, "cancelled"): (State.CANCELLED,),
    (State.SCHEDULED, "due"): (State.QUEUED,),
    (State.SCHEDULED, "cancelled"): (State.CANCELLED,),
    (State.QUEUED, "claimed"): (State.RUNNING,),
    (State.QUEUED, "cancelled"): (State.CANCELLED,),
    (State.QUEUED, "unknown"): (State.FAILED,),  # no consumer's code has its task, for an hour
    (State.RUNNING, "ended"): (State.SUCCEEDED, State.FAILED, State.CANCELLED),
    (State.RUNNING, "retried"): (State.SCHEDULED, State.QUEUED),  # with a pause, or without one
    (State.RUNNING, "lost"): (State.QUEUED, State.FAILED),  # its worker died; the last time it is poison
    (State.RUNNING, "given back"): (State.QUEUED,),  # its consumer stopped; not counted against it
    (State.RUNNING, "cancelled"): (State.CANCELLED,),
    (State.FAILED, "put back"): (State.QUEUED, State.WAITING),  # by a person; what followed it waits again
    (State.CANCELLED, "put back"): (State.QUEUED, State.WAITING),
}
