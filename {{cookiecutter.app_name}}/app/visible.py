"""The queue as whoever asks may see it: their own jobs, or all for an admin. Pages look at jobs through here.

The job of somebody else is one that does not exist: JobNotFound, which a page's reader is told as a 404. Where nobody has to
log in, and outside of requests, every job is there.
"""

import uuid
from collections.abc import Callable
from typing import Any

from flask import abort, has_request_context
from huey.api import TaskWrapper

from app.accounts import acts, visitor
from app.jobs import huey
from jobqueue import Event, Job, JobHandle, JobNotFound, LogLine, State
from jobqueue.panel import JobPanel


class Panel(JobPanel):
    """A JobPanel of jobs that its reader may see: `panel = Panel(__name__, task=...)`. Another's is a 404.

    An admin is told whose it is.
    """

    def __init__(self, name: str, title: Callable[[Job], str] | None = None, **options: Any) -> None:
        def with_owner(job: Job) -> str:
            return " · ".join(filter(None, [title(job) if title else "", _whose(job)]))

        super().__init__(huey, name, title=with_owner, find=_look_or_404, **options)

    def cancel(self, job_id: str) -> bool:
        return cancel(job_id)

    def retry(self, job_id: str) -> bool:
        return retry(job_id)

    def again(self, job_id: str, new_id: str) -> JobHandle:
        return again(job_id, new_id)


def _whose(job: Job) -> str:
    who = visitor()
    return "" if who is None or job.owner == who.name else f"Of {job.owner or 'nobody'}"


# --- to look ---


def look(job_id: str) -> Job:
    """Raises JobNotFound."""
    job = huey.look(job_id)
    who = visitor()
    if who is not None and not who.admin and job.owner != who.name:
        raise JobNotFound(f"No job has the id {job_id!r}.")
    return job


def there(job_id: Any) -> bool:
    try:
        look(job_id)
    except JobNotFound:
        return False
    return True


def _look_or_404(job_id: str) -> Job:
    try:
        return look(job_id)
    except JobNotFound:
        if has_request_context():
            abort(404)
        raise


def jobs(task: TaskWrapper | str | None = None, state: State | None = None, limit: int = 50) -> list[Job]:
    """Newest first."""
    who = visitor()
    return huey.jobs(task=task, state=state, limit=limit, owner=None if who is None or who.admin else who.name)


def result(job_id: str) -> Any:
    """What the job returned; None as long as it has not ended. Raises JobNotFound, huey.exceptions.TaskException."""
    return huey.result(look(job_id).id)


def history(job_id: str) -> list[Event]:
    """What happened to the job, oldest first. Raises JobNotFound."""
    return huey.history(look(job_id).id)


def log(job_id: str) -> list[LogLine]:
    """The last lines that the job logged, oldest first. Raises JobNotFound."""
    return huey.log(look(job_id).id)


# --- to act, which is kept: who, what, when ---


def cancel(job_id: str) -> bool:
    """False if it had ended. Raises JobNotFound."""
    job = look(job_id)
    done = huey.job(job.id).cancel()
    if done:
        _note("cancels", job)
    return done


def retry(job_id: str) -> bool:
    """Put a failed or cancelled job back; False if it is neither. Raises JobNotFound."""
    job = look(job_id)
    done = huey.job(job.id).retry()
    if done:
        _note("puts back", job)
    return done


def again(job_id: str, form: str) -> JobHandle:
    """Submit once more what a job was asked, as one of one's own. Raises JobNotFound, ValueError as `id_of_form`."""
    job = look(job_id)
    new = huey.again(job.id, id_of_form(form))
    _note("runs again", job)
    return new


def _note(act: str, job: Job) -> None:
    who = visitor()
    if who is not None:
        acts.info("%s %s job %s of %s (%s)", who.name, act, job.id, job.owner, job.name)


def id_of_form(form: str) -> str:
    """The id of the job that a form makes, each time it is sent: one for each user. Raises ValueError where it is no UUID."""
    who = visitor()
    return str(uuid.UUID(form) if who is None else uuid.uuid5(uuid.UUID(form), who.name))
