"""The queue as whoever asks may see it: their own jobs, or all for an admin. Pages look at jobs through here.

The job of somebody else is one that does not exist: JobNotFound, which a page's reader is told as a 404. Where nobody has to
log in, and outside of requests, every job is there. What each of these does is told where they are, in jobqueue/access.py.
"""

from collections.abc import Callable
from typing import Any

from flask import abort, has_request_context
from jobqueue import Job, JobHandle, JobNotFound
from jobqueue.accounts import visitor
from jobqueue.dash.access import Access
from jobqueue.dash.panel import JobPanel

from app.jobs import huey

_access = Access(huey, visitor)

get_job = _access.get_job
there = _access.there
jobs = _access.jobs
result = _access.result
history = _access.history
log = _access.log
cancel = _access.cancel
retry = _access.retry
again = _access.again
id_of_form = _access.id_of_form


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


def _look_or_404(job_id: str) -> Job:
    try:
        return get_job(job_id)
    except JobNotFound:
        if has_request_context():
            abort(404)
        raise
