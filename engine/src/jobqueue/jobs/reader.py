"""Read the jobs of one queue as Job, Event and LogLine."""

from collections.abc import Callable
from typing import Any

from huey.api import Task, TaskWrapper

from jobqueue.database.database import Row
from jobqueue.execution.job_log import LogLine, read
from jobqueue.jobs.history import Event, events
from jobqueue.jobs.job import Job, JobNotFound, Unreadable
from jobqueue.ledger.ledger import Ledger
from jobqueue.ledger.states import State
from jobqueue.messages.messages import Messages
from jobqueue.text import WITHIN, said, storable


class JobReader:
    """Reader of jobs. `ledger` returns the ledger. Immediate mode has another one."""

    def __init__(self, ledger: Callable[[], Ledger], messages: Messages) -> None:
        self._ledger = ledger
        self._messages = messages

    def get(self, job_id: str) -> Job:
        """Return a job in its present state. Raises JobNotFound."""
        return self._as_job(self.row(job_id))

    def row(self, job_id: str) -> Row:
        """Return a job's row. Raises JobNotFound."""
        return self._found(job_id, self._ledger().reading.job)

    def history(self, job_id: str) -> list[Event]:
        """Return a job's events, oldest first. Raises JobNotFound."""
        return events(self._found(job_id, self._ledger().reading.history))

    def log(self, job_id: str) -> list[LogLine]:
        """Return the last lines that a job logged, oldest first. Raises JobNotFound."""
        return read(self._found(job_id, self._ledger().reading.log)["lines"] or "")

    def list(
        self,
        task: TaskWrapper | str | None = None,
        state: State | None = None,
        owner: str | None = None,
        limit: int = 50,
    ) -> list[Job]:
        """Return the jobs that match every condition given, newest first, at most `limit`.

        :param task: a task, or its full name.

        Raises ValueError for a limit that is not a whole number of at least 0.
        """
        if not isinstance(limit, int) or limit < 0:  # SQLite reads -1 as no limit, Postgres refuses it
            raise ValueError(f"limit is {limit!r}. Give a whole number, 0 or more.")
        name = self._messages.name_of(task) if isinstance(task, TaskWrapper) else task
        rows = self._ledger().reading.jobs(task=name, state=state, owner=owner, limit=limit)
        return [self._as_job(row) for row in rows]

    def task_of(self, job_id: str) -> Task:
        """Return the task as it was submitted. Raises JobNotFound, Unreadable."""
        return self._read(job_id, self._messages.read)

    def _found(self, job_id: str, read: Callable[[str], Row | None]) -> Row:
        row = None
        if isinstance(job_id, str) and job_id == storable(job_id):  # an id from an address bar may hold any character
            row = read(job_id)
        if row is None:
            raise JobNotFound(f"No job has the id {job_id!r}.")
        return row

    def _as_job(self, row: Row) -> Job:
        def arguments() -> tuple[tuple[Any, ...], dict[str, Any]]:
            message = self._read(row["id"], self._messages.unpack)
            return tuple(message.args), dict(message.kwargs)

        return Job.from_row(row, arguments)

    def _read(self, job_id: str, read: Callable[[bytes], Any]) -> Any:
        message = self._found(job_id, self._ledger().reading.message)["message"]
        try:
            return read(message)
        except BaseException as error:  # arguments run their own code when they are unpickled
            raise Unreadable(f"The arguments of job {job_id} cannot be read: {said(error, WITHIN)}") from error
