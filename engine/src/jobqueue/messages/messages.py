"""Read and write task messages, look up task names, and convert Huey's naive times."""

from datetime import UTC, datetime, timedelta
from typing import Any

from huey.api import Task, TaskWrapper
from huey.registry import Message

from jobqueue.messages.registry import DurableRegistry
from jobqueue.messages.signing import KeyRing


class Messages:
    """The message format of one DurableHuey.

    :param registry: the tasks in this process's code.
    :param serializer: signs and verifies messages, as KeyRing does.
    :param utc: whether Huey's naive times are in UTC rather than in the host's local time.
    """

    def __init__(self, registry: DurableRegistry, serializer: Any, utc: bool) -> None:
        self.registry = registry
        self.serializer = serializer
        self.utc = utc

    def write(self, task: Task) -> bytes:
        """Return the task as a signed message."""
        data: bytes = self.serializer.serialize(self.registry.create_message(task))
        return data

    def compressed(self, data: bytes) -> bytes:
        """Return a signed message in fewer bytes. A serializer of the app's own leaves it as it is."""
        return self.serializer.compressed(data) if isinstance(self.serializer, KeyRing) else data

    def read(self, data: bytes) -> Task:
        """Return the task of a message.

        :raises ValueError: if no key verifies the signature.
        :raises HueyException: if this process's code does not have the task.
        """
        return self.registry.create_task(self.unpack(data))

    def unpack(self, data: bytes) -> Message:
        """Return a message's content. This process's code need not have its task.

        :raises ValueError: if no key verifies the signature.
        """
        message: Message = self.serializer.deserialize(data)
        return message

    # --- names of tasks ---

    def task_names(self) -> list[str]:
        """Return the full names of all tasks in this process's code."""
        return list(self.registry._registry)

    def tasks_by_name(self) -> dict[str, type[Task]]:
        """Return the classes of all tasks in this process's code, by full name."""
        return dict(self.registry._registry)

    def name_of(self, task: TaskWrapper | type[Task]) -> str:
        """Return a task's full name, as in Job.task: module.function."""
        return str(self.registry.task_to_string(task.task_class if isinstance(task, TaskWrapper) else task))

    # --- times ---

    def to_epoch(self, moment: datetime) -> float:
        """Return one of Huey's naive times as seconds since the epoch."""
        return (moment.replace(tzinfo=UTC) if self.utc else moment).timestamp()

    def from_epoch(self, seconds: float) -> datetime:
        """Return seconds since the epoch as one of Huey's naive times."""
        if self.utc:
            return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
        return datetime.fromtimestamp(seconds)


def in_seconds(delay: float | timedelta) -> float:
    """Return a delay, given in seconds or as a timedelta, in seconds."""
    return delay.total_seconds() if isinstance(delay, timedelta) else float(delay)
