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
from jobqueue.execution.attempt import ending_attempt
from jobqueue.execution.current_job import current_job
from jobqueue.jobs.handle import JobHandle
from jobqueue.ledger.ledger import Ledger
from jobqueue.ledger.records import NewJob
from jobqueue.messages.messages import Messages, in_seconds
from jobqueue.tasks.submission import Emit, Submission, as_result

TOGETHER = 1000  # tasks that enqueue_many accepts in one transaction


class QueueUnavailable(DatabaseUnavailable):
    """Nothing was submitted, because the database did not answer. Trying again later may help.

    :param accepted: the results of the thousands that `enqueue_many` had submitted before. Where an answer got lost,
        more may have been accepted; submitting the same tasks again accepts the others, and doubles none.
    """

    def __init__(self, message: str, accepted: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.accepted = list(accepted)


class Submitter:
    """Submits the tasks of one queue.

    :param ledger: returns the ledger; immediate mode has another one.
    :param max_arguments: bytes that one job's message may take.
    :param emit: sends one of Huey's signals.
    :param handle: makes the handle of a task.
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
        submitted: Callable[[], None],
    ) -> None:
        self._ledger = ledger
        self._messages = messages
        self._max_arguments = max_arguments
        self._emit = emit
        self._handle = handle
        self._submitted = submitted

    def enqueue(self, task: Task | group | chord) -> Any:
        """Accept a task with everything that follows it. Return what Huey's enqueue returns."""
        attempt = ending_attempt()
        if attempt is not None and attempt.handles(task):  # each attempt's error has a handler of its own
            task.id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{task.id}:{attempt.job.attempt}"))
        submission = self._submission()
        result = submission.add(task)
        self._submit(submission, [submission.rows])
        return result

    def enqueue_many(self, tasks: Iterable[Task | group | chord]) -> list[Any]:
        """Accept many tasks, a thousand in a transaction. Return what `enqueue` returns for each, in their order."""
        submission, results, parts = self._submission(), list[Any](), list[Sequence[NewJob]]()
        wanted = list(tasks)
        for first in range(0, len(wanted), TOGETHER):
            known = len(submission.rows)
            results += [submission.add(task) for task in wanted[first : first + TOGETHER]]
            parts.append(submission.rows[known:])
        self._submit(submission, parts, results)
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
        """Cancel a job, and put a new one in its place before the jobs that follow it.

        :param task: the old job's task. `old`: its row.
        """
        new = copy.copy(task)
        new.owner, new.queue, new.unique_key = old["owner"], old["queue"], old["unique_key"]
        new.unique, new.cache_for = new.unique_key is not None, None
        new.submitted = False
        new.id = new.create_id()
        new.revoke_id = f"r:{new.id}"
        new.eta = None if eta is None and delay is None else normalize_time(eta, delay, self._messages.utc)
        new.run_in = None if delay is None else in_seconds(delay)
        new.priority = new.priority if priority is None else priority
        new.expires = new.expires if expires is None else expires
        if not preserve_pipeline:
            new.on_complete = new.on_error = None
        return self._replace(old["id"], new, preserve_pipeline)

    def _replace(self, old_id: str, new: Task, keep_follower: bool) -> Any:
        """Submit a task in place of a job. If the job has ended, submit the task with what followed it."""
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
        """Submit a job's task once more, as a new job of whoever submits it. `old`: the job's row."""
        task.owner = current_job().owner or old["owner"]
        task.queue, task.unique_key = old["queue"], old["unique_key"]
        task.unique, task.cache_for = task.unique_key is not None, None
        task.id = new_id or task.create_id()
        task.revoke_id = f"r:{task.id}"
        task.eta = None
        handle: JobHandle = self.enqueue(task)
        return handle

    def row(self, task: Task) -> NewJob:
        """Return the row of one task, without submitting it."""
        return self._submission().row(task)

    def _submission(self) -> Submission:
        return Submission(self._messages, self._max_arguments, self._emit, self._handle)

    def _submit(self, submission: Submission, parts: Sequence[Sequence[NewJob]], results: Sequence[Any] = ()) -> None:
        """Accept each part in one transaction. `results` holds what is returned for them, TOGETHER a part."""
        attempt = ending_attempt()
        if attempt is not None:
            attempt.submitted.extend(submission.rows)
            submission.accepted()
            return
        current_job().submitting(sum(map(len, parts)))
        ledger = self._ledger()
        for number, rows in enumerate(parts):
            try:
                current_job().patiently(functools.partial(ledger.submit, rows))  # once, however often it is tried
            except DatabaseUnavailable as error:
                accepted = results[: number * TOGETHER]
                got = f"only the first {len(accepted)} of {len(results)} tasks were" if accepted else "nothing was"
                raise QueueUnavailable(
                    f"The database does not answer, so {got} submitted. Try again in a moment. ({error})", accepted
                ) from error
        submission.accepted()
        self._submitted()
