"""The ledger: the truth about every job, in SQL.

Each change of a job's state is one statement that names the state it expects, and for a running job the token of its
claim: a write under a token that is no longer the job's changes nothing and is refused. What belongs to an end (its
result, what follows, what is tried again) is committed with it. Times are the database's.
"""

from collections.abc import Sequence

from jobqueue.database.database import Database, Row
from jobqueue.ledger.attempts import Attempts
from jobqueue.ledger.claiming import claim_next
from jobqueue.ledger.consumers import Consumers
from jobqueue.ledger.dataset_versions import DatasetVersions, save_version
from jobqueue.ledger.ending import (
    CANCEL,
    END,
    END_ALONE,
    END_AND_CLAIM,
    RELEASE_CLAIM,
    RELEASE_CONSUMER,
    RELEASE_WORKER,
    REPOINT_FOLLOWS,
    RETRIES_LEFT,
    RETRY,
    SAVE_LOG_AT_END,
    SET_FOLLOWER,
    Notify,
    after_end,
    end_values,
    mark_lost,
    retry,
    save_result,
    saved_values,
)
from jobqueue.ledger.entries import DELETE_ENTRY, Entries
from jobqueue.ledger.limits import ConcurrencyLimits
from jobqueue.ledger.reading import Reading
from jobqueue.ledger.records import ClaimRequest, FenceRefused, NewJob, Outcome, Retry, error_result
from jobqueue.ledger.retention import Retention
from jobqueue.ledger.shared_runs import RUN_OF_HANDLE, detach, reattach
from jobqueue.ledger.states import State
from jobqueue.ledger.submitting import insert

MAX_LOSSES = 3  # attempts that died with their worker, after which the job is poison


class Ledger:
    """Jobs in one database, and what Huey keeps beside them. Raises DatabaseUnavailable when it does not answer."""

    def __init__(
        self,
        database: Database,
        max_losses: int = MAX_LOSSES,
        limits: ConcurrencyLimits | None = None,
        notify: Notify = lambda queues: None,
    ) -> None:
        self.database = database
        self.max_losses = max_losses
        self.limits = limits or ConcurrencyLimits()
        self.notify = notify
        self.attempts = Attempts(database)
        self.consumers = Consumers(database, notify, max_losses)
        self.entries = Entries(database)
        self.reading = Reading(database)
        self.retention = Retention(database)
        self.versions = DatasetVersions(database)

    def submit(self, jobs: Sequence[NewJob]) -> None:
        """Accept jobs, all or none. One whose id is known is that job already, and is left alone.

        One with a key shares the run that has it, if there is one that has not ended (or has, with success, not so long ago).
        """
        alone = len(jobs) == 1 and jobs[0].handle is None
        with self.database.statement() if alone else self.database.transaction() as tx:
            insert(tx, jobs)
        self.notify([job.queue for job in jobs])

    def claim(self, asking: ClaimRequest) -> Row | None:
        """Attempt the next job of these tasks under the request's token. Return None if none may run now."""
        return claim_next(self.database, self.limits, asking)

    def end(self, job_id: str, token: str, outcome: Outcome) -> None:
        """Write how an attempt ended, and what comes with it. Raises FenceRefused."""
        how = end_values(job_id, token, outcome)
        if self._may_end_alone(outcome):
            with self.database.statement() as tx:
                alone = tx.one(END_ALONE, **how, **saved_values(outcome))
            if alone is not None:  # else another job follows it, or it is refused
                self.notify(self._freed(alone))
                return
        with self.database.transaction() as tx:
            if outcome.retry is None:
                row = tx.one(END, **how)
            else:
                row = tx.one(RETRY, **how, **vars(outcome.retry))
            if row is None:
                raise FenceRefused(f"Job {job_id} is no longer held under token {token}.")
            for key in outcome.deleted:
                tx.run(DELETE_ENTRY, key=key)
            insert(tx, outcome.submitted)
            if outcome.result is not None:
                save_result(tx, job_id, outcome.result)
            if outcome.log is not None:
                tx.run(SAVE_LOG_AT_END, id=job_id, lines=outcome.log)
            if outcome.version is not None:
                save_version(tx, job_id, outcome.version)
            rung = [job.queue for job in outcome.submitted]
            if outcome.retry is None:
                rung += after_end(tx, row, outcome)
        self.notify(rung + self._freed(row))

    def may_end_and_claim(self, outcome: Outcome, tasks: Sequence[str]) -> bool:
        """Whether `end_and_claim` can write it, of a job that none follows, and claim for a worker of these tasks."""
        return self._may_end_alone(outcome) and not self.limits.any_of(tasks)

    def end_and_claim(self, job_id: str, token: str, outcome: Outcome, asking: ClaimRequest) -> tuple[bool, Row | None]:
        """Write how an attempt ended and claim another job, in one statement.

        Returns whether the end was written (if not, nothing is claimed, and `end` says why), and the job that was claimed.
        """
        how = end_values(job_id, token, outcome) | saved_values(outcome) | asking.where | asking.claimant
        with self.database.statement() as tx:
            row = tx.one(END_AND_CLAIM, **how, next_token=asking.token)
        return row is not None, None if row is None or row["id"] is None else row

    def mark_lost(self, job_id: str, token: str, worker: str) -> bool:
        """Its worker died: back to the queue, or failed as poison. False if the claim was over already."""
        with self.database.transaction() as tx:
            row = mark_lost(tx, job_id, token, self.max_losses, worker)
        self.notify([] if row is None else [row["queue"]])
        return row is not None

    def time_out(self, token: str) -> bool:
        """The attempt's time is over, and it does not hear of it: it has failed. False if it was over already."""
        with self.database.statement() as tx:
            row = tx.one(RETRIES_LEFT, token=token)
        if row is None:
            return False
        error = "Timed out: it took longer than it may, in a call that could not be interrupted."
        outcome = Outcome(
            state=State.FAILED, error=error, result=error_result(error, row["id"], retries=row["retries"])
        )
        if row["retries"]:
            outcome.retry = Retry(delay=row["retry_delay"], retries=row["retries"] - 1, retry_delay=row["retry_delay"])
        try:
            self.end(row["id"], token, outcome)
        except FenceRefused:
            return False
        return True

    def release(self, consumer: str, worker: str | None = None) -> list[str]:
        """What a worker holds, or all of a consumer's, goes back to the queue, not counted against the jobs."""
        with self.database.statement() as tx:
            if worker is None:
                rows = tx.all(RELEASE_CONSUMER, consumer=consumer)
            else:
                rows = tx.all(RELEASE_WORKER, consumer=consumer, worker=worker)
        self.notify([row["queue"] for row in rows])
        return [row["id"] for row in rows]

    def release_one(self, job_id: str, token: str) -> bool:
        """One attempt was interrupted by a stop."""
        with self.database.statement() as tx:
            return tx.one(RELEASE_CLAIM, id=job_id, token=token) is not None

    def cancel(self, job_id: str, reason: str = "cancelled") -> bool:
        """End a job that has not ended. A running attempt finds its claim gone. False if it had ended.

        A handle of a shared run is let go; with the last of them the run is cancelled.
        """
        with self.database.transaction() as tx:
            row = tx.one(CANCEL, id=job_id, reason=reason)
            let_go, ended = (True, row) if row is not None else detach(tx, job_id, reason)
            rung = [] if row is None else after_end(tx, row, Outcome(state=State.CANCELLED, error=reason))
        self.notify(rung if ended is None else rung + self._freed(ended))
        return let_go

    def detach(self, handle: str) -> bool:
        """Cancel what this handle stands for, if it is one of a shared run that has not ended. False if not."""
        with self.database.transaction() as tx:
            let_go, ended = detach(tx, handle, "Cancelled.")
        self.notify([] if ended is None else self._freed(ended))
        return let_go

    def retry(self, job_id: str) -> bool:
        """Try a failed or cancelled job again, as a person asks; what was cancelled because of it waits again.

        A job that waited for another which did not succeed is tried again from that one on. False if it is neither, or if
        another run has its key now. A handle of a shared run takes part in it again, or in that other one.
        """
        while True:
            try:
                with self.database.transaction() as tx:
                    run = tx.one(RUN_OF_HANDLE, id=job_id)
                    if run is None:
                        row = retry(tx, job_id)
                        put_back = row is not None
                    else:
                        put_back, row = reattach(tx, job_id, run)
            except self.database.dialect.taken:
                continue  # its key, by a submit just now
            self.notify([] if row is None else [row["queue"]])
            return put_back

    def replace(self, job_id: str, new: NewJob, keep_follower: bool) -> bool:
        """End a job that has not ended, and accept another in its place among those that follow it. False if it had."""
        with self.database.transaction() as tx:
            old = tx.one(CANCEL, id=job_id, reason=f"Rescheduled as {new.id}.")
            let_go, ended = (True, old) if old is not None else detach(tx, job_id, "Rescheduled.")
            if not let_go:
                return False
            rung = [new.queue]
            insert(tx, [new])
            if old is None:
                pass  # nothing follows a run that is shared
            elif keep_follower:
                tx.run(SET_FOLLOWER, id=new.id, follower=old["follower"], chord_index=old["chord_index"])
                tx.run(SET_FOLLOWER, id=job_id, follower=None, chord_index=None)
                tx.run(REPOINT_FOLLOWS, id=old["follower"], before=job_id, after=new.id)
            else:
                rung += after_end(tx, old, Outcome(state=State.CANCELLED, error="Rescheduled without what follows."))
        self.notify(rung if ended is None else rung + self._freed(ended))
        return True

    def _freed(self, row: Row) -> list[str]:
        """The queues in which a job may have waited for the place of this one."""
        return self.reading.queues() if self.limits.hold(row["task"], row["owner"]) else []

    def _may_end_alone(self, outcome: Outcome) -> bool:
        """Whether it is written in one statement where nothing follows the job. (One writer is no trip away.)"""
        return not (self.database.dialect.one_writer or outcome.retry or outcome.submitted or outcome.version)
