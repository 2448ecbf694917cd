"""The queue as whoever asks may see and change it: all of it, or their own jobs. Every page goes through this.

Somebody else's job is one that does not exist. What is done is logged, with who did it to which job.
"""

import logging
import threading
import uuid
from collections.abc import Callable
from typing import Any, Protocol

from huey.api import TaskWrapper

from jobqueue.datasets.dataset import Dataset
from jobqueue.execution.job_log import LogLine
from jobqueue.huey import DurableHuey
from jobqueue.jobs.handle import JobHandle
from jobqueue.jobs.history import Event
from jobqueue.jobs.job import Job, JobNotFound
from jobqueue.ledger.states import State
from jobqueue.schedules.timetable import ScheduleNotFound, ScheduleStatus

logger = logging.getLogger("jobqueue.acts")


class Viewer(Protocol):
    """Whoever is logged in."""

    @property
    def name(self) -> str: ...
    @property
    def admin(self) -> bool: ...


class Access:
    """Of one queue. `viewer` says who asks; None where nobody has to log in."""

    def __init__(self, huey: DurableHuey, viewer: Callable[[], Viewer | None]) -> None:
        self.huey = huey
        self.viewer = viewer
        self._discovering = threading.Lock()
        self._discovered = False

    @property
    def owner(self) -> str | None:
        """Whose jobs alone are there; None for all."""
        who = self.viewer()
        return None if who is None or who.admin else who.name

    def discover(self) -> None:
        """Know all of the tasks: a web process has imported those of its pages alone."""
        with self._discovering:
            if not self._discovered:
                self.huey.discover()
                self._discovered = True

    def of_everybody(self) -> None:
        """Raises JobNotFound for whoever may see their own jobs alone."""
        if self.owner is not None:
            raise JobNotFound("There is no such page.")

    def get_job(self, job_id: str) -> Job:
        """Raises JobNotFound."""
        job, owner = self.huey.get_job(job_id), self.owner
        if owner is not None and job.owner != owner:
            raise JobNotFound(f"No job has the id {job_id!r}.")
        return job

    def there(self, job_id: Any) -> bool:
        try:
            self.get_job(job_id)
        except JobNotFound:
            return False
        return True

    def jobs(self, task: TaskWrapper | str | None = None, state: State | None = None, limit: int = 50) -> list[Job]:
        """Newest first."""
        return self.huey.jobs(task=task, state=state, limit=limit, owner=self.owner)

    def result(self, job_id: str) -> Any:
        """What the job returned; None as long as it has not ended. Raises JobNotFound, huey.exceptions.TaskException."""
        return self.huey.result(self.get_job(job_id).id)

    def history(self, job_id: str) -> list[Event]:
        """What happened to the job, oldest first. Raises JobNotFound."""
        return self.huey.history(self.get_job(job_id).id)

    def log(self, job_id: str) -> list[LogLine]:
        """The last lines that the job logged, oldest first. Raises JobNotFound."""
        return self.huey.log(self.get_job(job_id).id)

    def schedules(self) -> list[ScheduleStatus]:
        """Raises JobNotFound for whoever may see their own jobs alone."""
        self.of_everybody()
        self.discover()
        return self.huey.schedules()

    def datasets(self) -> list[Dataset[Any]]:
        """By name. Raises JobNotFound for whoever may see their own jobs alone."""
        self.of_everybody()
        self.discover()
        return [dataset for _, dataset in sorted(self.huey.datasets.items())]

    # --- acts: each returns whether there was something to do, and raises JobNotFound or ScheduleNotFound ---

    def cancel(self, job_id: str) -> bool:
        job = self.get_job(job_id)
        return self._note("cancels", job, self.huey.job(job.id).cancel())

    def retry(self, job_id: str) -> bool:
        """Put a failed or cancelled job back."""
        job = self.get_job(job_id)
        return self._note("retries", job, self.huey.job(job.id).retry())

    def again(self, job_id: str, form: str) -> JobHandle:
        """Submit what it was asked once more, as a job of one's own.

        Raises Unreadable, QueueUnavailable, and ValueError as `id_of_form`.
        """
        job = self.get_job(job_id)
        new = self.huey.again(job.id, self.id_of_form(form))
        self._note(f"runs as {new.id} again", job, True)
        return new

    def id_of_form(self, form: str) -> str:
        """The id of the job that a form makes, each time it is sent: for each viewer another, so that none names another's job.

        Raises ValueError where the form's is no UUID.
        """
        who, asked = self.viewer(), uuid.UUID(form)
        return str(asked if who is None else uuid.uuid5(asked, who.name))

    def pause(self, schedule: str) -> bool:
        self.schedules()
        return self._note_schedule("pauses", schedule, self.huey.pause_schedule(schedule))

    def resume(self, schedule: str) -> bool:
        self.schedules()
        return self._note_schedule("resumes", schedule, self.huey.resume_schedule(schedule))

    def run(self, schedule: str) -> str:
        """Returns the job's id."""
        self.schedules()
        job_id = str(self.huey.run_schedule(schedule).id)
        self._note_schedule(f"runs as {job_id}", schedule, True)
        return job_id

    def refresh(self, name: str) -> str:
        """Ask for a dataset's new version. Returns the job's id."""
        for dataset in self.datasets():
            if dataset.name == name:
                job_id = str(dataset.refresh().id)
                logger.info("%s refreshes dataset %s as job %s", self._who(), name, job_id)
                return job_id
        raise ScheduleNotFound(f"No dataset has the name {name!r}.")

    def _note(self, act: str, job: Job, done: bool) -> bool:
        if done:
            logger.info("%s %s job %s of %s (%s)", self._who(), act, job.id, job.owner, job.task)
        return done

    def _note_schedule(self, act: str, schedule: str, done: bool) -> bool:
        if done:
            logger.info("%s %s schedule %s", self._who(), act, schedule)
        return done

    def _who(self) -> str:
        who = self.viewer()
        return "somebody" if who is None else who.name
