"""The rows of one submit: one for the task, and one for each job that follows it.

The next job of a pipeline and the callback of a chord are rows from the submit on, in the state waiting. So they are as
durable as the job itself, and are released once.
"""

import copy
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any

from huey import signals
from huey.api import ChordResult, ResultGroup, Task, chord, group

from jobqueue.execution.current_job import current_job
from jobqueue.jobs.handle import JobHandle
from jobqueue.ledger.queues import DEFAULT
from jobqueue.ledger.records import NewJob
from jobqueue.ledger.unique import key_of, own_key
from jobqueue.messages.messages import Messages, in_seconds

Emit = Callable[[str, Task], None]  # sends one of Huey's signals


class ArgumentsTooLarge(ValueError):
    """A task's arguments take more bytes than a submit may hold; nothing of it was accepted."""


class Submission:
    """Rows for tasks, groups and chords. Their owner is the task's own, or else the owner of the job that submits them.

    :param max_arguments: bytes that one job's message may take.
    :param emit: sends Huey's signals for each task.
    :param handle: makes the handle that a submit returns.
    """

    def __init__(self, messages: Messages, max_arguments: int, emit: Emit, handle: Callable[[Task], JobHandle]) -> None:
        self._messages = messages
        self._max_arguments = max_arguments
        self._emit = emit
        self._handle = handle
        self.rows: list[NewJob] = []
        self._tasks: dict[str, Task] = {}  # by the ids that they have in the ledger
        self._again: dict[str, Task] = {}  # those that another stands for, as they stand for a job already
        self._last: dict[str, Task] = {}  # what stood for a task, by its id, when it was last added

    def add(self, task: Task | group | chord) -> Any:
        """Add rows for a task and what follows it. Return what Huey's enqueue returns: a handle, a ResultGroup or a ChordResult."""
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
        """Rows for a task and its `.then(...)`s. Returns these tasks.

        `pending`, `chord_size`: where the first is a chord's callback, how many it waits for, and has.
        `follower`, `index`: the chord callback that waits for the last of them, and its place in that chord.
        """
        tasks = self._each_its_own(head)
        if any(_is_unique(task) for task in tasks) and (
            tasks[1:] or head.on_error or follower or chord_size is not None
        ):
            raise ValueError(
                "A unique job stands alone: several submissions may share it, so it follows nothing, and nothing follows it "
                "(.then, .error, chord). Submit it by itself, or without that: .using(unique=False)."
            )
        owner = getattr(head, "owner", None) or current_job().owner
        for task, before, after in zip(tasks, [None, *tasks], [*tasks[1:], None], strict=False):
            self.rows.append(
                self.row(
                    task,
                    owner=getattr(task, "owner", None) or owner,
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
        """Note that the ledger has the rows. Submitting one of these tasks again makes a new job, as in Huey."""
        for task in self._tasks.values():
            task.submitted = True
        for task in self._again.values():
            del task.again

    def _each_its_own(self, head: Task) -> list[Task]:
        """A task and its `.then(...)`s, with a new id for each that stands for a job already."""
        tasks: list[Task] = []
        task: Task | None = head
        while task is not None:
            given = task
            task = self._last.get(given.id, given)
            while task.id in self._tasks or getattr(task, "submitted", False):
                task = self._another(task)
            self._last[given.id] = task
            if tasks and task is not given:
                tasks[-1].on_complete = task
            self._tasks[task.id] = task
            tasks.append(task)
            task = task.on_complete
        return tasks

    def _another(self, task: Task) -> Task:
        """The same under a new id: the one that it was given in a submit that came to nothing, if it is tried again."""
        if not hasattr(task, "again"):
            again = copy.copy(task)
            again.id = again.create_id()
            again.revoke_id = f"r:{again.id}"
            again.submitted = False
            task.again = again
        self._again[task.id] = task
        another: Task = task.again
        return another

    def _chord(self, planned: chord, follower: str | None = None, index: int | None = None) -> ChordResult:
        size = len(planned.tasks)
        callback, *after = self._pipeline(
            planned.callback, pending=size, chord_size=size, follower=follower, index=index
        )
        last = []  # of each member's pipeline
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
        """Of a task alone; `links` are what it follows, and what follows it."""
        name = self._messages.name_of(type(task))
        unique_key, cache_for = self._unique_key(task, name), getattr(task, "cache_for", None)
        run_id = task.id if unique_key is None else str(uuid.uuid4())
        task.resolve_expires(self._messages.utc)
        relative = task.expires and not isinstance(task.expires, datetime)
        run_in = getattr(task, "run_in", None)
        alone = copy.copy(task)  # what follows it has rows of its own
        alone.on_complete = alone.chord_config = None
        alone.id, alone.revoke_id = run_id, f"r:{run_id}"
        message = self._messages.write(alone)
        if len(message) > self._max_arguments:
            raise ArgumentsTooLarge(
                f"The arguments of {name} take {len(message):,} bytes, and a submit may hold {self._max_arguments:,} "
                "(max_arguments). Save what is large to a file or a table, and pass its name."
            )
        return NewJob(
            id=run_id,
            handle=None if unique_key is None else task.id,
            unique_key=unique_key,
            cache_for=None if cache_for is None else in_seconds(cache_for),
            task=name,
            message=message,
            queue=getattr(task, "queue", DEFAULT),
            priority=task.priority or 0,
            run_in=run_in,
            run_at=None if run_in is not None or task.eta is None else self._messages.to_epoch(task.eta),
            expires_in=in_seconds(task.expires) if relative else None,
            expires_at=self._messages.to_epoch(task.expires_resolved) if task.expires and not relative else None,
            retries=task.retries,
            retry_delay=task.retry_delay,
            **links,
        )

    def _unique_key(self, task: Task, name: str) -> str | None:
        if not _is_unique(task):
            return None
        if getattr(task, "unique_key", None) is not None:  # of the job that it takes the place of
            return str(task.unique_key)
        if isinstance(key := getattr(task, "unique", True), str):
            return own_key(name, key)
        return key_of(name, getattr(task, "function", None), task.args, task.kwargs)


def _is_unique(task: Task) -> bool:
    """As its decorator or `.using` says; with `cache_for` too, unless `unique` is False."""
    unique = getattr(task, "unique", None)
    return unique is not False and (unique is not None or getattr(task, "cache_for", None) is not None)


def as_result(handles: list[JobHandle]) -> JobHandle | ResultGroup:
    return ResultGroup(handles) if len(handles) > 1 else handles[0]
