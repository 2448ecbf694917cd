"""Updates of a background callback's job: progress and properties while it runs, and the calls that its result answers.

Reading an update does not remove it. Updates are numbered, and a page sends the number of the last one that it got. So a
lost answer is sent again, and two updates between two polls both arrive.
"""

import contextlib
import itertools
import json
import logging
import pickle
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from jobqueue import codec
from jobqueue.database.database import DatabaseUnavailable, Row
from jobqueue.execution.current_job import ClaimedJob, CurrentJob
from jobqueue.interrupts import ClaimLost
from jobqueue.ledger.ledger import Ledger
from jobqueue.ledger.states import State
from jobqueue.text import ERROR

# The first row is the job, the others are its updates since `seen`.
CALLBACK = f"""
SELECT 0 AS seq, '' AS name, results.body, jobs.state, substr(jobs.error, 1, {ERROR}) AS error, jobs.owner, results.media_type
FROM jobs LEFT JOIN results ON results.job_id = jobs.id
WHERE jobs.id = :id
UNION ALL
SELECT seq, name, body, '', '', NULL, NULL FROM callback_updates WHERE job_id = :id AND seq > :seen
ORDER BY seq
"""

SAVE_CALLBACK_UPDATE = """
INSERT INTO callback_updates (job_id, name, seq, body)
SELECT id, :name, :seq, :body FROM jobs WHERE id = :id AND token = :token
ON CONFLICT (job_id, name) DO UPDATE SET seq = excluded.seq, body = excluded.body
"""

FIND_ANSWER = """
UPDATE callback_answers SET used_at = NOW
WHERE question = :question
  AND EXISTS (SELECT 1 FROM jobs JOIN results ON results.job_id = jobs.id
              WHERE jobs.id = callback_answers.job_id AND jobs.state = 'succeeded'
                AND (jobs.ended_at > NOW - :expire OR callback_answers.used_at > NOW - :expire))
RETURNING job_id
"""

SAVE_ANSWER = """
INSERT INTO callback_answers (question, job_id, used_at) VALUES (:question, :id, NOW)
ON CONFLICT (question) DO UPDATE SET job_id = excluded.job_id, used_at = excluded.used_at
"""

logger = logging.getLogger("jobqueue.callbacks")

# Headers between assets/reconnect.js and manager.py.
TOLD = "Callback-Told"  # the number of the last update that the page got
CALL = "Callback-Call"  # the id of a call, the same when its request is repeated
KEPT = "Callback-Kept"  # the token by which a reloaded page finds its job
PROGRESS = "progress"  # the name of the update with the progress; the others are properties
PROGRESS_INTERVAL = 0.2  # seconds between two writes of progress
ATTEMPT = 2**40  # update numbers of one attempt
FOR_EVER = 1e12  # seconds


class Concealed:
    """An argument that no page shows, such as cookies and headers. Only the job reads its value.

    :param encrypted: a part that nobody reads in the database, either; see jobqueue.dash.request_context.
    """

    encrypted = b""  # messages of earlier versions have none

    def __init__(self, value: Any, encrypted: bytes = b"") -> None:
        self._pickled = pickle.dumps(value)
        self.encrypted = encrypted

    def __repr__(self) -> str:
        return "<not shown>"

    def reveal(self) -> Any:
        """Return the value."""
        return pickle.loads(self._pickled)


# The path in stored messages. Workers of the last version and of this one read each other's.
Concealed.__module__ = "jobqueue.callbacks"


@dataclass(frozen=True)
class CallbackSnapshot:
    """A callback's job as a request reads it."""

    state: State | None  # None: no such job
    answered: bool = False
    answer: Any = None  # the function's value as Dash's JSON, or Dash's form of an error
    progress: list[Any] | None = None
    properties: dict[str, dict[str, Any]] = field(default_factory=dict)  # new values, by component id and property
    told: int = 0  # the number of the last update
    owner: str | None = None


def snapshot(ledger: Ledger, job_id: str, told: int) -> CallbackSnapshot:
    """Read a job, and its updates after the one with the number `told`."""
    with ledger.database.statement() as tx:
        rows = tx.all(CALLBACK, id=job_id, seen=told)
    if not rows or not rows[0]["state"]:
        return CallbackSnapshot(None)
    job, *updates = rows
    progress, properties = None, dict[str, dict[str, Any]]()
    for update in updates:
        told = update["seq"]
        if update["name"] == PROGRESS:
            progress = json.loads(update["body"])
        else:
            component, name, value = json.loads(update["body"])
            at = properties.setdefault(component, {})
            at[name] = _after(at.get(name), value)
    answered = job["state"] in (State.SUCCEEDED, State.FAILED)
    return CallbackSnapshot(
        State(job["state"]), answered, _answer(job) if answered else None, progress, properties, told, job["owner"]
    )


def _answer(job: Row) -> Any:
    if job["media_type"] is None:
        return _error(job["error"] or "The result has been deleted.")
    if job["state"] == State.FAILED:
        return _error(job["error"], json.loads(job["body"])["traceback"])
    return json.loads(codec.decode(job["media_type"], job["body"]))


def _error(sentence: str, traceback: str = "") -> dict[str, Any]:
    return {"background_callback_error": {"msg": sentence, "tb": traceback}}


def _after(before: Any, value: Any) -> Any:
    """Return the later of two updates of a property, or both if they are patches."""
    if _is_patch(before) and _is_patch(value):
        return {**before, "operations": [*before["operations"], *value["operations"]]}
    return value


def _is_patch(value: Any) -> bool:
    return isinstance(value, dict) and "__dash_patch_update" in value


def answered_by(ledger: Ledger, question: str, expire: float | None) -> str | None:
    """Return the id of a job whose result answers a question. Return None if there is none, or it has expired."""
    with ledger.database.statement() as tx:
        row = tx.one(FIND_ANSWER, question=question, expire=FOR_EVER if expire is None else expire)
    return None if row is None else row["job_id"]


def to_be_answered_by(ledger: Ledger, question: str, job_id: str) -> None:
    """Note that this job's result answers a question, once the job has succeeded."""
    with ledger.database.statement() as tx:
        tx.run(SAVE_ANSWER, question=question, id=job_id)


class UpdateWriter:
    """Writes the updates of a running job. Raises ClaimLost if the job has lost its claim."""

    def __init__(self, ledger: Ledger, job: CurrentJob) -> None:
        self._ledger = ledger
        self._job = job
        self._numbers: Iterator[int] = itertools.count(job.attempt * ATTEMPT)
        self._lock = threading.Lock()
        self._latest: str | None = None  # progress to write after the pause
        self._pause: threading.Timer | None = None

    def property(self, component: str, name: str, value: str, add: bool) -> None:
        """Set a property.

        :param value: in JSON.
        :param add: keep earlier values of the property, as this one is a patch.
        """
        text = f"[{json.dumps(component)}, {json.dumps(name)}, {value}]"
        with self._lock:
            number = next(self._numbers)
            key = f"{component}.{name}" + (f" {number}" if add else "")
            self._job.patiently(lambda: self._write(key, number, text))

    def progress(self, text: str) -> None:
        """Set the progress, in JSON. Several values in quick succession are written as one, the last."""
        with self._lock:
            if self._pause is not None:
                self._latest = text
                return
            self._pause = threading.Timer(PROGRESS_INTERVAL, self._end_pause)
            self._pause.daemon = True
            self._pause.start()
            self._write_progress(text)

    def _end_pause(self) -> None:
        with self._lock:
            self._pause = None
            text, self._latest = self._latest, None
        if text is not None:
            with contextlib.suppress(ClaimLost):
                self.progress(text)

    def close(self) -> None:
        """Write the progress that still waits."""
        with self._lock:
            if self._pause is not None:
                self._pause.cancel()
            text, self._latest = self._latest, None
            if text is not None:
                self._write_progress(text)

    def _write_progress(self, text: str) -> None:
        try:
            self._write(PROGRESS, next(self._numbers), text)
        except DatabaseUnavailable as error:
            logger.warning("Cannot write the progress of job %s: %s", self._job.id, error)

    def _write(self, name: str, number: int, text: str) -> None:
        if not isinstance(self._job, ClaimedJob):
            return
        with self._ledger.database.statement() as tx:
            said = {"id": self._job.id, "token": self._job.token, "name": name, "seq": number, "body": text.encode()}
            if not tx.run(SAVE_CALLBACK_UPDATE, **said):
                raise ClaimLost(f"Job {self._job.id} is no longer held under token {self._job.token}.")
