"""The rows of one submit: one for the task, and one for each job that follows it.

The next job of a pipeline and the callback of a chord get their rows with the submit, in the state waiting. So they are as
durable as the first job, and are released once.
"""

import copy
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any

from huey import signals
from huey.api import ChordResult, ResultGroup, Task, chord, group

from jobqueue.database.times import utc
from jobqueue.execution.current_job import current_job
from jobqueue.files.file import naming
from jobqueue.jobs.handle import JobHandle
from jobqueue.ledger.records import NewJob
from jobqueue.logs import request_id
from jobqueue.messages.messages import Messages, in_seconds
from jobqueue.tasks.checks import check_options, in_calendar
from jobqueue.tasks.options import SubmitOptions

Emit = Callable[[str, Task], None]  # sends one of Huey's signals


class ArgumentsTooLarge(ValueError):
    """A submit of arguments that take more than `max_arguments` bytes. Nothing of the submit was accepted.

    :param size: bytes of the arguments.
    :param limit: the most bytes that they may take.
    """

    def __init__(self, message: str, size: int = 0, limit: int = 0) -> None:
        super().__init__(message)
        self.size = size
        self.limit = limit


class Submission:
    """Rows for tasks, groups and chords. A job's owner is the task's own, or else the owner of the job that submits it.

    :param max_arguments: the most bytes of one job's message, unless its task has a limit of its own.
    :param emit: sends Huey's signals for each task.
    :param handle: makes the handle that a submit returns.
    :param check_name: called with each task's full name. Raises an exception to refuse the submit.
    """

    def __init__(
        self,
        messages: Messages,
        max_arguments: int,
        emit: Emit,
        handle: Callable[[Task], JobHandle],
        check_name: Callable[[str], None],
    ) -> None:
        self._messages = messages
        self._check_name = check_name
        self._max_arguments = max_arguments
        self._emit = emit
        self._handle = handle
        self.rows: list[NewJob] = []
        self._tasks: dict[str, Task] = {}  # the tasks to submit, by the ids that their jobs get
        self._copied: dict[str, Task] = {}  # by id: tasks that were submitted before; a copy of each is submitted
        self._latest: dict[str, Task] = {}  # by the id of a given task: the task or copy that was added last for it

    def add(self, task: Task | group | chord) -> Any:
        """Add rows for a task and the jobs that follow it.

        Return a handle, a ResultGroup or a ChordResult, as Huey's enqueue does.
        """
        if isinstance(task, group):
            return ResultGroup([self.add(member) for member in task.tasks])
        if isinstance(task, chord):
            return self._chord(task)
        return as_result(self._handles(self._pipeline(task)))

    def _pipeline(
        self,
        head: Task,
        *,
        pending: int = 0,
        chord_size: int | None = None,
        follower: str | None = None,
        index: int | None = None,
    ) -> list[Task]:
        """Add rows for a task and its `.then(...)` tasks. Return these tasks.

        :param pending: if the first is a chord's callback, the number of members that it waits for.
        :param chord_size: if the first is a chord's callback, the number of members.
        :param follower: the id of the chord callback that waits for the last task.
        :param index: the last task's place in that chord.
        """
        tasks = self._with_own_ids(head)
        if any(SubmitOptions.of(task).is_unique for task in tasks) and (
            tasks[1:] or head.on_error or follower or chord_size is not None
        ):
            raise ValueError(
                "A unique job cannot be part of a pipeline or chord, or have an error handler, because several submissions "
                "may share it. Submit it by itself, or without sharing: .using(unique=False)."
            )
        owner = SubmitOptions.of(head).owner or current_job().owner
        for task, before, after in zip(tasks, [None, *tasks], [*tasks[1:], None], strict=False):
            self.rows.append(
                self.row(
                    task,
                    owner=SubmitOptions.of(task).owner or owner,
                    pending=pending if before is None else 1,
                    chord_size=chord_size if before is None else None,
                    follows=None if before is None else before.id,
                    follower=follower if after is None else after.id,
                    chord_index=index if after is None else None,
                )
            )
            self._emit(signals.SIGNAL_ENQUEUED, task)
            if task.eta is not None:
                self._emit(signals.SIGNAL_SCHEDULED, task)
        return tasks

    def accepted(self) -> None:
        """Mark the tasks as submitted, once the ledger has the rows. Submitting one of them again makes a new job."""
        for task in self._tasks.values():
            task.submitted = True
        for task in self._copied.values():
            del task.next_copy

    def _with_own_ids(self, head: Task) -> list[Task]:
        """Return a task and its `.then(...)` tasks. Replace each that already has a job by a copy with a new id.

        Raises ValueError for an option that cannot be used, and what a task's `check_arguments` raises.
        """
        tasks: list[Task] = []
        task: Task | None = head
        while task is not None:
            check_options(task)
            if (check := getattr(task, "check_arguments", None)) is not None:
                check(*task.args, **task.kwargs)
            given = task
            task = self._latest.get(given.id, given)
            while task.id in self._tasks or getattr(task, "submitted", False):
                task = self._copy(task)
            self._latest[given.id] = task
            if tasks and task is not given:
                tasks[-1].on_complete = task
            self._tasks[task.id] = task
            tasks.append(task)
            task = task.on_complete
        return tasks

    def _copy(self, task: Task) -> Task:
        """Return a copy of a task with a new id.

        The copy is kept on the task until it is submitted. So a submit that is repeated after a failure uses the same id, and
        makes no second job.
        """
        if not hasattr(task, "next_copy"):
            task.next_copy = copy.copy(task)
            task.next_copy.id = task.create_id()
            task.next_copy.revoke_id = f"r:{task.next_copy.id}"
            task.next_copy.submitted = False
        self._copied[task.id] = task
        next_copy: Task = task.next_copy
        return next_copy

    def _chord(self, planned: chord, follower: str | None = None, index: int | None = None) -> ChordResult:
        size = len(planned.tasks)
        callback, *after = self._pipeline(
            planned.callback, pending=size, chord_size=size, follower=follower, index=index
        )
        last = []  # the last task of each member's pipeline
        for i, member in enumerate(planned.tasks):
            if isinstance(member, group):
                raise ValueError("cannot use `group` as a chord member - use .then() to convert to a `chord` first.")
            if isinstance(member, chord):
                inner = self._chord(member, follower=callback.id, index=i)
                last.append(list(inner.pipeline_results or [inner.callback])[-1].task)
            else:
                last.append(self._pipeline(member, follower=callback.id, index=i)[-1])
        handles = self._handles([callback, *after])
        return ChordResult(self._handles(last), handles[0], ResultGroup(handles) if after else None)

    def _handles(self, tasks: list[Task]) -> list[JobHandle]:
        return [self._handle(task) for task in tasks]

    def row(self, task: Task, **links: Any) -> NewJob:
        """Return the row of one task. `links`: its owner, and the columns that link it to other jobs.

        Raises ArgumentsTooLarge.
        """
        name = self._messages.name_of(type(task))
        self._check_name(name)
        options = SubmitOptions.of(task)
        unique_key = options.key(task, name)
        run_id = task.id if unique_key is None else str(uuid.uuid4())
        with in_calendar("expires", task.expires):
            task.resolve_expires(self._messages.utc)
        with in_calendar("eta", task.eta):
            run_at = None if options.run_in is not None or task.eta is None else self._messages.to_epoch(task.eta)
            utc(run_at)
        relative = task.expires and not isinstance(task.expires, datetime)
        alone = copy.copy(task)  # the jobs that follow it have rows of their own
        alone.on_complete = alone.chord_config = None
        alone.id, alone.revoke_id = run_id, f"r:{run_id}"
        with naming() as files:
            message = self._message(alone, name)
        return NewJob(
            id=run_id,
            handle=None if unique_key is None else task.id,
            unique_key=unique_key,
            cache_for=None if options.cache_for is None else in_seconds(options.cache_for),
            task=name,
            message=message,
            files=sorted(files),
            queue=options.queue,
            priority=float(task.priority or 0),
            run_in=None if options.run_in is None else in_seconds(options.run_in),
            run_at=run_at,
            expires_in=in_seconds(task.expires) if relative else None,
            expires_at=self._messages.to_epoch(task.expires_resolved) if task.expires and not relative else None,
            retries=int(task.retries),
            retry_delay=in_seconds(task.retry_delay),
            request=request_id(),
            **links,
        )

    def _message(self, task: Task, name: str) -> bytes:
        message = self._messages.write(task)
        limit = getattr(task, "max_arguments", None) or self._max_arguments
        if len(message) > limit:
            raise ArgumentsTooLarge(
                f"The arguments of {name} take {len(message):,} bytes, more than the limit of {limit:,} (max_arguments). "
                "Save large data with huey.files.save(...), and pass the File.",
                len(message),
                limit,
            )
        # Workers of the last version read messages up to the queue's limit, and no compressed ones.
        return message if len(message) <= self._max_arguments else self._messages.compressed(message)


def as_result(handles: list[JobHandle]) -> JobHandle | ResultGroup:
    """Return a pipeline's handles as Huey's enqueue does: one handle, or a group of several."""
    return ResultGroup(handles) if len(handles) > 1 else handles[0]
