"""What one submit adds to the ledger: a row for the task, and rows for all that follows from it.

The next of a pipeline and the callback of a chord are rows from the submit on, waiting for those before them; so they are
lost no more than the job itself, and released once.
"""

import copy
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from huey import signals
from huey.api import ChordResult, ResultGroup, Task, chord, group

from jobqueue.context import current_job
from jobqueue.database import DatabaseUnavailable
from jobqueue.handle import JobHandle
from jobqueue.ledger import NewJob
from jobqueue.queues import DEFAULT
from jobqueue.task import seconds
from jobqueue.unique import key_of, own_key

if TYPE_CHECKING:
    from jobqueue.huey import DurableHuey


class QueueUnavailable(DatabaseUnavailable):
    """A submit came to nothing, as the database did not answer: trying again later may help.

    :param accepted: what `enqueue_many` had from the thousands before. Where an answer got lost more may have been accepted;
        to submit the same tasks again, those too, doubles none.
    """

    def __init__(self, message: str, accepted: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.accepted = list(accepted)


class ArgumentsTooLarge(ValueError):
    """A task's arguments take more bytes than a submit may hold; nothing of it was accepted."""


class Plan:
    """Rows for tasks, groups and chords. Their owner is the task's own, or that of the job which submits them."""

    def __init__(self, huey: "DurableHuey") -> None:
        self.huey = huey
        self.rows: list[NewJob] = []
        self._tasks: dict[str, Task] = {}  # by the ids that they have in the ledger
        self._again: dict[str, Task] = {}  # those that another stands for, as they stand for a job already
        self._last: dict[str, Task] = {}  # what stood for a task, by its id, when it was last added

    def add(self, task: Task | group | chord) -> Any:
        """Returns what Huey's enqueue does: a handle, a ResultGroup of a pipeline's or a group's, or a ChordResult."""
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
            self.huey._emit(signals.SIGNAL_ENQUEUED, task)
            if task.eta is not None:
                self.huey._emit(signals.SIGNAL_SCHEDULED, task)
        return tasks

    def accepted(self) -> None:
        """The ledger has it: each of these tasks, submitted again, stands for another job, as in Huey."""
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
        return [JobHandle(self.huey, task) for task in tasks]

    def row(self, task: Task, **links: Any) -> NewJob:
        """Of a task alone; `links` are what it follows, and what follows it."""
        name = self.huey._registry.task_to_string(type(task))
        unique_key, cache_for = self._unique_key(task, name), getattr(task, "cache_for", None)
        run_id = task.id if unique_key is None else str(uuid.uuid4())
        task.resolve_expires(self.huey.utc)
        relative = task.expires and not isinstance(task.expires, datetime)
        run_in = getattr(task, "run_in", None)
        alone = copy.copy(task)  # what follows it has rows of its own
        alone.on_complete = alone.chord_config = None
        alone.id, alone.revoke_id = run_id, f"r:{run_id}"
        message = self.huey.serialize_task(alone)
        if len(message) > self.huey.max_arguments:
            raise ArgumentsTooLarge(
                f"The arguments of {name} take {len(message):,} bytes, and a submit may hold {self.huey.max_arguments:,} "
                "(max_arguments). Save what is large to a file or a table, and pass its name."
            )
        return NewJob(
            id=run_id,
            handle=None if unique_key is None else task.id,
            unique_key=unique_key,
            cache_for=None if cache_for is None else seconds(cache_for),
            task=name,
            message=message,
            queue=getattr(task, "queue", DEFAULT),
            priority=task.priority or 0,
            run_in=run_in,
            run_at=None if run_in is not None or task.eta is None else self.huey._to_epoch(task.eta),
            expires_in=seconds(task.expires) if relative else None,
            expires_at=self.huey._to_epoch(task.expires_resolved) if task.expires and not relative else None,
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
