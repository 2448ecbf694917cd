"""What the ledger knows of a Dash callback's job beyond the job: what it says while it runs, and whom its result answers.

An update is never taken away by reading it. It has a number, and a page says which was the last that it was told: so an
answer that was lost on its way is given again, and two updates between two polls both arrive.
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

# Of a look at a callback's job, the first row is the job, and the others are what it has said since.
CALLBACK = """
SELECT 0 AS seq, '' AS name, results.body, jobs.state, jobs.error, jobs.owner, results.media_type
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

# Headers between assets/callbacks.js and manager.py.
TOLD = "Callback-Told"  # the number of the last update that a page was told

CALL = "Callback-Call"  # names a call, which is one however often it is asked
KEPT = "Callback-Kept"  # the token of a job whose page is to find it again after a reload
PROGRESS = "progress"  # the name of the one update that is a callback's progress; others are of properties
PROGRESS_INTERVAL = 0.2  # seconds between two writes of a callback's progress
ATTEMPT = 2**40  # numbers that an attempt may use
FOR_EVER = 1e12  # seconds


class Concealed:
    """An argument that nobody is shown: cookies, headers. Its value is read where a job asks for it, and only there."""

    def __init__(self, value: Any) -> None:
        self._pickled = pickle.dumps(value)

    def __repr__(self) -> str:
        return "<not shown>"

    def reveal(self) -> Any:
        return pickle.loads(self._pickled)


@dataclass(frozen=True)
class CallbackSnapshot:
    """One look at a callback's job. `state` is None for a job that is not there."""

    state: State | None
    answered: bool = False
    answer: Any = None  # what it returned, as Dash reads it from JSON; of an error what Dash keeps of one
    progress: list[Any] | None = None
    properties: dict[str, dict[str, Any]] = field(default_factory=dict)  # new values, by component id and property
    told: int = 0  # the number of the last update in it
    owner: str | None = None


def snapshot(ledger: Ledger, job_id: str, told: int) -> CallbackSnapshot:
    """What is there of a job, and what it has said since the update of that number."""
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
        return _error(job["error"] or "Its result is not kept any more.")
    if job["state"] == State.FAILED:
        return _error(job["error"], json.loads(job["body"])["traceback"])
    return json.loads(codec.decode(job["media_type"], job["body"]))


def _error(sentence: str, traceback: str = "") -> dict[str, Any]:
    return {"background_callback_error": {"msg": sentence, "tb": traceback}}


def _after(before: Any, value: Any) -> Any:
    """Of two updates of one property the later; of two patches both."""
    if _is_patch(before) and _is_patch(value):
        return {**before, "operations": [*before["operations"], *value["operations"]]}
    return value


def _is_patch(value: Any) -> bool:
    return isinstance(value, dict) and "__dash_patch_update" in value


def answered_by(ledger: Ledger, question: str, expire: float | None) -> str | None:
    """The id of a job whose result answers it; None where there is none, or nobody has asked for `expire` seconds."""
    with ledger.database.statement() as tx:
        row = tx.one(FIND_ANSWER, question=question, expire=FOR_EVER if expire is None else expire)
    return None if row is None else row["job_id"]


def to_be_answered_by(ledger: Ledger, question: str, job_id: str) -> None:
    """From when this job succeeds."""
    with ledger.database.statement() as tx:
        tx.run(SAVE_ANSWER, question=question, id=job_id)


class Teller:
    """Writes what a running job says. A job that has lost its claim is told so, with ClaimLost."""

    def __init__(self, ledger: Ledger, job: CurrentJob) -> None:
        self._ledger = ledger
        self._job = job
        self._numbers: Iterator[int] = itertools.count(job.attempt * ATTEMPT)
        self._lock = threading.Lock()
        self._latest: str | None = None  # progress that waits for the pause to be over
        self._pause: threading.Timer | None = None

    def property(self, component: str, name: str, value: str, add: bool) -> None:
        """A property has this value, in JSON, from now on; one to `add` counts beside those before it."""
        text = f"[{json.dumps(component)}, {json.dumps(name)}, {value}]"
        with self._lock:
            number = next(self._numbers)
            key = f"{component}.{name}" + (f" {number}" if add else "")
            self._job.patiently(lambda: self._say(key, number, text))

    def progress(self, text: str) -> None:
        """Its progress in JSON; of several in a moment the last is written, when the moment is over."""
        with self._lock:
            if self._pause is not None:
                self._latest = text
                return
            self._pause = threading.Timer(PROGRESS_INTERVAL, self._go_on)
            self._pause.daemon = True
            self._pause.start()
            self._write_progress(text)

    def _go_on(self) -> None:
        with self._lock:
            self._pause = None
            text, self._latest = self._latest, None
        if text is not None:
            with contextlib.suppress(ClaimLost):
                self.progress(text)

    def close(self) -> None:
        """It has nothing more to say: what waits is written."""
        with self._lock:
            if self._pause is not None:
                self._pause.cancel()
            text, self._latest = self._latest, None
            if text is not None:
                self._write_progress(text)

    def _write_progress(self, text: str) -> None:
        try:
            self._say(PROGRESS, next(self._numbers), text)
        except DatabaseUnavailable as error:
            logger.warning("The progress of job %s is not written: %s", self._job.id, error)

    def _say(self, name: str, number: int, text: str) -> None:
        if not isinstance(self._job, ClaimedJob):
            return
        with self._ledger.database.statement() as tx:
            said = {"id": self._job.id, "token": self._job.token, "name": name, "seq": number, "body": text.encode()}
            if not tx.run(SAVE_CALLBACK_UPDATE, **said):
                raise ClaimLost(f"Job {self._job.id} is no longer held under token {self._job.token}.")
