"""Access: the queue as a visitor may see and change it, either all of it or their own jobs. Every page goes through it.

Another user's job does not exist for them. Each act is logged with the visitor's name and the job.
"""

import logging
import threading
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol

from huey.api import TaskWrapper

from jobqueue.dash.formatting import DATE_AND_TIME, moment
from jobqueue.datasets.dataset import Dataset
from jobqueue.execution.job_log import LogLine
from jobqueue.files.files import Files
from jobqueue.huey import DurableHuey
from jobqueue.jobs.handle import JobHandle
from jobqueue.jobs.history import Event
from jobqueue.jobs.job import Job, JobNotFound
from jobqueue.ledger.states import State
from jobqueue.schedules.timetable import ScheduleNotFound, ScheduleStatus

logger = logging.getLogger("jobqueue.acts")


class Viewer(Protocol):
    """A visitor who is logged in."""

    @property
    def name(self) -> str: ...
    @property
    def admin(self) -> bool: ...


class Access:
    """Access to one queue.

    :param viewer: returns the visitor of the current request, or None where nobody has to log in.
    """

    def __init__(self, huey: DurableHuey, viewer: Callable[[], Viewer | None]) -> None:
        self.huey = huey
        self.viewer = viewer
        self._discovering = threading.Lock()
        self._discovered = False

    @property
    def owner(self) -> str | None:
        """The owner whose jobs the visitor may see. None: everybody's."""
        viewer = self.viewer()
        return None if viewer is None or viewer.admin else viewer.name

    @property
    def sees_all(self) -> bool:
        """Return whether the visitor may see everything. They read texts for operators, others read texts for users."""
        return self.owner is None

    @property
    def files(self) -> Files:
        """The visitor's files: `jobs.files.get(data)` of an upload, and `jobs.files.save(contents, filename)`."""
        viewer = self.viewer()
        return self.huey.files if viewer is None else self.huey.files.of(viewer.name)

    def discover(self) -> None:
        """Import all tasks. A web process has imported only those of its pages."""
        with self._discovering:
            if not self._discovered:
                self.huey.discover()
                self._discovered = True

    def require_all(self) -> None:
        """Raise JobNotFound for a visitor who may see only their own jobs."""
        if self.owner is not None:
            raise JobNotFound("There is no such page.")

    def get_job(self, job_id: str) -> Job:
        """Return a job. Raises JobNotFound."""
        job, owner = self.huey.get_job(job_id), self.owner
        if owner is not None and job.owner != owner:
            raise JobNotFound(f"No job has the id {job_id!r}.")
        return job

    def there(self, job_id: Any) -> bool:
        """Return whether the visitor may see a job with this id."""
        try:
            self.get_job(job_id)
        except JobNotFound:
            return False
        return True

    def moment(self, at: datetime | float | None, form: str = DATE_AND_TIME) -> str:
        """Return a time as all pages show it: in the queue's time zone, which is named. Return "" for None.

        :param at: an aware datetime, or seconds since the epoch.
        :param form: as for `jobqueue.dash.formatting.moment`.

        Example: `jobs.moment(job.created_at)` is "2026-11-29 14:03:05 CET".
        """
        return moment(at, self.huey.timezone, form)

    def whose(self, job: Job) -> str:
        """Return "Of ben" for another user's job, and "" for the visitor's own or where nobody logs in."""
        viewer = self.viewer()
        return "" if viewer is None or job.owner == viewer.name else f"Of {job.owner or 'nobody'}"

    def jobs(self, task: TaskWrapper | str | None = None, state: State | None = None, limit: int = 50) -> list[Job]:
        """Return the visitor's jobs, newest first."""
        return self.huey.jobs(task=task, state=state, limit=limit, owner=self.owner)

    def result(self, job_id: str) -> Any:
        """Return a job's result, or None if it has not ended. Raises JobNotFound, huey.exceptions.TaskException."""
        return self.huey.result(self.get_job(job_id).id)

    def history(self, job_id: str) -> list[Event]:
        """Return a job's events, oldest first. Raises JobNotFound."""
        return self.huey.history(self.get_job(job_id).id)

    def log(self, job_id: str) -> list[LogLine]:
        """Return the last lines that a job logged, oldest first. Raises JobNotFound."""
        return self.huey.log(self.get_job(job_id).id)

    def schedules(self) -> list[ScheduleStatus]:
        """Return all schedules. Raises JobNotFound for a visitor who may see only their own jobs."""
        self.require_all()
        self.discover()
        return self.huey.schedules()

    def datasets(self) -> list[Dataset[Any]]:
        """Return all datasets by name. Raises JobNotFound for a visitor who may see only their own jobs."""
        self.require_all()
        self.discover()
        return [dataset for _, dataset in sorted(self.huey.datasets.items())]

    # --- acts: each returns whether it changed something, and raises JobNotFound or ScheduleNotFound ---

    def cancel(self, job_id: str) -> bool:
        """Cancel a job that has not ended."""
        job = self.get_job(job_id)
        return self._log("cancels", job, self.huey.job(job.id).cancel())

    def retry(self, job_id: str) -> bool:
        """Return a failed or cancelled job to the queue."""
        job = self.get_job(job_id)
        return self._log("retries", job, self.huey.job(job.id).retry())

    def again(self, job_id: str, form: str) -> JobHandle:
        """Submit a new job of the visitor's own with the arguments of this one.

        :param form: a UUID. Submitting it again makes no second job; see `id_of_form`.

        Raises Unreadable, QueueUnavailable, and ValueError if `form` is no UUID.
        """
        job = self.get_job(job_id)
        new = self.huey.again(job.id, self.id_of_form(form))
        self._log(f"runs as {new.id} again", job, True)
        return new

    def id_of_form(self, form: str) -> str:
        """Derive the job id for a form submission.

        Resending the form gives the same id. Each visitor gets a different one, so nobody can name another's job.

        :param form: a UUID that the page made.

        Raises ValueError if it is no UUID.
        """
        viewer, given = self.viewer(), uuid.UUID(form)
        return str(given if viewer is None else uuid.uuid5(given, viewer.name))

    def pause(self, schedule: str) -> bool:
        """Pause a schedule."""
        self.schedules()
        return self._log_schedule("pauses", schedule, self.huey.pause_schedule(schedule))

    def resume(self, schedule: str) -> bool:
        """Resume a paused schedule."""
        self.schedules()
        return self._log_schedule("resumes", schedule, self.huey.resume_schedule(schedule))

    def run(self, schedule: str) -> str:
        """Run a schedule's task now. Returns the job's id."""
        self.schedules()
        job_id = str(self.huey.run_schedule(schedule).id)
        self._log_schedule(f"runs as {job_id}", schedule, True)
        return job_id

    def refresh(self, name: str) -> str:
        """Request a new version of a dataset. Returns the job's id."""
        for dataset in self.datasets():
            if dataset.name == name:
                job_id = str(dataset.refresh().id)
                logger.info("%s refreshes dataset %s as job %s", self._name(), name, job_id)
                return job_id
        raise ScheduleNotFound(f"No dataset has the name {name!r}.")

    def _log(self, act: str, job: Job, done: bool) -> bool:
        if done:
            logger.info("%s %s job %s of %s (%s)", self._name(), act, job.id, job.owner, job.task)
        return done

    def _log_schedule(self, act: str, schedule: str, done: bool) -> bool:
        if done:
            logger.info("%s %s schedule %s", self._name(), act, schedule)
        return done

    def _name(self) -> str:
        viewer = self.viewer()
        return "somebody" if viewer is None else viewer.name
