"""Messages are pickled by Huey and signed with SECRET_KEY: nothing is unpickled whose signature does not verify."""

import hmac
import io
import os
import pickle
import secrets
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from huey.serializer import Serializer, SignedSerializer

from jobqueue.database.database import Database

# Present modules of classes that stored messages may name by the module of an earlier version. Exceptions are among them because
# a job's error handler gets the exception as an argument.
MOVED: dict[tuple[str, str], str] = {
    ("jobqueue.checks", "Check"): "jobqueue",
    ("jobqueue.claim", "TaskExited"): "jobqueue.execution.attempt",
    ("jobqueue.dataset", "DatasetInfo"): "jobqueue",
    ("jobqueue.dataset", "EmptyDataset"): "jobqueue",
    ("jobqueue.dataset", "NotReady"): "jobqueue",
    ("jobqueue.dataset", "VersionNotFound"): "jobqueue",
    ("jobqueue.handle", "JobNotFound"): "jobqueue",
    ("jobqueue.handle", "Progress"): "jobqueue",
    ("jobqueue.handle", "Unreadable"): "jobqueue",
    ("jobqueue.history", "Event"): "jobqueue",
    ("jobqueue.ledger", "State"): "jobqueue",
    ("jobqueue.logs", "LogLine"): "jobqueue",
    ("jobqueue.phrases", "NotUnderstood"): "jobqueue",
    ("jobqueue.plan", "ArgumentsTooLarge"): "jobqueue",
    ("jobqueue.plan", "QueueUnavailable"): "jobqueue",
    ("jobqueue.rules", "Cron"): "jobqueue.schedules.recurrence",
    ("jobqueue.rules", "Period"): "jobqueue.schedules.recurrence",
    ("jobqueue.rules", "Place"): "jobqueue.schedules.recurrence",
    ("jobqueue.rules", "Sun"): "jobqueue.schedules.recurrence",
    ("jobqueue.schedule", "Schedule"): "jobqueue",
    ("jobqueue.timetable", "ScheduleNotFound"): "jobqueue",
    ("jobqueue.workers", "Worker"): "jobqueue",
}


class KeyRing(Serializer):
    """Signs with the first key and verifies with any, so that a key can be rotated while jobs wait under the old one.

    The keys are asked for when they are used: importing an app writes no key file.
    """

    def __init__(self, keys: Callable[[], Sequence[str]]) -> None:
        super().__init__()
        self._keys = keys

    def derived(self, purpose: str) -> list[str]:
        """Keys for something else than jobs, the one to sign with first: whoever learns them cannot sign a job."""
        return [hmac.digest(key.encode(), purpose.encode(), "sha256").hex() for key in self._keys()]

    @property
    def _signers(self) -> list[SignedSerializer]:
        return [_signer(key) for key in self._keys()]

    def _serialize(self, data: Any) -> bytes:
        signed: bytes = self._signers[0]._serialize(data)
        return signed

    def _deserialize(self, data: bytes) -> Any:
        """Raises ValueError when no key verifies it."""
        for signer in self._signers:
            try:
                message = signer._unsign(data)
            except ValueError:
                continue
            return _Unpickler(io.BytesIO(message)).load()
        raise ValueError("The signature does not verify: it was written under another SECRET_KEY, or is not whole.")


class _Unpickler(pickle.Unpickler):
    """Unpickler that finds the classes of messages from earlier versions."""

    def find_class(self, module: str, name: str) -> Any:
        """Return a class, from its present module if it has moved."""
        return super().find_class(MOVED.get((module, name), module), name)


@cache
def _signer(key: str) -> SignedSerializer:
    return SignedSerializer(secret=key)


@cache
def development_key(path: Path) -> str:
    """The key kept in a file, made once if there is none, readable by its owner alone."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_urlsafe(48))
        try:
            os.link(draft, path)  # whoever starts at the same moment: one key wins, and all read that
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text().strip()


def development_key_file(database: Database) -> Path | None:
    """Return where the development key of a database is kept, or None for a database in memory, which no process shares."""
    if database.in_memory:
        return None
    return (database.path or Path("var", "ledger").absolute()).with_name("secret_key")
