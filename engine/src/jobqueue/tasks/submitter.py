"""Submit tasks: one transaction for a task and everything that follows it."""

import copy
import functools
import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from huey.api import Task, chord, group
from huey.utils import normalize_time

from jobqueue.database.database import DatabaseUnavailable, Row
from jobqueue.database.problems import Problem
from jobqueue.execution.attempt import ending_attempt
from jobqueue.execution.current_job import current_job
from jobqueue.jobs.handle import JobHandle
from jobqueue.ledger.ledger import Ledger
from jobqueue.ledger.records import NewJob
from jobqueue.messages.messages import Messages
from jobqueue.tasks.checks import seconds
from jobqueue.tasks.options import SubmitOptions
from jobqueue.tasks.submission import Emit, Submission, as_result

BATCH = 1000  # tasks that enqueue_many accepts in one transaction


class QueueUnavailable(DatabaseUnavailable):
    """A submit that failed because the database did not answer. Try again later.

    `enqueue_many` may have submitted some batches before. If the database's answer got lost, one more batch may have been
    accepted. Submitting the same tasks again accepts the others, and makes no second job.

    :param accepted: the results of the batches that were submitted.
    """

    def __init__(self, message: str, accepted: Sequence[Any] = (), problem: Problem | None = None) -> None:
        super().__init__(message, problem)
        self.accepted = list(accepted)


class Submitter:
    """Submits the tasks of one queue.

    :param ledger: returns the ledger. Immediate mode has another one.
    :param max_arguments: the most bytes of one job's message.
    :param emit: sends one of Huey's signals.
    :param handle: makes the handle of a task.
    :param check_name: as in Submission.
    :param submitted: called after jobs were accepted.
    """

    def __init__(
        self,
        ledger: Callable[[], Ledger],
        messages: Messages,
        *,
        max_arguments: int,
        emit: Emit,
        handle: Callable[[Task], JobHandle],
        check_name: Callable[[str], None],
        submitted: Callable[[], None],
    ) -> None:
        self._ledger = ledger
        self._messages = messages
        self._max_arguments = max_arguments
        self._emit = emit
        self._handle = handle
        self._check_name = check_name
        self._submitted = submitted

    def enqueue(self, task: Task | group | chord) -> Any:
        """Submit a task and the jobs that follow it. Return a handle, a ResultGroup or a ChordResult, as Huey does.

        Raises QueueUnavailable, ArgumentsTooLarge.
        """
        attempt = ending_attempt()
        if attempt is not None and attempt.handles(task):  # each attempt's error gets a job of its own
            task.id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{task.id}:{attempt.job.attempt}"))
        submission = self._submission()
        result = submission.add(task)
        self._submit(submission, [submission.rows])
        return result

    def enqueue_many(self, tasks: Iterable[Task | group | chord]) -> list[Any]:
        """Submit many tasks, BATCH in each transaction. Return the result of `enqueue` for each, in their order.

        Raises QueueUnavailable, ArgumentsTooLarge.
        """
        submission, results, batches = self._submission(), list[Any](), list[Sequence[NewJob]]()
        wanted = list(tasks)
        for first in range(0, len(wanted), BATCH):
            known = len(submission.rows)
            results += [submission.add(task) for task in wanted[first : first + BATCH]]
            batches.append(submission.rows[known:])
        self._submit(submission, batches, results)
        return results

    def reschedule(
        self,
        task: Task,
        old: Row,
        eta: datetime | None = None,
        delay: float | timedelta | None = None,
        expires: Any = None,
        priority: float | None = None,
        preserve_pipeline: bool = True,
    ) -> Any:
        """Cancel a job, and submit a new one in its place. The jobs that followed the old one follow the new one.

        :param task: the old job's task.
        :param old: the old job's row.

        The other parameters are those of JobHandle.reschedule.
        """
        new = copy.copy(task)
        run_in = None if delay is None else seconds("delay", delay)
        SubmitOptions.of_job(old, owner=old["owner"], run_in=run_in).set_on(new)
        new.submitted = False
        new.id = new.create_id()
        new.revoke_id = f"r:{new.id}"
        new.eta = None if eta is None and delay is None else normalize_time(eta, run_in, self._messages.utc)
        new.priority = new.priority if priority is None else priority
        new.expires = new.expires if expires is None else expires
        if not preserve_pipeline:
            new.on_complete = new.on_error = None
        return self._replace(old["id"], new, preserve_pipeline)

    def _replace(self, old_id: str, new: Task, keep_follower: bool) -> Any:
        """Submit a task in place of a job. If the job has ended, submit the task with the tasks that follow it."""
        after, new.on_complete = new.on_complete, None
        submission = self._submission()
        submission.add(new)
        new.on_complete = after
        if not self._ledger().replace(old_id, submission.rows[0], keep_follower):
            return self.enqueue(new)
        submission.accepted()
        self._submitted()
        handles, task = [], new
        while task is not None:
            handles.append(self._handle(task))
            task = task.on_complete
        return as_result(handles)

    def again(self, task: Task, old: Row, new_id: str | None = None) -> JobHandle:
        """Submit a job's task once more, as a new job.

        Its owner is the owner of the code that submits it, or else the old job's.

        :param task: the old job's task.
        :param old: the old job's row.
        :param new_id: the new job's id. By default a random one.
        """
        SubmitOptions.of_job(old, owner=current_job().owner or old["owner"]).set_on(task)
        task.id = new_id or task.create_id()
        task.revoke_id = f"r:{task.id}"
        task.eta = None
        handle: JobHandle = self.enqueue(task)
        return handle

    def row(self, task: Task) -> NewJob:
        """Return the row of one task, without submitting it."""
        return self._submission().row(task)

    def _submission(self) -> Submission:
        return Submission(self._messages, self._max_arguments, self._emit, self._handle, self._check_name)

    def _submit(self, submission: Submission, batches: Sequence[Sequence[NewJob]], results: Sequence[Any] = ()) -> None:
        """Insert each batch of rows in one transaction. In a job that ends, add them to the end's transaction instead.

        `results`: the results of enqueue_many, BATCH of them for each batch of rows.
        """
        attempt = ending_attempt()
        if attempt is not None:
            attempt.submitted.extend(submission.rows)
            submission.accepted()
            return
        current_job().submitting(sum(map(len, batches)))
        ledger = self._ledger()
        for number, rows in enumerate(batches):
            try:
                current_job().patiently(functools.partial(ledger.submit, rows))  # repeated writes insert once
            except DatabaseUnavailable as error:
                accepted = results[: number * BATCH]
                part = f"only the first {len(accepted)} of {len(results)} tasks were" if accepted else "nothing was"
                raise QueueUnavailable(
                    f"The database does not answer, so {part} submitted. Try again in a moment. ({error})",
                    accepted,
                    error.problem,
                ) from error
        submission.accepted()
        self._submitted()
