"""From a claim to its end: read the job, run the task, and write the end in one transaction.

Huey runs the task and reports how it went. Everything that Huey does after the task has returned is collected on the attempt.
`Executor` writes it together with the end, and repeats a failed write until it succeeds or is refused.
"""

import contextlib
import copy
import logging
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from huey import signals
from huey.api import PeriodicTask, Task
from huey.exceptions import TaskException, TaskTimeout
from huey.utils import SKIPPED

from jobqueue import codec, interrupts
from jobqueue.database.database import DatabaseUnavailable, Row
from jobqueue.execution import closed_files
from jobqueue.execution.attempt import Attempt, TaskExited, current_attempt, describe
from jobqueue.execution.current_job import ClaimedJob, working_for
from jobqueue.execution.job_log import logged
from jobqueue.files.file import readable
from jobqueue.ledger.ledger import Ledger
from jobqueue.ledger.records import ClaimRequest, FenceRefused, NewVersion, Outcome, error_result
from jobqueue.ledger.results import value_of
from jobqueue.ledger.states import State
from jobqueue.messages.messages import Messages
from jobqueue.text import INTERRUPTS, WITHIN, formatted, said, shown, trace_of

logger = logging.getLogger("jobqueue.executor")

READ_WITHIN = 60.0  # seconds to unpickle a job's arguments, whose classes run their own code then


class Host(Protocol):
    """Huey, as far as the executor calls it."""

    immediate: bool
    results: bool
    dask_scheduler: str | None  # the address of the cluster for `job.dask`

    def execute_as_huey(self, task: Task, timestamp: datetime) -> Any:
        """Run the task with Huey's hooks, signals, locks and timeouts."""

    def limit_time(self, seconds: float) -> contextlib.AbstractContextManager[None]:
        """Interrupt the block after this time, if the calling thread can be interrupted."""

    def schedule_retry(self, task: Task, at: float | None = None) -> None:
        """Note on the task's attempt that it is tried again."""


class Claimed(NamedTuple):
    """A job that was claimed: its row, and the token of the claim."""

    row: Row
    token: str


Holding = Callable[[str], contextlib.AbstractContextManager[None]]


def _holding_nothing(token: str) -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext()


@dataclass(frozen=True)
class Executed:
    """Result of an attempt that has ended.

    :param value: the value that the task returned.
    :param next: the worker's next job, if the statement that wrote the end claimed one.
    :param claim_in_doubt: whether that claim got no answer, so that the ledger may have given the worker an unknown job.
    """

    value: Any = None
    next: Claimed | None = None
    claim_in_doubt: bool = False


class Executor:
    """Runs the jobs of one queue.

    :param ledger: returns the ledger. Immediate mode has another one.
    :param host: runs a task as Huey does.
    :param lease_s: seconds that a claim holds unless it is renewed.
    :param max_arguments: the most bytes of the message of an error handler.
    :param max_result: the most bytes of a result, or of a step's value.
    :param published: called with each dataset version that was saved.
    """

    def __init__(
        self,
        ledger: Callable[[], Ledger],
        messages: Messages,
        host: Host,
        *,
        lease_s: float,
        max_arguments: int,
        max_result: float,
        published: Callable[[NewVersion], None],
    ) -> None:
        self._ledger = ledger
        self._messages = messages
        self._host = host
        self._lease_s = lease_s
        self._max_arguments = max_arguments
        self._max_result = max_result
        self._published = published

    # --- claiming ---

    def request(
        self,
        consumer: str,
        worker: str,
        announce: Callable[[str], object] = lambda token: None,
        queues: Sequence[str] | None = None,
        lately: Sequence[str] = (),
    ) -> ClaimRequest:
        """Return a request for the next job under a new token.

        :param announce: called with the token before the request is made.
        :param queues: as in ClaimRequest.
        :param lately: as in ClaimRequest.
        """
        token = uuid.uuid4().hex
        announce(token)
        return ClaimRequest(
            tasks=self._messages.task_names(),
            token=token,
            consumer=consumer,
            worker=worker,
            lease_s=self._lease_s,
            queues=queues,
            lately=lately,
        )

    def claim(self, request: Callable[[], ClaimRequest], holding: Holding = _holding_nothing) -> Task | None:
        """Claim the next due job whose task this code knows. Return None if no such job is due.

        :param holding: as in `task_of`.
        """
        while True:
            claim_request = request()
            row = self._ledger().claim(claim_request)
            if row is None:
                return None
            if (task := self.task_of(Claimed(row, claim_request.token), holding)) is not None:
                return task

    def task_of(self, claimed: Claimed, holding: Holding = _holding_nothing) -> Task | None:
        """Return the task to execute for a claimed row. If the job cannot be read, fail it and return None.

        Arguments run their own code when they are unpickled. Like a task, it can be cancelled, and its time is limited.

        :param holding: called with the claim's token. The worker holds the job inside of the context that it returns.
        """
        row, token = claimed
        job = ClaimedJob(self._ledger(), row["id"], token, row["attempt"], row["owner"], self._max_result)
        job.dask_scheduler = self._host.dask_scheduler
        attempt = Attempt(row, token, job)
        try:
            with holding(token), working_for(job), readable(job.read_file), self._host.limit_time(READ_WITHIN):
                task = self._read(job, row)
        except DatabaseUnavailable:
            with contextlib.suppress(DatabaseUnavailable):
                self._ledger().release_one(row["id"], token)
            raise
        except BaseException as error:
            attempt.claim_lost = issubclass(type(error), interrupts.ClaimLost)
            trace = formatted(error)
            logger.error("Cannot read job %s.\n%s", row["id"], trace)
            why = said(error, WITHIN)
            if issubclass(type(error), TaskTimeout | interrupts.OutOfTime):
                why = f"Its arguments were not unpickled within {READ_WITHIN:g} s."
            sentence = f"The job's message cannot be read, so it did not run: {why}"
            result = error_result(sentence, row["id"], trace)
            self._write_end(attempt, Outcome(state=State.FAILED, error=sentence, result=result))
            return None
        task.eta = None
        task.retries = row["retries"]
        task.retry_delay = row["retry_delay"]
        task.expires_resolved = None  # a job that started in time does not expire any more
        if row["expires_at"] is not None and row["attempt"] == 1:
            task.expires_resolved = self._messages.from_epoch(row["expires_at"])
        task.attempt = attempt
        attempt.task = task
        return task

    def _read(self, job: ClaimedJob, row: Row) -> Task:
        job.deadline, job.timeout_s = time.monotonic() + READ_WITHIN, READ_WITHIN
        try:
            interrupts.expose(job.token)
            task = self._messages.read(row["message"])
            self._give_input(task, row)
            return task
        finally:
            interrupts.shield()
            job.deadline = job.interrupted_at = None

    def _give_input(self, task: Task, row: Row) -> None:
        """Add arguments: the previous result for a task of a pipeline, the members' results for a chord's callback."""
        reading = self._ledger().reading
        if row["chord_size"] is not None:
            members = reading.chord_members(row["id"])
            if len(members) != row["chord_size"]:
                raise LookupError(f"only {len(members)} of the chord's {row['chord_size']} members still exist")
            task.extend_data(([_member_value(member) for member in members],))
        elif row["follows"] is not None:
            before = reading.result(row["follows"])
            if before is None:
                raise LookupError(f"the previous job, {row['follows']}, does not exist any more")
            task.extend_data(value_of(before))

    # --- running ---

    def execute(self, task: Task, next_request: Callable[[], ClaimRequest | None] | None = None) -> Executed:
        """Run a claimed task and write its end.

        :param next_request: returns the request to claim the next job together with the end, or None if the worker stops. With
            it, the task's value, error and arguments are freed before the end is written. Their destructors are the app's code,
            and the job can be cancelled only until then.
        """
        attempt: Attempt = task.attempt
        task.execute = lambda: self._run(attempt, task)
        value, executed = None, Executed()
        before = current_attempt.set(attempt)
        now = self._messages.from_epoch(attempt.now)
        logging_to = logged(self._ledger(), attempt.job, attempt.now)
        with attempt.bound(), working_for(attempt.job), readable(attempt.job.read_file), logging_to:
            began = time.monotonic()
            logger.info("Job %s starts, attempt %s.", attempt.id, attempt.job.attempt)
            try:
                value = self._host.execute_as_huey(task, now)
            except BaseException as error:  # not the task's: for example, a hook that exits
                if self._host.immediate and not issubclass(type(error), Exception):
                    raise
                self._fail(attempt, task, error)
            finally:
                closed_files.exit_if_closed()
                try:
                    outcome = self._outcome(attempt)
                    if next_request is not None:
                        value = None
                        attempt.free()
                    executed = self._finish(attempt, outcome, next_request or (lambda: None))
                    _log_end(attempt, outcome, time.monotonic() - began)
                finally:
                    current_attempt.reset(before)
        return Executed(value, executed.next, executed.claim_in_doubt)

    def _run(self, attempt: Attempt, task: Task) -> Any:
        """Run the task's own code, and that of its value or its error. Only this part of an attempt can be interrupted."""
        attempt.job.deadline, attempt.job.timeout_s = task._deadline, task.timeout
        try:
            attempt.started = True
            interrupts.expose(attempt.token)
            attempt.job.check_time()
            value = type(task).execute(task)
            kept = not isinstance(task, PeriodicTask) or getattr(task, "keep_result", False)
            if attempt.value_is_wanted or (self._host.results and kept):
                attempt.keep(value)
            elif (
                self._host.results and not attempt.is_fired
            ):  # a periodic task that a person started, perhaps from a page
                with contextlib.suppress(codec.ResultNotEncodable):
                    attempt.keep(value)
            return value
        except BaseException as error:
            attempt.raised = self._failure(attempt, task, error)
            if attempt.raised is error:
                raise
            raise attempt.raised.with_traceback(trace_of(error)) from None  # Huey logs it; the error may have no text
        finally:
            interrupts.shield()
            attempt.ending = True

    def _failure(self, attempt: Attempt, task: Task, error: BaseException) -> BaseException:
        """Describe the error of a task on its attempt. Return the exception to raise for Huey."""
        kind = type(error)
        attempt.exception = error
        attempt.claim_lost = issubclass(kind, interrupts.ClaimLost)
        if attempt.claim_lost or (self._host.immediate and issubclass(kind, KeyboardInterrupt)):
            return error
        if issubclass(kind, codec.ResultNotEncodable):
            task.retries = 0  # another attempt would return the same
        try:
            if issubclass(kind, interrupts.OutOfTime) and attempt.job.deadline is not None:
                attempt.exception = attempt.job.timed_out()
            elif not issubclass(kind, Exception):
                attempt.exception = TaskExited(f"The task exited with {shown(error, WITHIN)}.")
            attempt.description = describe(attempt.exception)._replace(traceback=formatted(error))
            if task.on_error is not None and not self._can_carry(task.on_error, attempt.exception):
                return TaskException(attempt.description.metadata(task))
            return attempt.exception
        except INTERRUPTS as interrupt:
            interrupt.__context__ = None  # formatting it would run the error's code again
            return self._failure(attempt, task, interrupt)

    def _can_carry(self, on_error: Task, exception: BaseException) -> bool:
        """Return whether the message of an error handler can carry an exception."""
        handler = copy.copy(on_error)
        try:
            handler.extend_data(exception)
            message = self._messages.write(handler)
            self._messages.unpack(message)
            is_passed = any(argument is exception for argument in handler.args)  # Huey compares it with ()
            return is_passed and len(message) <= self._max_arguments
        except BaseException as error:
            if issubclass(type(error), INTERRUPTS):
                raise
            return False

    def _fail(self, attempt: Attempt, task: Task, error: BaseException) -> None:
        """Fail an attempt that Huey could not end, with the task's own error if there is one."""
        logger.error("Job %s could not be ended as Huey would.\n%s", attempt.id, formatted(error))
        if attempt.exception is None:
            self._failure(attempt, task, error)
        if attempt.description is None:  # the claim was lost before
            return
        attempt.failure = attempt.failure or attempt.description.metadata(task)
        attempt.signal = signals.SIGNAL_ERROR
        if task.retries and attempt.retry is None:
            self._host.schedule_retry(task)

    # --- ending ---

    def _outcome(self, attempt: Attempt) -> Outcome | None:
        """Return the outcome to write. Return None for an attempt in immediate mode that Ctrl-C interrupted."""
        outcome = attempt.outcome()
        if (
            outcome is None and not self._host.immediate
        ):  # ClaimLost: refused by the fence, unless the task has raised it itself
            outcome = Outcome(state=State.FAILED, error=f"The task exited with {shown(attempt.exception, WITHIN)}.")
            outcome.result = error_result(outcome.error, attempt.id)
        return outcome

    def _finish(
        self, attempt: Attempt, outcome: Outcome | None, next_request: Callable[[], ClaimRequest | None]
    ) -> Executed:
        """Write the end with everything that was collected on the attempt."""
        if outcome is None:
            self._ledger().cancel(attempt.id, "Interrupted.")
            return Executed()
        if attempt.job.log is not None:
            outcome.log = attempt.job.patiently(attempt.job.log.unwritten)
        return self._end(attempt, outcome, next_request)

    def _end(self, attempt: Attempt, outcome: Outcome, next_request: Callable[[], ClaimRequest | None]) -> Executed:
        """Write the end. If one statement can do both, claim the worker's next job with it."""
        ledger, request = self._ledger(), None
        if not attempt.is_followed and ledger.may_end_and_claim(outcome, self._messages.task_names()):
            request = next_request()
        if request is None:
            self._write_end(attempt, outcome)
            return Executed()
        try:
            written, row = ledger.end_and_claim(attempt.id, attempt.token, outcome, request)
        except Exception as error:  # write the end first, whether the claim succeeded or not
            logger.warning("Writing the end of job %s without claiming the next job: %s", attempt.id, error)
            self._write_end(attempt, outcome)
            return Executed(claim_in_doubt=True)
        if not written:
            self._write_end(attempt, outcome)
        return Executed(next=None if row is None else Claimed(row, request.token))

    def _write_end(self, attempt: Attempt, outcome: Outcome) -> None:
        ledger, written = self._ledger(), False
        try:
            written = self._until_written(
                attempt, lambda: ledger.end(attempt.id, attempt.token, outcome, attempt.is_followed)
            )
        except Exception as error:  # this end cannot be stored at all
            logger.exception("Cannot write the end of job %s.", attempt.id)
            failed = Outcome(
                state=State.FAILED, error=f"The job ran, but its end could not be written: {said(error, WITHIN)}"
            )
            failed.result = error_result(failed.error, attempt.id, formatted(error))
            self._until_written(attempt, lambda: ledger.end(attempt.id, attempt.token, failed))
        if written and outcome.version is not None:
            self._published(outcome.version)

    def _until_written(self, attempt: Attempt, write: Callable[[], object]) -> bool:
        """Repeat a write until it succeeds or is refused. Without its end, a job would run again.

        Return False if it was refused.
        """
        try:
            attempt.job.patiently(write)
            return True
        except FenceRefused:
            level = logging.INFO if attempt.claim_lost else logging.WARNING
            logger.log(level, "Job %s ended elsewhere, so the outcome of this attempt is dropped.", attempt.id)
            return False


def _log_end(attempt: Attempt, outcome: Outcome | None, duration_s: float) -> None:
    status = "interrupted" if outcome is None else "retried" if outcome.retry is not None else str(outcome.state)
    figures = {"status": status, "duration": round(duration_s, 3)}
    logger.info("Job %s: %s after %.3f s.", attempt.id, status, duration_s, extra=figures)


def _member_value(member: Row) -> Any:
    """Return a chord member's value for the callback: its result, its error, or Huey's SKIPPED."""
    if member["state"] == State.SUCCEEDED or member["media_type"] is not None:
        return value_of(member)
    return SKIPPED
