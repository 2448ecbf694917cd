"""What one submit adds to the ledger: a row for the task, and rows for all that follows from it.

The next of a pipeline and the callback of a chord are rows from the submit on, waiting for those before them; so they are
lost no more than the job itself, and released once.
"""

import copy
from datetime import datetime
from typing import TYPE_CHECKING, Any

from huey import signals
from huey.api import ChordResult, ResultGroup, Task, chord, group

from jobqueue.context import current_job
from jobqueue.handle import JobHandle
from jobqueue.ledger import NewJob
from jobqueue.queues import DEFAULT
from jobqueue.task import seconds

if TYPE_CHECKING:
    from jobqueue.huey import DurableHuey


class Plan:
    """Rows for tasks, groups and chords. Their owner is the task's own, or that of the job which submits them."""

    def __init__(self, huey: "DurableHuey") -> None:
        self.huey = huey
        self.rows: list[NewJob] = []
        self._tasks: dict[str, Task] = {}  # by the ids that they have in the ledger

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
        owner = getattr(head, "owner", None) or current_job().owner
        for task, before, after in zip(tasks, [None, *tasks], [*tasks[1:], None], strict=False):
            self.rows.append(
                self._row(
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

    def _each_its_own(self, head: Task) -> list[Task]:
        """A task and its `.then(...)`s, with a new id for each that stands for a job already."""
        tasks: list[Task] = []
        task: Task | None = head
        while task is not None:
            if task.id in self._tasks or getattr(task, "submitted", False):
                task = copy.copy(task)
                task.id = task.create_id()
                task.revoke_id = f"r:{task.id}"
                if tasks:
                    tasks[-1].on_complete = task
            self._tasks[task.id] = task
            tasks.append(task)
            task = task.on_complete
        return tasks

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

    def _row(self, task: Task, **links: Any) -> NewJob:
        task.resolve_expires(self.huey.utc)
        relative = task.expires and not isinstance(task.expires, datetime)
        run_in = getattr(task, "run_in", None)
        alone = copy.copy(task)  # what follows it has rows of its own
        alone.on_complete = alone.chord_config = None
        return NewJob(
            id=task.id,
            task=self.huey._registry.task_to_string(type(task)),
            message=self.huey.serialize_task(alone),
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


def as_result(handles: list[JobHandle]) -> JobHandle | ResultGroup:
    return ResultGroup(handles) if len(handles) > 1 else handles[0]
