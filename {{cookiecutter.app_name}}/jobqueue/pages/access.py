"""The queue as whoever asks may see and change it: all of it, or their own jobs. Every page here goes through this.

Somebody else's job is one that does not exist. What is done is logged, with who did it to which job.
"""

import logging
import threading
import uuid
from collections.abc import Callable
from typing import Any, Protocol

from jobqueue.dataset import Dataset
from jobqueue.handle import Job, JobNotFound
from jobqueue.huey import DurableHuey
from jobqueue.timetable import ScheduleLook, ScheduleNotFound

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

    def look(self, job_id: str) -> Job:
        """Raises JobNotFound."""
        job, owner = self.huey.look(job_id), self.owner
        if owner is not None and job.owner != owner:
            raise JobNotFound(f"No job has the id {job_id!r}.")
        return job

    def schedules(self) -> list[ScheduleLook]:
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
        job = self.look(job_id)
        return self._note("cancels", job, self.huey.job(job_id).cancel())

    def retry(self, job_id: str) -> bool:
        job = self.look(job_id)
        return self._note("retries", job, self.huey.job(job_id).retry())

    def again(self, job_id: str, new_id: str) -> str:
        """Submit what it was asked once more, under an id made of a UUID: for each viewer another, so that none names another's job.

        Returns it. Raises Unreadable, QueueUnavailable, and ValueError where that is no UUID.
        """
        job, who = self.look(job_id), self.viewer()
        self.discover()
        asked = uuid.UUID(new_id)
        new = self.huey.again(job_id, str(asked if who is None else uuid.uuid5(asked, who.name))).id
        self._note(f"runs as {new} again", job, True)
        return str(new)

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
