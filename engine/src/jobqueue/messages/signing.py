"""Sign messages with SECRET_KEY, and unpickle them only after verifying the signature."""

import copyreg
import hmac
import io
import os
import pickle
import secrets
import zlib
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

COMPRESSED = b"\x78"  # the first byte of what zlib makes. A pickle begins with another


class KeyRing(Serializer):
    """A serializer that signs with the first key and verifies with any of them.

    So a key can be rotated while jobs that the old key signed are still queued.

    :param keys: returns the keys, the one to sign with first. It is called when a key is needed, so importing an app does not write
        a key file.
    """

    def __init__(self, keys: Callable[[], Sequence[str]]) -> None:
        super().__init__()
        self._keys = keys

    def derived(self, purpose: str) -> list[str]:
        """Return keys for another purpose than jobs, the one to sign with first. A derived key cannot sign a job.

        :param purpose: any name; each purpose has other keys.
        """
        return [hmac.digest(key.encode(), purpose.encode(), "sha256").hex() for key in self._keys()]

    @property
    def _signers(self) -> list[SignedSerializer]:
        return [_signer(key) for key in self._keys()]

    def _serialize(self, data: Any) -> bytes:
        signer = self._signers[0]
        pickled = io.BytesIO()
        _Pickler(pickled, signer.pickle_protocol).dump(data)
        signed: bytes = signer._sign(pickled.getvalue())
        return signed

    def compressed(self, signed: bytes) -> bytes:
        """Return a message that was serialized with the present key in fewer bytes. It is deserialized like any other."""
        signer = self._signers[0]
        message: bytes = signer._sign(zlib.compress(signer._unsign(signed), level=1))
        return message

    def _deserialize(self, data: bytes) -> Any:
        """Verify and unpickle a message.

        :raises ValueError: if no key verifies the signature.
        """
        for signer in self._signers:
            try:
                message = signer._unsign(data)
            except ValueError:
                continue
            if message.startswith(COMPRESSED):
                message = zlib.decompress(message)
            return _Unpickler(io.BytesIO(message)).load()
        raise ValueError(
            "The signature does not verify: the message was signed with another SECRET_KEY, or was altered or truncated. If the "
            "key was changed, add the old one to SECRET_KEY_FALLBACKS."
        )


class _Reducers:
    """The reducers that libraries have registered with copyreg, without tblib's.

    Dask imports tblib, which registers all exceptions. An exception would then take its traceback and its context along, whatever they
    hold, and only processes with tblib could read the message.
    """

    def __getitem__(self, kind: type) -> Any:
        reducer = copyreg.dispatch_table[kind]
        if (getattr(reducer, "__module__", None) or "").startswith("tblib."):
            raise KeyError(kind)
        return reducer


class _Pickler(pickle.Pickler):
    dispatch_table: Any = _Reducers()


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
    """Return the key in this file. Create the file with a random key if it does not exist. Only its owner can read it."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_urlsafe(48))
        try:
            os.link(draft, path)  # atomic: if several processes start at once, one key wins and all use it
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text().strip()


def development_key_file(database: Database) -> Path | None:
    """Return the path of a database's development key, or None for a database in memory, which no other process can reach."""
    if database.in_memory:
        return None
    return (database.path or Path("var", "ledger").absolute()).with_name("secret_key")
